"""What is sent in two round trips to the database, and when it must take the longer way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from receiver.core import times
from receiver.core.messages import Accepted, OutboundMessage, SendResult
from receiver.core.pace import BURST, Lane, Rates
from receiver.core.tags import new_tag
from receiver.database.database import Database
from receiver.database.models import IdempotencyKeyRow, LaneRow, Message
from receiver.database.pipeline import Pipeline
from receiver.messages import idempotency, outbox, pace, queue
from receiver.messages.outbox import Attempt, Submitted
from receiver.messages.pace import ACCOUNT
from receiver.messages.queue import Claimed
from receiver.messages.worker import Worker
from receiver.reports import messages
from tests.support.builders import (
    ALICE,
    BOB,
    CAROL,
    SENDER,
    FakeGateway,
    make_event,
    make_key,
    make_message,
    make_sender,
    store_message,
)
from tests.support.locks import Held, onlooker
from tests.support.processes import wait_for
from tests.support.queue_steps import attempt, claim, enqueue
from tests.support.stored import change, deliver, links, message_ids, statuses

RATES = Rates(account=1.0, sender=0.5)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def submit(database: Database, rates: Rates = Rates(), **changes: Any) -> Submitted | None:  # noqa: B008
    now = times.whole_millisecond(times.now())
    attempt = Attempt(at=now, deadline=now + MINUTE, overdue_at=now + DAY)
    key = changes.pop("key", None)
    return outbox.submit_by_pipeline(
        database,
        make_message(ALICE, BOB, **changes),
        tag=new_tag(now),
        attempt=attempt,
        key=key,
        rates=rates,
        credentials="ours",
    )


def lanes(database: Database) -> dict[str, datetime]:
    with database.read() as session:
        return {row.sender: row.next_at for row in session.scalars(select(LaneRow))}


def count(database: Database, model: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def make_lanes(database: Database, account: timedelta, sender: timedelta) -> None:
    """Lanes that are free so long from now."""
    now = times.now()
    rows = [LaneRow(sender=name, next_at=now + free) for name, free in ((ACCOUNT, account), (SENDER, sender))]
    database.write(lambda session: session.add_all(rows))


@pytest.fixture
def transactions(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Each transaction that begins, by how it travels."""
    begun: list[str] = []
    run = Pipeline.run

    def run_and_note(pipeline: Pipeline, *parameters: bytes) -> bytes:
        begun.append("one round trip")
        return run(pipeline, *parameters)

    def note(_connection: object) -> None:
        begun.append("several round trips")

    monkeypatch.setattr(Pipeline, "run", run_and_note)
    event.listen(postgres.engine, "begin", note)
    yield begun
    event.remove(postgres.engine, "begin", note)


class Bandwidth(FakeGateway):
    """Gives each message an id of its own."""

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        self.answer = Accepted(message_id=f"id-of-{tag}")
        return super().create_message(message, tag=tag)


@pytest.mark.parametrize("key", [None, make_key()])
def test_a_message_is_sent_in_two_round_trips(postgres: Database, transactions: list[str], key: Any) -> None:
    assert make_sender(postgres).send(make_message(), key=key).message

    assert transactions == ["one round trip"] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"text": None, "media": ("https://example.com/a.png", "https://example.com/b.png")},
        {"priority": "high", "reference": "lunch-1", "asked_by": "app"},
        {"expiration": datetime.fromisoformat("2090-01-31T09:30:00.123456Z"), "text": "naïve 😀"},
    ],
)
def test_its_report_is_that_of_the_stored_message(postgres: Database, changes: dict[str, Any]) -> None:
    gateway = FakeGateway()
    gateway.answer = Accepted(message_id="1795300147488abc", segment_count=2)
    submission = make_sender(postgres, gateway).send(make_message(CAROL, ALICE, **changes))

    assert submission.message == messages.message(postgres, submission.tag)


def test_a_response_without_an_id_takes_the_longer_way(postgres: Database, transactions: list[str]) -> None:
    gateway = FakeGateway()
    gateway.answer = Accepted()
    submission = make_sender(postgres, gateway).send(make_message())

    assert transactions == ["one round trip", "several round trips"]
    assert submission.message == messages.message(postgres, submission.tag)


@pytest.mark.parametrize("idle", [0.1, 0.4, 3, 3600])
def test_a_turn_is_the_one_that_the_core_gives(postgres: Database, idle: float) -> None:
    make_lanes(postgres, -timedelta(seconds=idle), -timedelta(seconds=2 * idle))
    before, free = times.now(), lanes(postgres)

    assert submit(postgres, RATES)

    after, taken = times.now(), lanes(postgres)
    for name, rate in ((ACCOUNT, 1.0), (SENDER, 0.5)):
        lane = Lane(rate=rate, next_at=free[name])
        # The database's clock is the same machine's.
        assert lane.taken(before, units=2) <= taken[name] <= lane.taken(after, units=2)
        assert taken[name] >= before - BURST


@pytest.mark.parametrize(
    ("account", "sender"), [(timedelta(seconds=60), -MINUTE), (-MINUTE, timedelta(seconds=60)), (MINUTE, MINUTE)]
)
def test_without_a_free_lane_nothing_is_stored(postgres: Database, account: timedelta, sender: timedelta) -> None:
    make_lanes(postgres, account, sender)
    free = lanes(postgres)

    assert submit(postgres, RATES, key=make_key()) is None

    assert lanes(postgres) == free
    assert (count(postgres, Message), count(postgres, IdempotencyKeyRow)) == (0, 0)


def test_a_lane_that_nobody_has_used_is_made_on_the_longer_way(postgres: Database, transactions: list[str]) -> None:
    sender = make_sender(postgres, Bandwidth(), account=100.0)
    sender.send(make_message(ALICE))
    assert transactions[:2] == ["one round trip", "several round trips"]
    wait_for(lambda: lanes(postgres)[ACCOUNT] < times.now(), "the lane to be free")
    transactions.clear()

    sender.send(make_message(ALICE))
    assert transactions == ["one round trip"] * 2


@pytest.mark.parametrize("rates", [Rates(), RATES])
def test_in_a_pause_nothing_is_stored(postgres: Database, rates: Rates) -> None:
    make_lanes(postgres, -MINUTE, -MINUTE)
    postgres.write(lambda session: pace.pause(session, retry_after=60, jitter=0))
    assert submit(postgres, rates) is None

    postgres.write(pace.resume)
    assert submit(postgres, rates)
    assert count(postgres, Message) == 1


def test_what_stands_against_the_credentials_is_reported(postgres: Database) -> None:
    insert = "INSERT INTO credential_pauses (credentials, denied, updated_at) VALUES (:credentials, '[]', now())"
    found = []
    for credentials in ("others", "ours"):
        change(postgres, insert, credentials=credentials)
        submitted = submit(postgres)
        found.append(submitted and submitted.is_suspect)

    assert found == [False, True]


def test_a_key_that_stands_for_a_message_stores_nothing_and_takes_no_turn(postgres: Database) -> None:
    make_lanes(postgres, -MINUTE, -MINUTE)
    key = make_key(expires_at=times.now() + DAY)
    assert submit(postgres, RATES, key=key)
    make_free = "UPDATE lanes SET next_at = now() - interval '1 minute'"
    change(postgres, make_free)
    free = lanes(postgres)

    assert submit(postgres, RATES, key=key) is None

    assert lanes(postgres) == free
    assert count(postgres, Message) == 1


def test_a_key_that_has_expired_is_free_and_others_are_deleted(postgres: Database) -> None:
    expired = [make_key(name, expires_at=times.now() - DAY) for name in "abcd"]
    for key in expired:
        assert submit(postgres, key=key)
    # Each insertion deletes two, so one is left, and it is taken again.
    assert count(postgres, IdempotencyKeyRow) == 1

    assert submit(postgres, key=make_key("d", expires_at=times.now() + DAY))

    with postgres.read() as session:
        [stored] = session.scalars(select(IdempotencyKeyRow))
        newest = session.scalar(select(func.max(Message.pk)))
    assert (stored.key, stored.message_pk) == ("d", newest)


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_key_that_somebody_is_storing_is_waited_for(
    postgres: Database, postgres_url: str, *, is_committed: bool
) -> None:
    _, pk = store_message(postgres)
    key = make_key(expires_at=times.now() + DAY)

    def store(session: Any) -> None:
        idempotency.add_keys(session, [(key, pk)], now=times.now())
        held(session)
        if not is_committed:
            session.execute(text("SELECT 1 / 0"))

    held = Held(lambda _session: None)
    with onlooker(postgres_url) as watching, ThreadPoolExecutor(2) as pool:
        first = pool.submit(postgres.write, store)
        held.wait()
        second = pool.submit(submit, postgres, key=key)
        watching.wait_for(1)
        held.release()

        assert (first.exception() is None) == is_committed
        assert (second.result() is None) == is_committed
    assert count(postgres, Message) == (1 if is_committed else 2)


def accept(database: Database, pk: int, message_id: str, *, number: int = 1) -> bool:
    result = Accepted(message_id=message_id)
    return make_sender(database).caller.accept(pk, number=number, result=result, now=times.now())


def test_an_acceptance_is_stored_once(postgres: Database) -> None:
    _, pk = store_message(postgres, answer=None)

    assert not accept(postgres, pk, "of-another-attempt", number=2)
    assert accept(postgres, pk, "its-id")
    assert not accept(postgres, pk, "its-id")

    assert message_ids(postgres) == {"its-id": pk}


@pytest.mark.parametrize("has_tag", [True, False])
def test_what_an_event_said_before_the_response_is_stored_the_longer_way(postgres: Database, *, has_tag: bool) -> None:
    gateway = FakeGateway()
    gateway.answer = Accepted(message_id="early", segment_count=3)
    call = gateway.create_message

    def create_message(message: Any, *, tag: str) -> Any:
        element = make_event("delivered", recipient=ALICE, message_id="early", tag=tag if has_tag else None)
        deliver(postgres, element)
        return call(message, tag=tag)

    gateway.create_message = create_message  # type: ignore[method-assign]
    submission = make_sender(postgres, gateway).send(make_message(ALICE, BOB))

    assert submission.message == messages.message(postgres, submission.tag)
    assert submission.message is not None
    assert statuses(postgres, submission.message.key) == {ALICE: "delivered", BOB: "pending"}
    assert links(postgres) == [(submission.message.key, "tag" if has_tag else "messageId")]
    assert submission.message.segment_count == 3


def submit_claimed(database: Database, found: Claimed) -> Submitted | None:
    return queue.submit_by_pipeline(database, found, attempt(found), credentials="ours")


def test_a_claimed_message_is_submitted_once(postgres: Database) -> None:
    _, pk = enqueue(postgres)
    [found] = claim(postgres)

    assert submit_claimed(postgres, found) == Submitted(pk=pk, is_suspect=False)
    assert submit_claimed(postgres, found) is None


def test_nor_is_one_whose_claim_another_worker_has(postgres: Database) -> None:
    enqueue(postgres)
    [found] = claim(postgres)
    [others] = claim(postgres, now=found.until + MINUTE)

    assert submit_claimed(postgres, found) is None
    assert submit_claimed(postgres, others)


def test_nor_is_one_in_a_pause(postgres: Database) -> None:
    enqueue(postgres)
    [found] = claim(postgres)
    postgres.write(lambda session: pace.pause(session, retry_after=60, jitter=0))
    assert submit_claimed(postgres, found) is None

    postgres.write(pace.resume)
    insert = (
        "INSERT INTO credential_pauses (credentials, denied, paused_at, updated_at) SELECT 'ours', '[]', now(), now()"
    )
    change(postgres, insert)
    assert submit_claimed(postgres, found) is None

    change(postgres, "UPDATE credential_pauses SET paused_at = NULL")
    submitted = submit_claimed(postgres, found)
    assert submitted is not None
    assert submitted.is_suspect


def test_a_worker_sends_in_two_round_trips_each(postgres: Database, transactions: list[str]) -> None:
    sender = make_sender(postgres, gateway := Bandwidth())
    for _ in range(4):
        enqueue(postgres)
    transactions.clear()
    worker = Worker(sender.caller, rates=Rates(), threads=1, attempts=1)
    running = Thread(target=worker.run)
    running.start()
    try:
        wait_for(lambda: len(gateway.sent) == 4, "the worker to send")
    finally:
        worker.stop()
        running.join()

    assert transactions.count("one round trip") == 8
