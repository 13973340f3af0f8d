"""Every file, unit and command in "From an empty Debian machine" of docs/operations.md exists."""

from __future__ import annotations

import re
import shlex

from click.testing import CliRunner

from receiver.cli import main
from tests.support import pages

PAGE = "\n".join(pages.OPERATIONS.section("From an empty Debian machine").examples("sh"))
INSTALLED = "/opt/bandwidth-receiver/"
MADE = {".venv/bin/receiver"}


def test_every_file_that_the_page_takes_from_the_program_exists() -> None:
    named = set(re.findall(rf"{INSTALLED}([\w./*-]+)", PAGE)) - MADE
    assert len(named) >= 4
    assert [name for name in named if not list(pages.ROOT.glob(name))] == []


def test_every_unit_that_the_page_starts_exists() -> None:
    (started,) = re.findall(r"systemctl enable --now (.*)", PAGE)
    units = [unit if "." in unit else f"{unit}.service" for unit in started.split()]
    assert len(units) == 3
    assert [unit for unit in units if not (pages.ROOT / "config" / "systemd" / unit).is_file()] == []


def test_every_command_of_the_page_exists_with_its_options() -> None:
    commands = [shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("receiver ")]
    assert {command[0] for command in commands} == {"migrate", "config", "doctor", "send"}
    for command in commands:
        asked = CliRunner().invoke(main, [*command, "--help"])
        assert asked.exit_code == 0, asked.output


def test_the_operators_command_is_the_units_command() -> None:
    unit = (pages.ROOT / "config" / "systemd" / "receiver-serve.service").read_text()
    (installed,) = re.findall(r"ExecStart=(.*) serve", unit)
    assert f"exec runuser -u receiver -- {installed} " in (pages.ROOT / "config" / "receiver.sh").read_text()
