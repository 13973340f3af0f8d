"""A commit that looks successful although its wait for the standby was cancelled, on a real server."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text

from receiver.database import schema
from receiver.database.commits import Commits
from receiver.database.database import Database, Session
from receiver.database.pipeline import Pipeline
from receiver.database.views import grant_support
from receiver.errors import StorageUnavailable
from receiver.maintenance.doctor.database import try_write
from tests.support.builders import make_event
from tests.support.log_lines import Lines
from tests.support.pgbouncer import pooling
from tests.support.queue_steps import claim, enqueue, put_back, submit
from tests.support.schema import check_models
from tests.support.standby import Primary
from tests.support.stored import deliver, events


@pytest.fixture(scope="module")
def primary() -> Iterator[Primary]:
    with Primary(fsync=False) as primary:
        schema.upgrade(primary.create_database("confirmed"))
        primary.execute("CREATE ROLE support")
        yield primary


@pytest.fixture(autouse=True)
def found(primary: Primary) -> Iterator[None]:
    """Lets the next test begin with commits that are confirmed."""
    yield
    primary.find_standby()


@pytest.fixture
def stored(primary: Primary) -> Iterator[Database]:
    with Database(primary.url("confirmed")) as database:
        yield database


def nothing(_session: Session) -> None:
    """Work of a transaction that writes nothing."""


def test_a_commit_whose_wait_was_cancelled_is_no_success(primary: Primary, stored: Database) -> None:
    primary.lose_standby()
    with primary.cancelling(), pytest.raises(StorageUnavailable, match="standby has not confirmed") as raised:
        deliver(stored, make_event(message_id="cancelled"))

    assert "cancelled" in raised.value.reason
    assert len(events(stored, under="cancelled")) == 1  # it looks stored
    primary.find_standby()
    deliver(stored, make_event(message_id="cancelled"))
    assert [row.deliveries for row in events(stored, under="cancelled")] == [2]


def test_so_is_one_whose_session_was_ended_while_it_waited(primary: Primary, stored: Database) -> None:
    primary.lose_standby()
    with primary.cancelling(how="terminate"), pytest.raises(StorageUnavailable):
        deliver(stored, make_event(message_id="terminated"))

    with primary.cancelling(), pytest.raises(StorageUnavailable, match="standby has not confirmed"):
        stored.write(nothing)


def test_so_is_one_through_a_pooler(primary: Primary, stored: Database) -> None:
    with pooling(primary.url("confirmed")) as url, Database(url) as pooled:
        deliver(pooled, make_event(message_id="pooled"))
        primary.lose_standby()
        with primary.cancelling(), pytest.raises(StorageUnavailable, match="standby has not confirmed"):
            deliver(pooled, make_event(message_id="pooled"))
        primary.find_standby()
        deliver(pooled, make_event(message_id="pooled"))

    assert [row.deliveries for row in events(stored, under="pooled")] == [3]


@pytest.mark.parametrize("how", ["cancel", "terminate"])
@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])
def test_so_is_one_that_travels_with_its_statement(primary: Primary, logged: Lines, how: str, *, pooled: bool) -> None:
    url = primary.url("confirmed")
    with ExitStack() as stack:
        url = stack.enter_context(pooling(url)) if pooled else url
        database = stack.enter_context(Database(url, connections=1))
        pipeline = stack.enter_context(Pipeline(database, "SELECT pg_logical_emit_message(true, 'receiver', '')::text"))
        for _ in range(3):
            pipeline.run()
        primary.lose_standby()
        with primary.cancelling(how=how):
            for _ in range(3):
                with pytest.raises(StorageUnavailable) as raised:
                    pipeline.run()
                assert how == "terminate" or "standby has not confirmed" in str(raised.value)
        primary.find_standby()

        assert b"/" in pipeline.run()
    assert [line["event"] for line in logged] == ["database unavailable"]


def test_many_of_them_are_one_line_in_the_log(primary: Primary, stored: Database, logged: Lines) -> None:
    primary.lose_standby()
    with primary.cancelling():
        for _ in range(20):
            with pytest.raises(StorageUnavailable):
                deliver(stored, make_event())

    [line] = logged
    assert (line["log_level"], line["event"]) == ("error", "database unavailable")
    assert "standby" in line["reason"]


def test_what_is_tried_again_and_finds_nothing_to_do_waits_all_the_same(primary: Primary, stored: Database) -> None:
    """A worker that does not know whether it requeued a message does it again, and finds it requeued."""
    enqueue(stored)
    [claimed] = claim(stored)
    submit(stored, claimed)
    primary.lose_standby()

    with primary.cancelling():
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="standby has not confirmed"):
                put_back(stored, claimed)
    with primary.cancelling(most=1), pytest.raises(StorageUnavailable):
        put_back(stored, claimed)

    assert put_back(stored, claimed) is False  # which is true, and durable by now


def test_once_a_commit_was_confirmed_what_writes_nothing_waits_for_nobody(primary: Primary, stored: Database) -> None:
    primary.lose_standby()
    with primary.cancelling(), pytest.raises(StorageUnavailable):
        deliver(stored, make_event())
    primary.find_standby()
    stored.write(nothing)
    primary.lose_standby()

    stored.write(nothing)  # no wait is cancelled


def test_what_reads_waits_for_nobody(primary: Primary, stored: Database) -> None:
    primary.lose_standby()
    with primary.cancelling(), pytest.raises(StorageUnavailable):
        deliver(stored, make_event())

    with stored.read() as session:
        assert session.execute(text("SELECT 1")).scalar_one() == 1


def test_a_wait_that_was_cancelled_is_not_held_against_the_next_transaction(primary: Primary) -> None:
    """A view of the same connection that rolls back the transaction which the test makes it wait for."""
    with Database(primary.url("confirmed"), connections=1) as database:
        primary.lose_standby()
        with primary.cancelling(), pytest.raises(StorageUnavailable):
            deliver(database, make_event())
        primary.find_standby()

        for _ in range(3):
            deliver(database, make_event())


def test_a_commit_that_waits_until_the_standby_is_back_is_a_success(primary: Primary, stored: Database) -> None:
    primary.lose_standby()
    with primary.cancelling(most=1), pytest.raises(StorageUnavailable):
        deliver(stored, make_event(message_id="again"))
    begun = time.monotonic()

    deliver(stored, make_event(message_id="again"))

    assert time.monotonic() - begun < 7
    assert [row.deliveries for row in events(stored, under="again")] == [2]


def test_a_migration_that_the_standby_has_not_confirmed_is_no_success(primary: Primary) -> None:
    url = primary.create_database("migrated")
    primary.lose_standby()
    with primary.cancelling():
        for step in (schema.upgrade, schema.upgrade, lambda url: schema.downgrade(url, "base")):
            with pytest.raises(StorageUnavailable, match="standby has not confirmed"):
                step(url)
    primary.find_standby()

    schema.upgrade(url)
    check_models(url)


def test_a_grant_and_the_trial_of_doctor_are_confirmed_too(primary: Primary, stored: Database) -> None:
    primary.lose_standby()

    with primary.cancelling():
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="has not confirmed"):
                grant_support(stored, "support")
            with pytest.raises(StorageUnavailable, match="has not confirmed"):
                stored.write(try_write)


class FakeConnection:
    """Commits as scripted, and counts the entries written only to make a commit wait."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = {}
        self.dialect = self
        self.name = "postgresql"
        self.written = 0
        self.meanwhile: Any = lambda: None

    def exec_driver_sql(self, _statement: str) -> None:
        self.written += 1

    def commit(self) -> None:
        self.meanwhile()


def test_a_commit_proves_only_what_was_in_doubt_before_it_began() -> None:
    """A doubted commit of another thread may come after it in the log."""
    commits, connection, other = Commits(), FakeConnection(), FakeConnection()

    def fail() -> None:
        raise OSError

    def commit(on: Any) -> None:
        commits.commit(on)

    def fails_meanwhile() -> None:
        with pytest.raises(OSError):  # noqa: PT011 - ours
            commit(other)

    other.meanwhile, connection.meanwhile = fail, fails_meanwhile
    commit(connection)  # this commit was confirmed, but the result of the other thread's was lost
    connection.meanwhile = lambda: None
    written = []
    for _ in range(3):
        commit(connection)
        written.append(connection.written)

    assert written == [1, 1, 1]


def test_a_statement_that_travels_with_its_commit_is_in_doubt_then(primary: Primary, stored: Database) -> None:
    sql = "INSERT INTO lanes (sender, next_at) SELECT $1::jsonb ->> 0, now() RETURNING 1"
    pipeline = Pipeline(stored, sql, keeps=False)
    assert pipeline.run(b'["+19195550001"]') == b"1"
    primary.lose_standby()

    with primary.cancelling(), pytest.raises(StorageUnavailable, match="has not confirmed") as raised:
        pipeline.run(b'["+19195550002"]')

    assert raised.value.in_doubt
    primary.find_standby()
    assert pipeline.run(b'["+19195550003"]') == b"1"
