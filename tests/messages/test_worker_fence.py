"""A worker that lost its claim while the database was away leaves alone what another has made of the message."""

from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from receiver.core import times
from receiver.core.pace import Rates
from receiver.database.database import Database
from receiver.database.lookup import message_tagged
from receiver.database.pipeline import Pipeline
from receiver.errors import StorageUnavailable
from receiver.messages import queue
from receiver.messages.worker import LEASE, Worker
from tests.support.builders import FakeGateway, make_message, make_sender
from tests.support.processes import wait_for


@pytest.fixture
def other(database_url: str) -> Iterator[Database]:
    """The database as another process sees it."""
    with Database(database_url) as other:
        yield other


BreakCommit = Callable[..., list[int]]


@pytest.fixture
def break_commit_of_submitting(monkeypatch: pytest.MonkeyPatch) -> BreakCommit:
    return partial(_break_commit_of_submitting, monkeypatch)


def _break_commit_of_submitting(
    monkeypatch: pytest.MonkeyPatch, database: Database, meanwhile: Any, *, is_committed: bool
) -> list[int]:
    """The first commit that makes a message submitting fails, after ``meanwhile``; how many writes ended since then."""
    ended: list[int] = []

    def commit(connection: Connection) -> None:
        if not connection.get_execution_options().get("writes"):
            return
        if ended:
            ended[0] += 1
        elif connection.exec_driver_sql("SELECT 1 FROM messages WHERE send_status = 'submitting'").all():
            ended.append(0)
            driver: Any = connection.connection.driver_connection
            (driver.commit if is_committed else driver.rollback)()
            meanwhile()
            raise OperationalError("COMMIT", {}, Exception("the connection is lost"))

    run = Pipeline.run

    def run_and_lose(pipeline: Pipeline, *parameters: bytes) -> bytes:
        if ended or "'submitting'" not in pipeline.sql:
            return run(pipeline, *parameters)
        if is_committed:
            assert run(pipeline, *parameters)
        ended.append(0)
        meanwhile()
        raise StorageUnavailable(in_doubt=True)

    event.listen(database.engine, "commit", commit)
    monkeypatch.setattr(Pipeline, "run", run_and_lose)
    return ended


def test_what_another_worker_is_sending_is_not_put_back(
    database: Database, other: Database, break_commit_of_submitting: BreakCommit
) -> None:
    """The other claims it after the end of the lease, as happens to a worker that was frozen; both make an attempt of
    the same number."""
    gateway = FakeGateway()
    sender, others = make_sender(database, gateway), make_sender(other)
    tag = others.queue(make_message()).tag

    def claim_and_submit() -> None:
        later = times.now() + 2 * LEASE
        [claimed] = other.write(lambda session: queue.claim(session, now=later, lease=LEASE, limit=1))
        attempt = others.caller.attempt(times.now(), number=1)
        assert other.write(lambda session: queue.submit(session, claimed, attempt))

    writes = break_commit_of_submitting(database, claim_and_submit, is_committed=False)
    run_until_it_has_gone_on(Worker(sender.caller, rates=sender.rates, threads=1, attempts=3), writes)

    with other.read() as session:
        stored = message_tagged(session, tag)
    assert stored is not None
    assert (stored.send_status, stored.attempt, gateway.sent) == ("submitting", 1, [])


def test_what_it_has_made_submitting_itself_and_not_sent_is_sent_again(
    database: Database, break_commit_of_submitting: BreakCommit
) -> None:
    gateway = FakeGateway()
    tag = make_sender(database).queue(make_message()).tag

    writes = break_commit_of_submitting(database, lambda: None, is_committed=True)
    worker = Worker(make_sender(database, gateway).caller, rates=Rates(), threads=1, attempts=3)
    run_until_it_has_gone_on(worker, writes, gateway)

    assert [sent for _, sent in gateway.sent] == [tag]


def run_until_it_has_gone_on(worker: Worker, writes: list[int], gateway: FakeGateway | None = None) -> None:
    """Until it has sent something, or has written a few times since its commit failed."""
    running = Thread(target=worker.run)
    running.start()
    try:
        wait_for(lambda: gateway.sent if gateway else writes and writes[0] >= 5, "the worker to go on")
    finally:
        worker.stop()
        running.join()
