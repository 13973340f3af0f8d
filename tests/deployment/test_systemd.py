"""The units of config/systemd: systemd's own checks find nothing wrong, and what they start exists."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.settings import FILE_VARIABLES
from receiver.settings_file import assignments
from tests.support.debian import program
from tests.support.processes import invoke

UNITS = Path(__file__).parents[2] / "config" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
INSTALLED = "/opt/bandwidth-receiver/.venv/bin/receiver"

MOST_EXPOSED = 15
"""Tenths of the ten points of `systemd-analyze security`; a service that protects itself from nothing has 96."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as installed, but starting this `receiver`, because systemd checks that the program exists."""
    copied = tmp_path / "units"
    shutil.copytree(UNITS, copied)
    here = str(Path(sys.executable).parent / "receiver")
    for unit in copied.glob("*.service"):
        unit.write_text(unit.read_text().replace(INSTALLED, here))
    return copied


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("systemd-analyze"), *arguments],
        cwd=units,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},  # and the system's own after it
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("unit", [*SERVICES, "receiver-reconcile.timer"])
def test_systemd_finds_nothing_wrong_with_a_unit(units: Path, unit: str) -> None:
    verified = analyze(units, "verify", f"./{unit}")
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_a_unit_may_do_little_but_serve(units: Path, unit: str) -> None:
    judged = analyze(units, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", f"./{unit}")
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_a_secret_may_come_from_a_credential(units: Path) -> None:
    common = units / "receiver-.service.d" / "common.conf"
    text, count = re.subn(r"^#(?=LoadCredential=|Environment=)", "", common.read_text(), flags=re.MULTILINE)
    common.write_text(text)
    names = re.findall(r"^Environment=(\w+)=%d/(\w+)$", text, re.MULTILINE)

    assert count == 2
    assert [(name in FILE_VARIABLES, f"\nLoadCredential={file}:" in text) for name, file in names] == [(True, True)]
    verified = analyze(units, "verify", "./receiver-serve.service")
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_the_hardening_that_is_promised_is_that_of_every_unit() -> None:
    common = service("receiver-.service.d/common.conf")
    promised = {"NoNewPrivileges": "yes", "PrivateTmp": "yes", "ProtectSystem": "strict", "User": "receiver"}
    assert {name: common[name] for name in promised} == promised
    assert all(not promised.keys() & service(unit).keys() for unit in SERVICES)


@pytest.mark.parametrize("unit", SERVICES)
def test_a_unit_starts_a_command_with_options_that_exist(unit: str) -> None:
    program_of_unit, *arguments = service(unit)["ExecStart"].split()
    assert program_of_unit == INSTALLED
    assert arguments[:2] == ["--env-file", "/etc/bandwidth-receiver/receiver.env"]
    asked = invoke(*arguments[2:], "--help", environment={})
    assert asked.exit_code == 0, asked.output


def test_a_stop_waits_for_bandwidth_before_systemd_loses_patience() -> None:
    example = {each.name: each.value for each in assignments((UNITS.parent / "example.env").read_text())}
    longest_call = sum(int(example[f"BANDWIDTH_{part}_TIMEOUT"] or 0) for part in ("CONNECT", "READ"))
    arguments = service("receiver-serve.service")["ExecStart"].split()
    stop_seconds = int(arguments[arguments.index("--stop-seconds") + 1])
    assert longest_call < stop_seconds < int(service("receiver-serve.service")["TimeoutStopSec"])
    assert longest_call < int(service("receiver-worker.service")["TimeoutStopSec"])


def service(name: str) -> dict[str, str]:
    """The [Service] section of a unit. A setting that is given twice counts with its last line."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(UNITS / name)
    return dict(unit["Service"])
