"""The commands that the page for operators shows work as they stand."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.support import pages
from tests.support.postgres import free_port
from tests.support.processes import PATIENCE, Api, Child, environment, invoke, wait_for


def _commands(section: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in pages.OPERATIONS.section(section).commands("receiver")]


@contextmanager
def _running(arguments: list[str], port: str, database_url: str, folder: Path) -> Iterator[str]:
    """Runs the command on a free port instead of that of the page; yields its URL."""
    free = str(free_port())
    arguments = [free if each == port else each for each in arguments]
    with Child(*arguments, environment=environment(database_url), folder=folder):
        yield f"http://127.0.0.1:{free}"


def test_the_database_is_migrated_and_the_service_started(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'receiver.sqlite3'}"
    migrate, serve = _commands("Settings and processes")

    assert invoke(*migrate, environment=environment(url)).exit_code == 0
    with _running(serve, "8080", url, tmp_path) as address, Api(address) as api:
        wait_for(api.is_ready, "the service")


def test_a_worker_serves_its_metrics(sqlite_url: str, tmp_path: Path) -> None:
    [worker] = _commands("Metrics")

    with _running(worker, "9100", sqlite_url, tmp_path) as address:
        assert "receiver_sends_total" in wait_for(lambda: _get(f"{address}/metrics"), "the metrics")


def _get(url: str) -> str:
    try:
        return requests.get(url, timeout=PATIENCE).text
    except requests.ConnectionError:
        return ""


def test_a_restored_database_is_declared_restored(sqlite_url: str) -> None:
    [restored] = _commands("Backup and restore")
    assert invoke(*restored, environment=environment(sqlite_url)).exit_code == 0


def test_each_purge_purges(sqlite_url: str) -> None:
    purges = _commands("How long data is kept")
    assert [command[0] for command in purges] == ["purge"] * 3
    assert [invoke(*command, environment=environment(sqlite_url)).exit_code for command in purges] == [0] * 3
