"""A backup is taken under traffic, the database is lost, the backup is restored: nothing is missing or sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from receiver.database.database import Database
from tests.database.test_migrations import VIEWS, views
from tests.soak.torture.checking import key_of, key_told, read_stored
from tests.soak.torture.servers import Server
from tests.support.backups import PostgresqlBackup, SqliteBackup
from tests.support.builders import ALICE, BOB, CALLBACK_AUTH, make_element, store_message
from tests.support.databases import ENGINES
from tests.support.loop import select
from tests.support.processes import Api, Child, environment, invoke, run, simulating, wait_for
from tests.support.traffic import Traffic, request_message

OPEN = "+12005580009"
"""A recipient without events here, whose outcome only Bandwidth's records have."""

LIVES = (("failed", ALICE), ("delivered", ALICE), ("delivered", BOB))

EXPECTED = {"accepted": 202, "unknown": 504}
"""The status of the response to a repeated request, by the send status of its message."""

Backup = PostgresqlBackup | SqliteBackup


@pytest.fixture(params=ENGINES)
def backup(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Backup]]:
    """The URL of a migrated database, and how to back it up and restore it."""
    databases = request.getfixturevalue(f"{request.param}_databases")
    template = request.getfixturevalue(f"{request.param}_template")
    with ExitStack() as stack:
        url = stack.enter_context(databases.new(tmp_path, template))
        if request.param == "sqlite":
            yield url, SqliteBackup(url)
        else:
            yield url, PostgresqlBackup(url, stack.enter_context(databases.new(tmp_path, None)))


def complete_messages(url: str, api: Api) -> dict[str, Any]:
    """Sends some messages and waits for their outcomes; returns what the API reports of each."""
    with Database(url) as database:
        tags = [store_message(database, ALICE, BOB, reference="complete")[0] for _ in range(5)]
    for number, tag in enumerate(tags):
        events = [make_element(kind, to, tag=tag, message_id=f"c-{number}") for kind, to in LIVES]
        assert api.callback(*events).status_code == 200
    return {tag: shown(api, tag) for tag in tags}


def shown(api: Api, tag: str) -> tuple[Any, ...]:
    message = api.message(tag)
    assert message["complete"]
    return message, api.events(tag)


@pytest.mark.parametrize("callbacks", [20, pytest.param(60, marks=pytest.mark.soak)])
def test_a_restored_backup_holds_what_was_answered_before_it_and_sends_nothing_again(
    tmp_path: Path, backup: tuple[str, Backup], callbacks: int
) -> None:
    """So many callbacks are stored before the backup, and half as many after it."""
    url, way = backup
    with ExitStack() as stack:
        simulator = stack.enter_context(simulating(tmp_path))
        bandwidth = {"bandwidth_api_url": simulator.api_url, "bandwidth_read_timeout": 5.0}
        settings = environment(url, **bandwidth, overdue_after_hours=0.001)
        host = stack.enter_context(Server(tmp_path, settings))
        complete = complete_messages(url, host.api)
        is_open = host.api.send(OPEN).json()["tag"]
        with Traffic(url, [host.port], seed=20_261_128, seconds=20) as traffic:
            traffic.flow(callbacks)
            acknowledged, asked = traffic.acknowledged(), dict(traffic.tags)
            way.take(tmp_path)
            traffic.flow(callbacks // 2)
        late = host.api.queue(OPEN, reference="after the backup")
        worker = stack.enter_context(Child("worker", environment=settings, folder=tmp_path))
        wait_for(lambda: simulator.accepted(late), "everything that was queued to be sent")
        host.kill()
        worker.kill()

        way.restore(tmp_path)
        settings["DATABASE_URL"] = way.restored_url
        restored = run("restored", "--yes", environment=settings, folder=tmp_path)
        assert restored.returncode == 0, restored.stderr

        host = stack.enter_context(Server(tmp_path, settings))
        stack.enter_context(Child("worker", environment=settings, folder=tmp_path))
        stored = keys(way.restored_url)
        assert {key_told(told) for each in acknowledged for told in each.callback.told} <= stored
        assert {tag: shown(host.api, tag) for tag in complete} == complete
        assert set(views(way.restored_url)) == VIEWS
        to_come = [each.callback for each in traffic.client.deliveries if not each.attempts]
        for each in to_come[:callbacks]:
            answer = host.api.call("POST", "/callbacks/bandwidth", data=each.body, auth=CALLBACK_AUTH)
            assert answer.status_code == 200
            stored |= {key_told(told) for told in each.told}
        assert keys(way.restored_url) == stored

        still_queued = "SELECT tag FROM support_messages WHERE send_status = 'queued'"
        wait_for(lambda: not select(way.restored_url, still_queued), "the worker to have nothing to do")
        statuses = dict(select(way.restored_url, "SELECT reference, send_status FROM support_messages"))
        for reference in sorted(asked)[: callbacks // 5]:
            again = request_message(host.api, reference)
            assert again.status_code == EXPECTED[statuses[reference]], again.text
        assert host.api.call("GET", f"/messages/{late}").status_code == 404
        sent_again = [tag for tag, times in Counter(each["tag"] for each in simulator.recorded()).items() if times > 1]
        assert sent_again == []

        wait_for(lambda: host.api.message(is_open)["summary"]["overdue"], "the open message to be overdue")
        invoke("reconcile", environment=settings)
        assert host.api.message(is_open)["summary"]["delivered"] == 1
        checked = run("recompute", "--check", environment=settings, folder=tmp_path)
        assert checked.returncode == 0, checked.stdout


def keys(url: str) -> set[Any]:
    """The number of stored deliveries of all callbacks."""
    with Database(url) as database:
        stored = read_stored(database)
    return {key_of(row) for row in (*stored.events, *stored.unreadable)}
