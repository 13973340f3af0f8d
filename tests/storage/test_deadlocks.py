"""Rows are locked in one order everywhere, so transactions that meet wait for each other and never deadlock.

PostgreSQL would end one of two that do, after a second in which both stand still; `write` then begins it again.
"""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
from sqlalchemy import text

from receiver.core.events import Event
from receiver.core.messages import Accepted
from receiver.errors import StorageUnavailable
from receiver.storage.database import ATTEMPTS, Database, Session
from tests.builders import ALICE, BOB, CAROL, make_event, store_message
from tests.storage.locks import PATIENCE, Counted, Held, locked, onlooker, threads
from tests.storage.stored import change, deliver, recording, statuses, submit

Statements = Sequence[Callable[[Session], object]]


def crosswise(
    database: Database, first: Sequence[Event], second: Sequence[Event], *, gate: str
) -> tuple[Counted, Counted]:
    """``first`` stops halfway, at a row that somebody else has locked; ``second`` runs until it waits for ``first``;
    then the row is free. How often each was begun."""
    url = database.engine.url.render_as_string(hide_password=False)
    one, other = Counted(recording(*first)), Counted(recording(*second))
    with threads() as pool, onlooker(url) as watching:
        with locked(url, f"SELECT 1 FROM events WHERE {gate} FOR UPDATE"):
            begun = [pool.submit(partial(database.write, one))]
            watching.wait_for(1)
            begun.append(pool.submit(partial(database.write, other)))
            watching.wait_for(2)
        for each in begun:
            each.result(PATIENCE)
    return one, other


def test_a_body_of_many_statements_meets_a_small_one(postgres: Database) -> None:
    """The ids are ordered against the messages: the body's first statements are about the second message."""
    (_, low), (_, high) = (store_message(postgres, ALICE, answer=Accepted(message_id=each)) for each in ("z", "a"))
    deliver(postgres, make_event("sending", message_id="z"))
    body = [make_event("failed", message_id="a", error_code=number) for number in range(600)]
    body += [make_event("failed", message_id="z"), make_event("sending", message_id="z")]

    one, other = crosswise(
        postgres,
        body,
        [make_event("sent", message_id="a"), make_event("sent", message_id="z")],
        gate="message_id = 'z'",
    )

    assert statuses(postgres, low) == statuses(postgres, high) == {ALICE: "failed"}
    assert (one.begun, other.begun) == (1, 1)


def test_a_batch_that_links_a_parked_event_meets_one_about_the_same_recipient(postgres: Database) -> None:
    tag, pk = submit(postgres, ALICE, BOB, CAROL)
    deliver(postgres, make_event("sending", message_id="known", tag=tag))
    deliver(postgres, make_event("sent", CAROL, message_id="known"), make_event("sent", ALICE, message_id="known"))
    deliver(postgres, make_event("delivered", CAROL, message_id="parked"))
    links_it = make_event("delivered", BOB, message_id="parked", tag=tag)
    repeats = [make_event("sent", ALICE, message_id="known"), make_event("sent", CAROL, message_id="known")]

    one, other = crosswise(
        postgres,
        [links_it, *repeats],
        [repeats[1]],
        gate=f"message_id = 'known' AND recipient = '{ALICE}' AND type = 'message-sent'",
    )

    assert statuses(postgres, pk) == {ALICE: "sent", BOB: "delivered", CAROL: "delivered"}
    assert (one.begun, other.begun) == (1, 1)


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


@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
@pytest.mark.parametrize(("losses", "stored"), [(1, True), (ATTEMPTS - 1, True), (ATTEMPTS, False)])
def test_a_transaction_is_begun_three_times_at_most(
    postgres: Database, sqlstate: str, losses: int, *, stored: bool
) -> None:
    def work(session: Session) -> None:
        session.execute(text("INSERT INTO error_codes (code, category, advice) VALUES (1, '', '')"))
        if counted.begun <= losses:
            session.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$"))

    counted = Counted(work)
    if stored:
        postgres.write(counted)
        assert counted.begun == losses + 1
        change(postgres, "DELETE FROM error_codes WHERE code = 1")
    else:
        with pytest.raises(StorageUnavailable):
            postgres.write(counted)
        assert counted.begun == ATTEMPTS


def test_no_other_error_is_tried_again(postgres: Database) -> None:
    counted = Counted(lambda session: session.execute(text("SELECT 1 / 0")))

    with pytest.raises(StorageUnavailable):
        postgres.write(counted)

    assert counted.begun == 1
