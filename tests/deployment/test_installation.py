"""The program as others install it: into an environment of its own, far from the checkout."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.settings import NAMES
from tests.support.builders import ALICE

pytestmark = pytest.mark.outside

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "example.env"
SOURCES = ("receiver", "migrations", "config", "setup.cfg", "pyproject.toml", "README.md")
PATIENCE = 300

Receiver = Callable[..., subprocess.CompletedProcess[str]]


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, because a build leaves its files beside them."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(checkout))
    (built,) = folder.glob("*.whl")
    return built


def install(folder: Path, *what: str) -> Receiver:
    """`receiver` of a fresh environment, run outside the checkout.

    What the program needs comes from the environment of the tests; the program itself cannot, because the line of a
    .pth file adds a folder, and not the .pth files in it."""
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=PATIENCE)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip("--python", str(environment / "bin" / "python"), "install", "--quiet", "--no-deps", "--ignore-installed", *what)
    outside = folder / "outside"
    outside.mkdir()
    given = {name: value for name, value in os.environ.items() if name not in {*NAMES, "PYTHONPATH"}}

    def receiver(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(environment / "bin" / "receiver"), *arguments],
            cwd=outside,
            env=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return receiver


@pytest.fixture(scope="module", params=["wheel", "editable"])
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Receiver:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "wheel":
        return install(folder, str(request.getfixturevalue("wheel")))
    return install(folder, "--editable", str(request.getfixturevalue("checkout")))


def test_what_is_installed_migrates_and_answers_outside_the_checkout(receiver: Receiver) -> None:
    migrated = receiver("migrate")
    assert (migrated.returncode, migrated.stderr) == (0, "")

    found = receiver("find", ALICE)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert ALICE in found.stderr


def test_what_is_installed_shows_the_demo(receiver: Receiver) -> None:
    shown = receiver("demo")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "delivered" in shown.stdout


def test_what_is_installed_prints_the_example_settings_and_its_version(receiver: Receiver) -> None:
    assert receiver("config", "--example").stdout == EXAMPLE.read_text(encoding="utf-8")

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert receiver("--version").stdout == f"receiver {setup['metadata']['version']}\n"


def test_a_wheel_holds_every_migration_once_and_nothing_of_the_tests(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    folder = ROOT / "migrations"
    needed = [path for each in ("env.py", "script.py.mako", "versions/*.py", "views/*") for path in folder.glob(each)]

    assert len(needed) >= 6
    for path in needed:
        assert [name for name in held if name.endswith(path.name)] == [f"receiver/{path.relative_to(ROOT)}"]
    assert {name.partition("/")[0].partition("-")[0] for name in held} == {"receiver", "bandwidth_receiver"}
    assert "receiver/migrations/dictionary.py" not in held  # which needs the tests
    assert "receiver/py.typed" in held  # so that type checkers read the annotations (PEP 561)
