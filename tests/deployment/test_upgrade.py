"""An upgrade as docs/operations.md describes it: migrate, then restart host by host; and back, in reverse."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from receiver.core.tags import new_tag
from receiver.core.times import now
from receiver.database.engine import where
from tests.soak.torture.checking import Findings
from tests.soak.torture.servers import Server
from tests.support.builders import make_element
from tests.support.locks import locked, onlooker
from tests.support.loop import select
from tests.support.processes import Api, environment, run, simulating
from tests.support.releases import PRESENT, make_next_release
from tests.support.traffic import Traffic

NEWER = "The database is newer than this program; upgrade this host soon."
OLDER = "The database is older than this program; run `receiver migrate`."


def readiness(api: Api) -> tuple[int, Any]:
    """The status of the readiness check, and its warning or error."""
    answer = api.call("GET", "/health/ready")
    said = answer.json()
    return answer.status_code, said.get("warning") or said.get("detail")


@pytest.mark.parametrize("callbacks", [15, pytest.param(100, marks=pytest.mark.soak)])
def test_hosts_stay_ready_and_lose_nothing_while_the_database_is_ahead_of_them(
    tmp_path: Path, database_url: str, callbacks: int
) -> None:
    """So many callbacks are stored between any two steps."""
    release = make_next_release(tmp_path)
    with ExitStack() as stack:
        simulator = stack.enter_context(simulating(tmp_path))
        settings = environment(database_url, bandwidth_api_url=simulator.api_url, bandwidth_read_timeout=5.0)
        # On SQLite one process is all there is.
        hosts = [stack.enter_context(Server(tmp_path, settings)) for _ in range(1 if "sqlite" in database_url else 2)]
        with Traffic(database_url, [each.port for each in hosts], seed=20_261_127, seconds=10) as traffic:
            traffic.flow(callbacks)
            said = run("serve", environment=settings, folder=release).stderr.strip()
            assert said == OLDER.replace("database", where(database_url))
            assert run("migrate", environment=settings, folder=release).returncode == 0
            assert [readiness(each.api) for each in hosts] == [(200, NEWER)] * len(hosts)
            traffic.flow(callbacks)
            for host in hosts:
                restart(host, release)
                assert readiness(host.api) == (200, None)
                traffic.flow(callbacks)
            assert len(select(database_url, "SELECT tag FROM support_campaigns")) > len(traffic.tags) - 10

            for host in hosts:
                restart(host, tmp_path)
                assert readiness(host.api) == (200, NEWER)
            traffic.flow(callbacks)
            back = run("migrate", "--down", "--to", PRESENT, environment=settings, folder=release)
            assert back.returncode == 0
            assert [readiness(each.api) for each in hosts] == [(200, None)] * len(hosts)
            traffic.flow(callbacks)

        assert traffic.findings() == Findings()
        assert not any("Traceback" in child.output for host in hosts for child in host.children)
    print(traffic.client.answers, traffic.refusals)  # noqa: T201 - pytest shows it if the test failed


def restart(host: Server, release: Path) -> None:
    """Stops the server as an init system does, and starts the release in that folder."""
    host.children[-1].end(signal.SIGTERM)
    host.folder = release
    host.start()


def test_a_host_that_is_ahead_of_the_database_says_so_and_is_not_ready(tmp_path: Path, database_url: str) -> None:
    settings = environment(database_url)
    with Server(tmp_path, settings) as host:
        assert readiness(host.api) == (200, None)
        down = run("migrate", "--down", "--to", f"{int(PRESENT) - 1:04}", environment=settings, folder=tmp_path)
        assert down.returncode == 0

        assert readiness(host.api) == (503, OLDER)


def test_a_migration_that_meets_a_backup_gives_up_before_any_callback_does(tmp_path: Path, postgres_url: str) -> None:
    """Another session reads a table for long, as pg_dump does; requests behind the migration's lock wait with it."""
    release, settings = make_next_release(tmp_path), environment(postgres_url)
    with Server(tmp_path, settings) as host, onlooker(postgres_url) as watching, ThreadPoolExecutor(2) as threads:
        with locked(postgres_url, "LOCK TABLE messages IN ACCESS SHARE MODE"):
            migrating = threads.submit(run, "migrate", environment=settings, folder=release)
            watching.wait_for(1)
            callback = threads.submit(host.api.callback, make_element(tag=new_tag(now())))
            watching.wait_for(2)
            assert callback.result().status_code == 200
            ended = migrating.result()
        assert (ended.returncode, readiness(host.api)) == (1, (200, None))
        assert "try again when that has ended" in ended.stderr

        assert run("migrate", environment=settings, folder=release).returncode == 0
