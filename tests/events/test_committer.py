"""The committer: what waits together is stored together, and everybody hears of his own."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from receiver.database.database import Database
from receiver.database.lookup import message_tagged
from receiver.database.models import StoredEvent
from receiver.database.schema import upgrade
from receiver.errors import NotJSON, StorageRefused, StorageUnavailable
from receiver.events import committer as receiving
from receiver.events.committer import PORTION, WAITING_CALLBACKS, Committer, PendingCallback
from receiver.events.store import RECORDED, StoreResult, Tally
from tests.support.builders import ALICE, BOB, CAROL, NOON, make_body, make_element, store_message
from tests.support.log_lines import Lines
from tests.support.stored import events

ONE = make_body(make_element("of-tomorrow", ALICE, message_id="one"))


class Gate:
    """A database that stops at every transaction until it is told what becomes of it."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.transactions = 0
        self._ends: list[Callable[[], object]] = []
        self._free = threading.Semaphore(0)

    def write(self, _work: Any) -> Any:
        self.transactions += 1
        self.begun.release()
        assert self._free.acquire(timeout=30)
        return self._ends.pop(0)()

    def let(self, end: Callable[[], object]) -> None:
        self._ends.append(end)
        self._free.release()


def stored(number: int) -> Callable[[], StoreResult]:
    return lambda: StoreResult([RECORDED] * number, [], NOON)


def fail(error: Exception) -> Callable[[], object]:
    def end() -> object:
        raise error

    return end


def submit(committer: Committer, body: bytes) -> Future[Tally]:
    """What the committer answers, when it does."""
    future: Future[Tally] = Future()

    def done(callback: PendingCallback) -> None:
        if callback.error:
            future.set_exception(callback.error)
        else:
            future.set_result(callback.tally)

    committer.submit(body, done)
    return future


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(gate: Gate) -> Iterator[Committer]:
    """A committer that is storing one callback, and can be told what becomes of everything else."""
    committer = Committer(gate)  # type: ignore[arg-type]
    submit(committer, ONE)
    assert gate.begun.acquire(timeout=30)
    yield committer
    for _ in range(10):
        gate.let(stored(PORTION))
    committer.close()


@pytest.mark.parametrize("broken", ["receiver.metrics.meters", "receiver.events.notes.shortened"])
def test_events_that_cannot_be_logged_are_stored_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch, logged: Lines, broken: str
) -> None:
    monkeypatch.setattr(broken, None)
    body = make_body(*[make_element("delivered", ALICE, message_id="one")] * 2)

    with Committer(database) as committer:
        assert committer.receive(body).tally == Tally(recorded=1, duplicates=1, unlinked=1, unreadable=0)

    assert len(events(database)) == 1
    assert {line["error"] for line in logged if "error" in line} in ({"AttributeError"}, {"TypeError"})


def test_what_waits_together_is_stored_in_one_transaction_and_answered_after_it(gate: Gate, gated: Committer) -> None:
    waiting = [submit(gated, ONE) for _ in range(5)]
    gate.let(stored(1))
    assert gate.begun.acquire(timeout=30)
    assert not any(each.done() for each in waiting)

    gate.let(stored(5))

    assert [each.result(30) for each in waiting] == [Tally(recorded=1)] * 5
    assert gate.transactions == 2


def test_who_comes_when_the_queue_is_full_is_refused_at_once(gate: Gate, gated: Committer) -> None:
    waiting = [submit(gated, ONE) for _ in range(WAITING_CALLBACKS - 1)]
    with pytest.raises(StorageUnavailable, match="Too many callbacks"):
        submit(gated, ONE)
    gate.let(stored(1))
    gate.let(stored(PORTION))
    waiting[0].result(30)
    assert submit(gated, ONE)
    gate.let(stored(PORTION))


def test_a_callback_of_several_portions_lets_others_have_their_turn(gate: Gate, gated: Committer) -> None:
    long = submit(gated, make_body(*[make_element("of-tomorrow", ALICE)] * (2 * PORTION + 1)))
    short = submit(gated, ONE)
    for number in (1, PORTION):
        gate.let(stored(number))
        assert gate.begun.acquire(timeout=30)
    gate.let(stored(PORTION))

    assert short.result(30) == Tally(recorded=1)
    assert not long.done()


def test_bodies_that_fill_the_queue_are_refused_though_they_are_few(
    gate: Gate, gated: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "WAITING_BYTES", 3 * len(ONE))
    submit(gated, ONE)
    submit(gated, ONE)
    with pytest.raises(StorageUnavailable, match="Too many callbacks"):
        submit(gated, ONE)


def test_a_callback_that_waited_too_long_gets_an_error_and_is_stored_all_the_same(
    gate: Gate, gated: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 0.01)
    with pytest.raises(StorageUnavailable):
        gated.receive(ONE)
    another = submit(gated, ONE)
    gate.let(stored(1))
    assert gate.begun.acquire(timeout=30)
    gate.let(stored(2))
    assert another.result(30) == Tally(recorded=1)


def test_what_is_no_callback_gives_its_room_back(gated: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "WAITING_CALLBACKS", 2)
    for _ in range(3):
        with pytest.raises(NotJSON):
            gated.submit(b"[", print)


def test_a_stopping_committer_finishes_what_it_took_and_refuses_the_rest(gate: Gate, gated: Committer) -> None:
    taken = [submit(gated, ONE) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        closing = pool.submit(gated.close)
        with pytest.raises(StorageUnavailable, match="stopping"):
            taken.extend(submit(gated, ONE) for _ in range(WAITING_CALLBACKS))
        assert not closing.done()
        gate.let(stored(1))
        gate.let(stored(len(taken)))
        closing.result(30)
    assert [each.result(0) for each in taken] == [Tally(recorded=1)] * len(taken)


def test_a_database_that_does_not_answer_is_asked_once_for_all_who_wait(gate: Gate, gated: Committer) -> None:
    waiting = [submit(gated, ONE) for _ in range(3)]
    gate.let(stored(1))
    gate.let(fail(StorageUnavailable()))
    for each in waiting:
        with pytest.raises(StorageUnavailable):
            each.result(30)
    assert gate.transactions == 2


@pytest.mark.parametrize("error", [StorageRefused(), ZeroDivisionError()], ids=["refused", "a defect"])
def test_what_cannot_be_stored_does_no_harm_to_its_neighbours(database: Database, error: Exception) -> None:
    """Not even to those in the same callback; whoever brought it is told that not everything was stored."""

    class Fussy:
        def write(self, work: Any) -> Any:
            def fussy(session: Any) -> Any:
                written = work(session)
                if session.scalars(select(StoredEvent.pk).where(StoredEvent.recipient == CAROL)).first():
                    raise error
                return written

            return database.write(fussy)

    tag, _ = store_message(database, ALICE, BOB, CAROL)
    numbers = [ALICE, CAROL, BOB]
    with Committer(Fussy()) as committer:  # type: ignore[arg-type]
        together = submit(committer, make_body(*(make_element("sent", number, tag=tag) for number in numbers)))
        alone: list[Future[Tally]] = [
            submit(committer, make_body(make_element("delivered", number, tag=tag))) for number in numbers
        ]
    assert [isinstance(each.exception(30), type(error)) for each in (together, *alone)] == [True, False, True, False]
    assert {(row.recipient, row.type) for row in events(database)} == {
        (number, kind) for number in (ALICE, BOB) for kind in ("message-sent", "message-delivered")
    }


class Patient:
    """A database whose first transaction lasts until everything else waits."""

    def __init__(self, database: Database) -> None:
        self.begun, self.free = threading.Event(), threading.Event()
        self.transactions = 0
        self._database = database

    def write(self, work: Any) -> Any:
        self.transactions += 1
        self.begun.set()
        assert self.free.wait(30)
        return self._database.write(work)


def test_everybody_hears_of_his_own_elements_whoever_they_were_stored_with(database: Database) -> None:
    tag, _ = store_message(database, ALICE, BOB)
    patient = Patient(database)
    with Committer(patient) as committer:  # type: ignore[arg-type]
        ours, foreign = make_element("sent", ALICE, tag=tag), make_element("sent", message_id="foreign")
        first = submit(committer, ONE)
        assert patient.begun.wait(30)
        waiting = [
            submit(committer, make_body(*elements))
            for elements in ([ours], [ours, foreign], [foreign, {"type": 7}], [])
        ]
        patient.free.set()
    assert patient.transactions == 2
    assert [each.result(0) for each in (first, *waiting)] == [
        Tally(recorded=1, unlinked=1),
        Tally(recorded=1),
        Tally(recorded=1, duplicates=1, unlinked=1),
        Tally(duplicates=1, unreadable=1),
        Tally(),
    ]


def test_a_callback_of_several_portions_is_counted_as_one(database: Database) -> None:
    tag, _ = store_message(database, ALICE, BOB)
    many = [make_element("of-tomorrow", ALICE, message_id=f"id {number}") for number in range(PORTION)]
    body = make_body(*many, make_element("delivered", ALICE, tag=tag), {"type": 7}, *many[:10])

    with Committer(database) as committer:
        first, second = committer.receive(body).tally, committer.receive(body).tally

    assert first == Tally(recorded=PORTION + 1, duplicates=10, unlinked=PORTION, unreadable=1)
    assert second == Tally(duplicates=PORTION + 11, unreadable=1)

    with database.read() as session:
        stored = message_tagged(session, tag)
    assert stored is not None
    assert [each.status for each in stored.recipients] == ["delivered", "pending"]


def test_a_body_that_is_not_json_waits_for_nothing(gated: Committer) -> None:
    with pytest.raises(NotJSON):
        submit(gated, b"[")


def test_a_process_that_closes_no_committer_ends_all_the_same(sqlite_url: str) -> None:
    """As under gunicorn, which closes nothing."""
    program = (
        "import sys; from receiver.database.database import Database; from receiver.events.committer import Committer;"
        "print(Committer(Database(sys.argv[1])).receive(sys.argv[2].encode()).tally.recorded)"
    )
    arguments = [sys.executable, "-c", program, sqlite_url, make_body(make_element())]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30)

    assert ended.stdout == "1\n"


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_nothing_is_answered_200_that_went_into_a_file_nobody_can_find(sqlite_url: str, *, replaced: bool) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    body = make_body(make_element())
    with Database(sqlite_url) as database, Committer(database) as committer:
        committer.receive(body)
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        if not replaced:
            with pytest.raises(StorageUnavailable):
                committer.receive(body)
        upgrade(sqlite_url)

        assert committer.receive(body).tally.recorded == 1

    with Database(sqlite_url) as another, Committer(another) as committer:
        assert committer.receive(body).tally.duplicates == 1


def test_a_file_that_was_away_for_a_while_comes_back_with_all_that_was_answered(sqlite_url: str) -> None:
    """Nobody may make another one in its place meanwhile: SQLite would throw away the log that lies beside it."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with Database(sqlite_url) as database, Committer(database) as committer:
        committer.receive(make_body(make_element(message_id="before")))
        away = path.rename(path.with_suffix(".away"))
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                committer.receive(make_body(make_element(message_id="meanwhile")))
        away.rename(path)
        committer.receive(make_body(make_element(message_id="after")))
        assert {row.message_id for row in events(database)} == {"before", "after"}
