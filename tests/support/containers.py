"""Podman for the tests: a base image of Debian's own packages, and containers that run as a compose file says.

No image is downloaded. debootstrap makes the base from the mirror that apt is configured for, and pip installs from a
folder that is filled with the configuration of the machine.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.debian import program

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "config" / "container" / "Containerfile"
COMPOSE = ROOT / "config" / "container" / "compose.yaml"
KEPT = ROOT / "build" / "container"
"""The base is kept here, because debootstrap takes a minute or more."""
BASE, IMAGE = "localhost/base", "localhost/bandwidth-receiver"
PATIENCE = 900.0
"""Seconds for a step of the build, on a busy machine with a slow mirror."""
SECRETS = "/run/secrets"


def _do(*arguments: str | Path) -> str:
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Podman:
    """Podman with a store of its own, so that no other image or container is touched."""

    folder: Path

    def __call__(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        options = ("--root", self.folder / "store", "--runroot", self.folder / "run", "--runtime", program("runc"))
        command = [program("podman"), *map(str, options), "--cgroup-manager", "cgroupfs", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def build(self) -> None:
        """Builds the image as its Containerfile says, on the base."""
        base = make_base()
        self("import", base, BASE)
        if (tried := self("run", "--rm", *ON_HOST, BASE, "true", check=False)).returncode:
            pytest.skip(f"Podman runs no container on this machine: {tried.stderr.strip().splitlines()[-1]}")
        wheels, pip = self.folder / "wheels", self.folder / "pip.conf"
        version = self("run", "--rm", *ON_HOST, BASE, "python3", "-c", VERSION).stdout.strip()
        _download(wheels, version)
        pip.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        self(
            *("build", "--isolation", "chroot", "--format", "docker", "--build-arg", f"BASE={BASE}", "--tag", IMAGE),
            *("--volume", f"{wheels}:/wheels:ro", "--volume", f"{pip}:/etc/pip.conf:ro", "--file", CONTAINERFILE, ROOT),
        )

    @contextmanager
    def running(self, name: str, options: list[str], *command: str) -> Iterator[Container]:
        """A container in the background, which is removed at the end."""
        self("run", "--detach", "--name", name, *options, IMAGE, *command)
        try:
            yield Container(self, name)
        finally:
            self("rm", "--force", "--time", "0", name, check=False)

    def close(self) -> None:
        self("rm", "--all", "--force", "--time", "0", check=False)
        self("rmi", "--all", "--force", check=False)


VERSION = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
LIMITS = ["--ulimit", "nofile=16384:16384", "--ulimit", "nproc=4096:4096"]
"""Podman's own limits may be above those of the machine, which only a capability allows to raise."""
ON_HOST = ["--network", "host", *LIMITS]
"""Options for containers in the network of the tests."""


@dataclass(frozen=True)
class Container:
    """A container that was started."""

    podman: Podman
    name: str

    @property
    def output(self) -> str:
        logs = self.podman("logs", self.name)
        return logs.stdout + logs.stderr

    def inspect(self) -> Any:
        return json.loads(self.podman("inspect", self.name).stdout)[0]

    def execute(self, *command: str) -> int:
        return self.podman("exec", self.name, *command, check=False).returncode

    def is_healthy(self) -> bool:
        return self.podman("healthcheck", "run", self.name, check=False).returncode == 0

    def stop(self) -> tuple[int, float]:
        """Stops it as an operator does, with the time that it was created with; returns exit code and seconds."""
        began = time.monotonic()
        self.podman("stop", self.name)
        return self.inspect()["State"]["ExitCode"], time.monotonic() - began


def make_base() -> Path:
    """The archive of a small Debian with its Python, of the release that apt is configured for."""
    if os.geteuid() != 0:
        pytest.skip("only root can run debootstrap and containers on the network of the host")
    targets = _do(
        program("apt-get"), "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"
    )
    release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    sites = [line.split()[0] for line in targets.splitlines() if release and line.split()[1:] == [release[1], "main"]]
    if release is None or not sites:
        pytest.skip("apt has no mirror of this machine's release of Debian")
    archive = KEPT / f"{release[1]}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        folder = archive.with_suffix(".made")
        packages = "--include=python3,python3-venv"
        _do("rm", "-rf", folder)
        _do(program("debootstrap"), "--variant=minbase", packages, release[1], folder, sites[0])
        _do("tar", "--exclude=./var/cache/apt/*", "-C", folder, "-cf", archive.with_suffix(".part"), ".")
        _do("rm", "-rf", folder)
        archive.with_suffix(".part").rename(archive)
    return archive


def _download(folder: Path, version: str) -> None:
    """Downloads what the program needs, for the base's version of Python."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = [line for line in setup["options"]["install_requires"].splitlines() if line and not line.startswith("#")]
    built_with = re.findall(r'requires = \["(.*)"\]', (ROOT / "pyproject.toml").read_text())
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", version)
    _do(*pip, "--dest", folder, *needed, *built_with, "wheel")


def services() -> dict[str, Any]:
    """The services of the compose file that run our image."""
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return {name: each for name, each in compose["services"].items() if "build" in each}


def options(service: dict[str, Any], values: Mapping[str, str], secrets: Path) -> list[str]:
    """Podman's options for what the compose file says of a service, with the values of .env and a folder of secrets."""
    given = [f"--env={name}={interpolate(str(text), values)}" for name, text in service["environment"].items()]
    given += [f"--volume={secrets / name}:{SECRETS}/{name}:ro" for name in service["secrets"]]
    given += [f"--cap-drop={each}" for each in service["cap_drop"]]
    given += [f"--security-opt={each.partition(':')[0]}" for each in service["security_opt"]]
    given += ["--read-only"] if service["read_only"] else []
    given += [f"--stop-timeout={service['stop_grace_period'].removesuffix('s')}"]
    health = service.get("healthcheck", {})
    if "test" in health:
        given += [f"--health-cmd={json.dumps(health['test'][1:])}"]
    if health.get("disable"):
        given += ["--no-healthcheck"]
    return given + ON_HOST


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """The text with ${NAME:-default} and ${NAME:?message} replaced. A missing value with a message is an error."""

    def replaced(found: re.Match[str]) -> str:
        value = values.get(found["name"], "")
        assert value or found["kind"] == "-", f"{found['name']}: {found['rest']}"
        return value or found["rest"]

    return re.sub(r"\$\{(?P<name>\w+):(?P<kind>[-?])(?P<rest>[^}]*)\}", replaced, text)
