"""Backs up and restores a database with the commands of docs/operations.md, as an operator would type them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support import pages
from tests.support.debian import PATH, program
from tests.support.postgres import wheel_install

PROGRAMS = wheel_install(18) / "bin"
"""pg_dump and pg_restore of the tests' PostgreSQL; those of Debian are too old for it."""


def example(word: str) -> str:
    """The block of commands in docs/operations.md that begins with ``word``."""
    [found] = [each for each in pages.OPERATIONS.section("Backup and restore").examples("sh") if each.startswith(word)]
    return found


def type_in(commands: str, folder: Path, variables: Mapping[str, str]) -> None:
    """Runs the commands in that folder. The only password is in the URL, as on an operator's machine."""
    surroundings = os.environ | variables | {"PATH": f"{PROGRAMS}{os.pathsep}{PATH}"}
    ended = subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr


class PostgresqlBackup:
    def __init__(self, url: str, restored_url: str) -> None:
        self._url, self.restored_url = url, restored_url

    def take(self, folder: Path) -> None:
        type_in(example("pg_dump"), folder, {"DATABASE": _libpq(self._url)})

    def restore(self, folder: Path) -> None:
        type_in(example("pg_restore"), folder, {"RESTORED": _libpq(self.restored_url)})


class SqliteBackup:
    """A backup of a file, which is restored to its old place."""

    def __init__(self, url: str) -> None:
        self.restored_url = url
        program("sqlite3")

    def take(self, folder: Path) -> None:
        type_in(example("sqlite3"), folder, {})

    def restore(self, folder: Path) -> None:
        type_in(example("mkdir"), folder, {})


def _libpq(url: str) -> str:
    return url.replace("+psycopg", "", 1)
