"""The settings file as the commands take it: named by option or environment, and with every problem reported."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from receiver.settings import ENV_FILE, NAMES
from tests.support.processes import environment, run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    named = tmp_path / "my own.env"
    named.write_text(f"DATABASE_URL=sqlite:///{tmp_path / 'db.sqlite3'}\nBANDWIDTH_FROM=+19195550111\n")
    return named


def settings(**more: str) -> dict[str, str]:
    """An environment without a setting."""
    return {name: value for name, value in os.environ.items() if name not in NAMES} | more


@pytest.mark.parametrize("where", ["before", "behind", "environment", "both"])
def test_the_file_is_taken_before_and_behind_the_command_and_from_the_environment(
    tmp_path: Path, file: Path, where: str
) -> None:
    given = ["--env-file", str(file)]
    before, behind = given if where in ("before", "both") else [], given if where in ("behind", "both") else []
    own = settings(**({ENV_FILE: str(file)} if where == "environment" else {}))

    shown = run(*before, "config", *behind, environment=own, folder=tmp_path)

    assert "BANDWIDTH_FROM=+19195550111" in shown.stdout.splitlines()


def test_the_option_comes_before_the_environment_and_two_different_ones_are_an_error(
    tmp_path: Path, file: Path
) -> None:
    other = tmp_path / "other.env"
    other.write_text("BANDWIDTH_FROM=+19195550122\n")

    shown = run("config", "--env-file", str(file), environment=settings(**{ENV_FILE: str(other)}), folder=tmp_path)
    assert "BANDWIDTH_FROM=+19195550111" in shown.stdout.splitlines()

    twice = run("--env-file", str(file), "config", "--env-file", str(other), environment=settings(), folder=tmp_path)
    assert twice.returncode == 2


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for arguments, own in ((["--env-file", "none.env"], {}), ([], {ENV_FILE: "none.env"})):
        ended = run("config", *arguments, environment=settings(**own), folder=tmp_path)
        assert ended.returncode == 2
        assert "none.env" in ended.stderr


@pytest.mark.parametrize("command", ["find x", "doctor"])
def test_a_hint_repeats_the_option(tmp_path: Path, file: Path, command: str) -> None:
    (tmp_path / "db.sqlite3").touch()

    ended = run(*command.split(), "--env-file", str(file), environment=settings(), folder=tmp_path)

    assert f"run `receiver --env-file {shlex.quote(str(file))} migrate`" in ended.stdout + ended.stderr
    assert "`receiver migrate`" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("export DATABASE_URL=sqlite:///hunter2", "write DATABASE_URL=VALUE"),
        ("\ufeffDATABASE_URL=sqlite:///hunter2", "write DATABASE_URL=VALUE"),
        ("DATABASE_URL: sqlite:///hunter2", "write NAME=VALUE"),
        ("DATABASE_URL", "write NAME=VALUE"),
        ("API_KEYS='hunter2", "has an unclosed quote"),
    ],
)
def test_what_systemd_would_pass_over_silently_is_an_error(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "my.env"
    file.write_text(f"{line}\n")

    ended = run("--env-file", str(file), "config", environment=environment("sqlite:///x"), folder=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr
    assert "hunter2" not in ended.stderr.partition("=")[2]
