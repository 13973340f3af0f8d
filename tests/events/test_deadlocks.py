"""Rows are locked in one order everywhere, so transactions that meet wait for each other and never deadlock.

PostgreSQL would end one of two that do, after a second in which both stand still; `write` then begins it again.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import text

from receiver.core.events import Event, Unreadable
from receiver.core.messages import Accepted
from receiver.database.database import ATTEMPTS, Database, Session
from receiver.errors import StorageUnavailable
from receiver.events.replay import replay_step
from receiver.maintenance import recompute
from tests.support.builders import ALICE, BOB, CAROL, NOON, make_element, make_event, store_message
from tests.support.locks import PATIENCE, Counted, Held, locked, onlooker, threads, wait_until
from tests.support.stored import answering, change, deliver, messages, recording, statuses, submit


def assert_they_wait_for_each_other(
    database: Database, first: Callable[[Session], object], second: Callable[[Session], object], *, gate: str
) -> None:
    """``first`` stops halfway, at rows that somebody else has locked; ``second`` runs until it is done or waits for
    ``first``; then the rows are free. Each was begun once, so neither was a victim."""
    url = database.engine.url.render_as_string(hide_password=False)
    one, other = Counted(first), Counted(second)
    with threads() as pool, onlooker(url) as watching:
        with locked(url, gate):
            begun = [pool.submit(database.write, one)]
            watching.wait_for(1)
            begun.append(pool.submit(database.write, other))
            wait_until(lambda: begun[1].done() or watching.waiting == 2)
        for each in begun:
            each.result(PATIENCE)
    assert (one.begun, other.begun) == (1, 1)


def test_a_body_of_many_statements_meets_a_small_one(postgres: Database) -> None:
    """The ids are ordered against the messages: the body's first statements are about the second message."""
    (_, low), (_, high) = (store_message(postgres, ALICE, answer=Accepted(message_id=each)) for each in ("z", "a"))
    deliver(postgres, make_event("sending", message_id="z"))
    body = [make_event("failed", message_id="a", error_code=number) for number in range(600)]
    body += [make_event("failed", message_id="z"), make_event("sending", message_id="z")]

    assert_they_wait_for_each_other(
        postgres,
        recording(*body),
        recording(make_event("sent", message_id="a"), make_event("sent", message_id="z")),
        gate="SELECT 1 FROM events WHERE message_id = 'z' FOR UPDATE",
    )

    assert statuses(postgres, low) == statuses(postgres, high) == {ALICE: "failed"}


def test_a_batch_that_links_a_parked_event_meets_one_about_the_same_recipient(postgres: Database) -> None:
    """The message was sent twice."""
    tag, pk = submit(postgres, ALICE, BOB, CAROL)
    deliver(postgres, make_event("sending", message_id="known", tag=tag))
    deliver(postgres, make_event("sent", CAROL, message_id="known"), make_event("sent", ALICE, message_id="known"))
    deliver(postgres, make_event("delivered", CAROL, message_id="parked"))
    links_it = make_event("delivered", BOB, message_id="parked", tag=tag)
    repeats = [make_event("sent", ALICE, message_id="known"), make_event("sent", CAROL, message_id="known")]

    assert_they_wait_for_each_other(
        postgres,
        recording(links_it, *repeats),
        recording(repeats[1]),
        gate=f"SELECT 1 FROM events WHERE recipient = '{ALICE}' AND type = 'message-sent' FOR UPDATE",
    )

    assert statuses(postgres, pk) == {ALICE: "sent", BOB: "delivered", CAROL: "delivered"}


def test_the_first_receipt_meets_an_answer_that_links_a_parked_event(postgres: Database) -> None:
    """The message was sent twice, and the answer comes after the events of the other request."""
    tag, pk = submit(postgres, ALICE, BOB)
    deliver(postgres, make_event("sent", BOB, message_id="known", tag=tag))
    deliver(postgres, make_event("delivered", BOB, message_id="parked"))

    assert_they_wait_for_each_other(
        postgres,
        recording(*(make_event("sending", number, message_id="known") for number in (ALICE, BOB))),
        answering(pk, Accepted(message_id="parked")),
        gate=f"SELECT 1 FROM recipients WHERE recipient = '{ALICE}' FOR UPDATE",
    )

    assert statuses(postgres, pk) == {ALICE: "sending", BOB: "delivered"}


def test_events_that_prove_acceptance_meet_a_repair(postgres: Database) -> None:
    sent = [store_message(postgres, ALICE, answer=Accepted(message_id=each)) for each in ("one", "two")]
    deliver(postgres, make_event("sent", message_id="one"), make_event("sent", message_id="two"))
    change(postgres, "UPDATE messages SET send_status = 'unknown'")

    def repairing(session: Session) -> None:
        recompute.repair(session, recompute.compare(session, recompute.messages_after(session, "", limit=9)), now=NOON)

    assert_they_wait_for_each_other(
        postgres,
        recording(make_event(message_id="one"), make_event(message_id="two")),
        repairing,
        gate=f"SELECT 1 FROM messages WHERE tag = '{sent[1][0]}' FOR NO KEY UPDATE",
    )

    assert {row.send_status for row in messages(postgres).values()} == {"accepted"}
    assert [statuses(postgres, pk) for _, pk in sent] == [{ALICE: "delivered"}] * 2


def test_what_is_unreadable_is_read_again_while_it_comes_together_with_the_event_that_it_is(postgres: Database) -> None:
    store_message(postgres, ALICE)
    kept = Unreadable(payload=json.dumps(make_element("delivered", ALICE)), reason="Not understood then.")
    deliver(postgres, make_event("delivered", ALICE), kept)
    change(postgres, "UPDATE recipients SET standing = ''")  # so that the event that comes is news to its recipient

    assert_they_wait_for_each_other(
        postgres,
        recording(make_event("delivered", ALICE), kept),
        lambda session: replay_step(session, after=""),
        gate="SELECT 1 FROM recipients FOR UPDATE",
    )


RUBBISH = sorted((Unreadable(payload=each, reason="No object.") for each in "123"), key=lambda each: each.sha256)
OPPOSITE: dict[str, tuple[list[Event | Unreadable], str]] = {
    "message ids": (
        [make_event("sent", message_id=each) for each in ("parked-1", "parked-2", "parked-3")],
        "SELECT 1 FROM message_ids WHERE message_id = 'parked-2' FOR UPDATE",
    ),
    "events": (
        [make_event("failed", error_code=each) for each in (1, 2, 3)],
        "SELECT 1 FROM events WHERE error_code = 2 FOR UPDATE",
    ),
    "messages": (
        [make_event("unheard-of", message_id=each) for each in ("1", "2", "3")],
        "SELECT 1 FROM messages WHERE sender = '2' FOR NO KEY UPDATE",
    ),
    "recipients": (
        [make_event("sent", each) for each in (ALICE, BOB, CAROL)],
        f"SELECT 1 FROM recipients WHERE recipient = '{BOB}' FOR UPDATE",
    ),
    "unreadable elements": (
        [*RUBBISH],
        "SELECT 1 FROM (SELECT pk FROM unreadable_callbacks ORDER BY sha256 OFFSET 1 LIMIT 1) middle"
        " JOIN unreadable_callbacks USING (pk) FOR UPDATE OF unreadable_callbacks",
    ),
}


@pytest.mark.parametrize("name", OPPOSITE)
def test_batches_in_opposite_orders_meet_in_the_middle(postgres: Database, name: str) -> None:
    """Every row is there already, and somebody else holds the one in the middle."""
    batch, gate = OPPOSITE[name]
    _, pk = store_message(postgres)
    for message_id in ("1", "2", "3"):
        store_message(postgres, answer=Accepted(message_id=message_id), sender=message_id)
    deliver(postgres, *(replace(each, type="message-sending") for each in batch if isinstance(each, Event)))
    deliver(postgres, *OPPOSITE["events"][0], *RUBBISH)
    change(postgres, "UPDATE messages SET send_status = 'unknown' WHERE sender < '9'")

    assert_they_wait_for_each_other(postgres, recording(*batch), recording(*reversed(batch)), gate=gate)

    assert statuses(postgres, pk)[ALICE] == "failed"


def lock_recipient(number: str) -> Callable[[Session], object]:
    return lambda session: session.execute(
        text("UPDATE recipients SET position = position WHERE recipient = :number"), {"number": number}
    )


def test_the_victim_of_a_deadlock_is_begun_again(postgres: Database) -> None:
    """Somebody else, an operator's script for instance, may lock in another order than we do."""
    store_message(postgres)

    def crossing(first: str, second: str) -> tuple[Held, Counted]:
        held = Held(lock_recipient(first))

        def work(session: Session) -> None:
            held(session)
            lock_recipient(second)(session)

        return held, Counted(work)

    (held_one, one), (held_other, other) = crossing(ALICE, BOB), crossing(BOB, ALICE)
    with threads() as pool:
        begun = [pool.submit(partial(postgres.write, each)) for each in (one, other)]
        for held in (held_one, held_other):
            held.wait()
        for held in (held_one, held_other):
            held.release()
        for each in begun:
            each.result(PATIENCE)

    assert sorted([one.begun, other.begun]) == [1, 2]


@pytest.mark.parametrize("sqlstate", ["40P01", "40001", "23503"])
@pytest.mark.parametrize(("losses", "stored"), [(1, True), (ATTEMPTS - 1, True), (ATTEMPTS, False)])
def test_a_transaction_is_begun_three_times_at_most(
    postgres: Database, sqlstate: str, losses: int, *, stored: bool
) -> None:
    def work(session: Session) -> None:
        session.execute(text("INSERT INTO error_ranges VALUES (-1, -1, '', '', '')"))
        if counted.begun <= losses:
            session.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$"))

    counted = Counted(work)
    if stored:
        postgres.write(counted)
        assert counted.begun == losses + 1
        change(postgres, "DELETE FROM error_ranges WHERE first_code = -1")
    else:
        with pytest.raises(StorageUnavailable):
            postgres.write(counted)
        assert counted.begun == ATTEMPTS


def test_no_other_error_is_tried_again(postgres: Database) -> None:
    counted = Counted(lambda session: session.execute(text("SELECT 1 / 0")))

    with pytest.raises(StorageUnavailable):
        postgres.write(counted)

    assert counted.begun == 1
