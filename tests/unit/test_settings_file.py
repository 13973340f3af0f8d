"""The settings file, which says the same here as to systemd."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import characters, text

from receiver.app import from_environment
from receiver.settings import ENV_FILE, VARIABLES, misspelt
from receiver.settings_file import assignments
from tests.support.processes import invoke


def read(content: str) -> dict[str, str | None]:
    return {each.name: each.value for each in assignments(content)}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("pa${HOME}ss", "pa${HOME}ss"),
        ("$HOME", "$HOME"),
        ("pass #word", "pass #word"),
        ("pass;word", "pass;word"),
        ("#pass", "#pass"),
        ("  two  words \t\r", "two  words"),
        ("", ""),
        ("a=b=c", "a=b=c"),
        ("a\\b", "ab"),
        ("a\\\\b", "a\\b"),
        ("a\\ ", "a "),
        ("a\\  ", "a "),
        ("a\\\nb", "ab"),
        ('a"b"', 'a"b"'),
        ("it's", "it's"),
        ("'single $x \\n \"quoted\" #'", 'single $x \\n "quoted" #'),
        ("' blanks '  ", " blanks "),
        ("'two\nlines'", "two\nlines"),
        ('"double $x #"', "double $x #"),
        ('"a\\"b\\\\c\\$d\\`e"', 'a"b\\c$d`e'),
        ('"a\\nb"', "a\\nb"),
        ('"a\\\nb"', "ab"),
        ("'a''b'", "ab"),
        ("'a' \"b\"", "ab"),
        ("'a'b ", "ab"),
        ("\u00fc\u2028", "\u00fc\u2028"),
    ],
)
def test_a_value_is_read_as_systemd_reads_it(written: str, value: str) -> None:
    """By systemd.exec(5), "EnvironmentFile=", and where that is silent by its reader, src/basic/env-file.c."""
    assert read(f"BEFORE=1\nNAME={written}\nAFTER=2\n") == {"BEFORE": "1", "NAME": value, "AFTER": "2"}
    assert read(f"NAME={written}") == {"NAME": value}


def test_comments_blank_lines_and_white_space_about_names_say_nothing() -> None:
    content = "# A=1\n ; B=2\n\n \t\r\n  NAME \t= value\nno assignment\nLAST=3 # no comment"

    assert read(content) == {"NAME": "value", "no assignment": None, "LAST": "3 # no comment"}


def test_of_two_values_the_last_counts() -> None:
    assert read("NAME=1\nNAME=2\n") == {"NAME": "2"}


@given(text(characters(exclude_characters="\0'", codec="utf-8")))
def test_any_text_without_a_quote_can_be_written_in_single_quotes(value: str) -> None:
    assert read(f"NAME='{value}'\n") == {"NAME": value}


# Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("database_url", "DATABASE_URL"),
        ("BANDWIDTH_RATES", "BANDWIDTH_RATE"),
        ("BANDWITH_RATE", "BANDWIDTH_RATE"),
        ("BANDWIDTH_SECRET_OF_THE_CLIENT", None),
        ("CALLBACKS_CREDENTIAL", "CALLBACK_CREDENTIALS"),
        ("CALLBACK_PASSWORD", None),
        ("API_KEY", "API_KEYS"),
        ("RECEIVER_ENV_FIL", ENV_FILE),
        ("DATABASE_UR", "DATABASE_URL"),
        ("FORWARD_TO", None),
        ("LOG_LEVEL_OF_ALL", "LOG_LEVEL"),
    ],
)
def test_a_misspelt_name_in_the_file_is_an_error_that_names_the_nearest(
    tmp_path: Path, name: str, meant: str | None
) -> None:
    file = tmp_path / "my.env"
    file.write_text(f"TZ=UTC\n{name}=hunter2\nLOG_LEVEL=hunter2\n")

    ended = invoke("config", "--env-file", str(file), environment={})

    assert ended.exit_code == 2
    told = dict(line.split(": ", 1) for line in ended.stderr.splitlines()[1:])
    assert set(told) == {name, "LOG_LEVEL"}  # every problem at once
    assert f"did you mean {meant or ''}" in told[name]
    assert f"{file}, line 2" in told[name]


KUBERNETES = "BANDWIDTH_RECEIVER_SERVICE_HOST"  # as it writes for a service of that name


@pytest.mark.parametrize(
    "name", ["TZ", "PGSSLROOTCERT", "POSTGRES_PASSWORD", "PATH", "HOME", "LANG", "PORT", ENV_FILE, KUBERNETES]
)
def test_the_name_of_somebody_else_is_passed_over(tmp_path: Path, name: str) -> None:
    assert misspelt(name) is None


@pytest.mark.parametrize("name", VARIABLES)
def test_no_setting_is_a_misspelt_one(name: str) -> None:
    assert misspelt(name) is None
    assert misspelt(f"{name}X") == name


def test_a_misspelt_name_in_the_environment_is_a_warning() -> None:
    ended = invoke("config", environment={"DATABSE_URL": "hunter2", "BANDWIDTH_RATES": "1", "TZ": "UTC"})

    assert ended.exit_code == 0
    assert [line for line in ended.stderr.splitlines() if "did you mean" in line] == [
        "warning: DATABSE_URL in the environment is not a setting; did you mean DATABASE_URL?",
        "warning: BANDWIDTH_RATES in the environment is not a setting; did you mean BANDWIDTH_RATE?",
    ]


@pytest.mark.parametrize("content", [b"API_KEYS=\xff", b"API_KEYS=a\0b"])
def test_what_is_no_text_is_reported_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "my.env"
    file.write_bytes(content)

    assert invoke("config", "--env-file", str(file), environment={}).exit_code == 2


def test_any_other_server_takes_the_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "my.env"
    named.write_text("API_KEYS=a:hush\nCALLBACK_CREDENTIALS=u:hush\nLOG_LEVEL=nonsense\n")
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    with pytest.raises(SystemExit, match="LOG_LEVEL: is not one of"):
        from_environment(settings_file=str(named))
