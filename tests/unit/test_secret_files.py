"""Secrets that stand in files: NAME_FILE is the path of the file that holds the value of NAME."""

import os
import re
from pathlib import Path

import pytest

from receiver.errors import ConfigurationError
from receiver.settings import FILE_VARIABLES, NAMES, SECRETS, VARIABLES, describe, misspelt, read_settings
from tests.support.processes import invoke

VALUES = {
    "DATABASE_URL": "postgresql://u:hush@h/d",
    "BANDWIDTH_CLIENT_SECRET": " hush $x#\\ ü",
    "BANDWIDTH_PASSWORD": "hush",
    "CALLBACK_CREDENTIALS": "old:hush-1,new:hush-2",
    "API_KEYS": "app:hush-3,hush-4",
    "READ_ONLY_API_KEYS": "support:hush-5",
}
OTHER_HALVES = {"BANDWIDTH_CLIENT_ID": "client", "BANDWIDTH_USERNAME": "user"}


@pytest.fixture(autouse=True)
def halves_of_pairs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in OTHER_HALVES.items():
        monkeypatch.setenv(name, value)


def give(monkeypatch: pytest.MonkeyPatch, folder: Path, values: dict[str, str | bytes]) -> None:
    """Sets the secrets by files."""
    for name, value in values.items():
        file = folder / name.lower()
        file.write_bytes(value.encode() if isinstance(value, str) else value)
        monkeypatch.setenv(f"{name}_FILE", str(file))


def problems(*, serving: bool = False) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(serving=serving)
    return caught.value.problems


def test_the_secrets_are_the_settings_that_sound_like_it() -> None:
    alike = [name for name in VARIABLES if re.search("SECRET|PASSWORD|CREDENTIAL|KEY|DATABASE_URL", name)]

    assert sorted(SECRETS) == sorted(VALUES) == sorted(each for each in alike if not each.startswith("ALLOW_"))
    assert not {"ALLOW_UNAUTHENTICATED_CALLBACKS", "BANDWIDTH_CLIENT_ID"} & set(SECRETS)
    assert {f"{name}_FILE": name for name in SECRETS} == FILE_VARIABLES


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("", "\n"), ("", "\r\n"), ("\ufeff", "\n")], ids=["bare", "lf", "crlf", "mark"]
)
def test_a_file_gives_what_the_variable_would_give(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str, after: str
) -> None:
    with monkeypatch.context() as patch:
        for name, value in VALUES.items():
            patch.setenv(name, value)
        expected = read_settings()

    give(monkeypatch, tmp_path, {name: before + value + after for name, value in VALUES.items()})

    assert read_settings() == expected
    assert "hush" not in "".join(os.environ.values())  # which child processes would inherit


def test_only_one_line_break_is_cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give(monkeypatch, tmp_path, {"BANDWIDTH_PASSWORD": " hush \n\n", "BANDWIDTH_CLIENT_SECRET": "\nhush\r\r\n"})

    settings = read_settings()

    assert (settings.bandwidth_password, settings.bandwidth_client_secret) == (" hush \n", "\nhush\r")


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_path_is_none(monkeypatch: pytest.MonkeyPatch, name: str, blank: str) -> None:
    for other in OTHER_HALVES:
        monkeypatch.delenv(other)
    expected = read_settings()
    monkeypatch.setenv(f"{name}_FILE", blank)

    assert read_settings() == expected
    assert f"{name}_FILE" not in describe(expected)


def test_a_blank_variable_beside_a_file_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give(monkeypatch, tmp_path, {"BANDWIDTH_PASSWORD": "hush"})
    monkeypatch.setenv("BANDWIDTH_PASSWORD", "")
    monkeypatch.setenv("BANDWIDTH_CLIENT_SECRET", "hush")

    assert read_settings().bandwidth_password == "hush"


@pytest.mark.parametrize("name", SECRETS)
def test_a_variable_and_a_file_are_an_error_that_names_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    give(monkeypatch, tmp_path, dict(VALUES))
    monkeypatch.setenv(name, VALUES[name])

    assert problems() == {f"{name}_FILE": f"is set, and so is {name}: remove one of them."}


CONTENTS = {
    b"": "is empty",
    b"\n": "is empty",
    b" \n\n": "is empty",
    b"hush\xff": "is not UTF-8",
    b"hush\0": "a NUL in it",
    b"hush" * 2**14 + b"\n": "more than 65536 bytes",
}


@pytest.mark.parametrize("content", CONTENTS, ids=CONTENTS.values())
def test_a_file_that_holds_no_value_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    give(monkeypatch, tmp_path, VALUES | {"BANDWIDTH_CLIENT_SECRET": content})

    [(name, problem)] = problems(serving=False).items()

    assert name == "BANDWIDTH_CLIENT_SECRET_FILE"
    assert CONTENTS[content] in problem
    assert re.fullmatch(r"names a file [^:]+: (write|name) [^:]+\.", problem)
    assert "hush" not in problem


def test_what_cannot_be_read_is_reported_at_once_and_never_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable may hold the secret itself by mistake, so its value is not repeated."""
    loop, pipe = tmp_path / "hush-loop", tmp_path / "hush-pipe"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    paths = {
        "DATABASE_URL": "postgresql://u:hush@h/d",
        "BANDWIDTH_CLIENT_SECRET": str(tmp_path),
        "BANDWIDTH_PASSWORD": str(pipe),
        "CALLBACK_CREDENTIALS": str(loop),
        "API_KEYS": "/dev/zero",
        "READ_ONLY_API_KEYS": "hush" * 2000,
    }
    for name, path in paths.items():
        monkeypatch.setenv(f"{name}_FILE", path)
    monkeypatch.setenv("LOG_LEVEL", "hush")
    monkeypatch.setenv("BANDWIDTH_ACCOUNT_ID", "5000000")

    found = problems(serving=True)

    assert set(found) == {*FILE_VARIABLES, "LOG_LEVEL"}
    kind = "names a directory, a pipe or a device: name a file that holds the value."
    for name in ("BANDWIDTH_CLIENT_SECRET", "BANDWIDTH_PASSWORD", "API_KEYS"):
        assert found[f"{name}_FILE"] == kind
    reason = "names a file that cannot be read (No such file or directory): correct its path or access."
    assert found["DATABASE_URL_FILE"] == reason
    assert "hush" not in str(found)
    assert all("\n" not in text for text in found.values())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_of_somebody_else_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give(monkeypatch, tmp_path, dict(VALUES))
    (tmp_path / "api_keys").chmod(0)

    assert "Permission denied" in problems()["API_KEYS_FILE"]


def test_a_malformed_value_is_reported_by_the_variable_that_names_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = {"DATABASE_URL": "mysql://u:hush@h/d", "API_KEYS": "app:hush,", "CALLBACK_CREDENTIALS": "hush"}
    give(monkeypatch, tmp_path, VALUES | wrong)
    monkeypatch.setenv("BANDWIDTH_ACCOUNT_ID", "5000000")

    found = problems(serving=True)

    assert set(found) == {f"{name}_FILE" for name in wrong}
    assert found["API_KEYS_FILE"] == "entry 2 is not [name:]key with a key filled in."
    assert "hush" not in str(found)


def test_the_configuration_shows_the_paths_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, str | bytes] = dict(VALUES)
    give(monkeypatch, tmp_path, given)
    settings = read_settings()

    shown = describe(settings)

    assert "hush" not in str(shown) + repr(settings)
    assert [name for name in shown if name not in VARIABLES] == list(FILE_VARIABLES)
    assert {name: shown[name] for name in FILE_VARIABLES} == {name: os.environ[name] for name in FILE_VARIABLES}
    assert shown["API_KEYS"] == "app:(set), key 2:(set)"
    assert shown["DATABASE_URL"] == "postgresql+psycopg://u:***@h/d"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("API_KEY_FILE", "API_KEYS_FILE"),
        ("API_KEYS_FILES", "API_KEYS_FILE"),
        ("DATABSE_URL_FILE", "DATABASE_URL_FILE"),
        ("BANDWIDTH_CLIENT_SECRETS_FILE", "BANDWIDTH_CLIENT_SECRET_FILE"),
        ("BANDWIDTH_FROM_FILE", "BANDWIDTH_FROM"),
        ("POSTGRES_PASSWORD_FILE", None),
        ("BANDWIDTH_PASSWORD_FILE", None),
    ],
)
def test_a_misspelt_name_is_recognised(name: str, meant: str | None) -> None:
    assert misspelt(name) == meant


def test_the_settings_file_names_the_files_of_secrets(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("app:hush\n")
    file = tmp_path / "my.env"
    file.write_text(f"API_KEYS_FILE={keys}\n")

    shown = invoke("config", "--env-file", str(file), environment={})
    assert shown.exit_code == 0
    assert {"API_KEYS=app:(set)", f"API_KEYS_FILE={keys}"} <= set(shown.output.splitlines())

    file.write_text(f"export API_KEYS_FILE={keys}\nBANDWIDTH_FROM_FILE={keys}\nCALLBACK_CREDENTIALS_FILE={keys}s\n")
    refused = invoke("config", "--env-file", str(file), environment={})
    assert refused.exit_code == 2
    told = dict(line.split(": ", 1) for line in refused.stderr.splitlines()[1:])
    assert set(told) == {"export API_KEYS_FILE", "BANDWIDTH_FROM_FILE", "CALLBACK_CREDENTIALS_FILE"}
    assert "write API_KEYS_FILE=VALUE" in told["export API_KEYS_FILE"]
    assert "did you mean BANDWIDTH_FROM?" in told["BANDWIDTH_FROM_FILE"]
