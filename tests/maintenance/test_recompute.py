"""`receiver recompute`: every stored outcome can be computed from the events again."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from receiver.core import times
from receiver.core.messages import Accepted, Refused
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database, Session
from receiver.database.models import Base, Recipient
from receiver.maintenance import recompute as recomputing
from receiver.maintenance.recompute import Difference
from receiver.reports.messages import events
from tests.support.agreement import assert_views_agree
from tests.support.builders import ALICE, BOB, CAROL, NOON, make_event, store_message
from tests.support.locks import PATIENCE, Held, onlooker, threads
from tests.support.stored import (
    HOUR,
    answering,
    change,
    deliver,
    messages,
    recipients,
    recording,
    statuses,
    store_in_old_order,
    submit,
    submitting,
)

REFUSED = Refused(because=RefusedBecause.BANDWIDTH, status=400)


def recompute(database: Database, *, check: bool = False, after_tag: str = "") -> list[Difference]:
    batches = recomputing.recompute(database, check=check, after_tag=after_tag)
    return [difference for batch in batches for difference in batch.differences]


def everything(database: Database, *, but: tuple[str, ...] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, without the columns named."""
    with database.read() as session:
        return {
            table.name: sorted(
                map(tuple, session.execute(select(*(each for each in table.c if each.name not in but)))), key=repr
            )
            for table in Base.metadata.sorted_tables
        }


def store_all_kinds(database: Database) -> tuple[str, int]:
    """A message of every outcome, and a refused one; the first one's tag and key."""
    first = store_message(database, ALICE, BOB, CAROL)
    deliver(
        database,
        *(make_event(), make_event("failed", BOB, error_code=4720), make_event(recipient=BOB)),
        *(make_event("sending", CAROL), make_event("unheard-of", CAROL)),
        *(make_event(recipient=""), make_event("received")),
    )
    store_message(database, ALICE, answer=REFUSED)
    submit(database, ALICE)
    return first


def test_what_was_stored_event_by_event_needs_no_repair(database: Database) -> None:
    store_all_kinds(database)
    before = everything(database)

    assert recompute(database, check=True) == []
    assert recompute(database) == []

    assert everything(database) == before


TAMPERED = {
    "a status": "UPDATE recipients SET status = 'failed' WHERE status = 'delivered'",
    "every status": "UPDATE recipients SET status = 'sent'",
    "a standing": "UPDATE recipients SET standing = '' WHERE status = 'delivered'",
    "a winner": "UPDATE recipients SET event_pk = event_pk + 1 WHERE status = 'failed'",
    "a code": "UPDATE recipients SET error_code = 1 WHERE status = 'failed'",
    "a description": "UPDATE recipients SET description = 'none of your business'",
    "a time": "UPDATE recipients SET occurred_at = NULL",
    "an invalid number": "UPDATE recipients SET invalid_recipient = NOT invalid_recipient",
    "a refused recipient": "UPDATE recipients SET status = 'pending' WHERE status = 'not_sent'",
    "a pending recipient": "UPDATE recipients SET status = 'not_sent' WHERE status = 'pending'",
    "receipts that came": "UPDATE messages SET receipts = FALSE WHERE receipts",
    "receipts that never came": "UPDATE messages SET receipts = TRUE WHERE NOT receipts",
    "a state": "UPDATE messages SET send_status = 'unknown' WHERE send_status = 'accepted'",
    "a refusal": "UPDATE messages SET send_status = 'refused', refused_because = 'operator'"
    " WHERE send_status = 'accepted'",
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_differs_is_reported_and_repaired(database: Database, name: str) -> None:
    tag, _ = store_all_kinds(database)
    good = everything(database, but=("updated_at",))
    change(database, TAMPERED[name])
    spoilt = everything(database)

    found = recompute(database, check=True)

    assert found
    assert everything(database) == spoilt

    assert [(each.tag, each.recipient) for each in recompute(database)] == [
        (each.tag, each.recipient) for each in found
    ]
    assert everything(database, but=("updated_at",)) == good
    assert recompute(database, check=True) == recompute(database) == []
    assert_views_agree(database, tag)


def test_a_difference_says_what_is_stored_and_what_should_be(database: Database) -> None:
    tag, _ = store_all_kinds(database)
    change(database, "UPDATE recipients SET status = 'sent' WHERE status = 'failed'")
    change(database, "UPDATE messages SET send_status = 'refused' WHERE send_status = 'accepted'")

    found = recompute(database, check=True)

    [message, recipient] = found
    assert (message.tag, message.recipient) == (tag, None)
    assert "refused" in message.stored
    assert "accepted" in message.folded
    assert (recipient.tag, recipient.recipient) == (tag, BOB)
    assert "sent" in recipient.stored
    assert "failed" in recipient.folded


def test_a_type_that_a_release_learns_is_applied_afterwards(database: Database) -> None:
    """No test can teach the code a type, so here the event was stored and its statement was lost."""
    tag, pk = store_message(database, ALICE)
    deliver(database, make_event("of-tomorrow"))
    assert recompute(database) == []
    change(database, "UPDATE events SET type = 'message-delivered'")

    [difference] = recompute(database)
    assert "delivered" in difference.folded

    assert statuses(database, pk) == {ALICE: "delivered"}
    [event] = events(database, tag)
    assert event.disposition == "applied"


def test_a_repair_says_when_it_was(database: Database) -> None:
    _, pk = store_all_kinds(database)
    change(database, "UPDATE recipients SET status = 'sent' WHERE status = 'failed'")
    started = times.now()

    recompute(database)

    assert {number: row.updated_at >= started for number, row in recipients(database, pk).items()} == {
        ALICE: False,
        BOB: True,
        CAROL: False,
    }


def test_the_order_of_an_earlier_release_is_put_right_and_is_no_news_to_those_who_ask_what_changed(
    database: Database,
) -> None:
    store_all_kinds(database)
    good = everything(database)
    store_in_old_order(database)

    found = recompute(database)

    assert sorted(each.recipient or "" for each in found) == [ALICE, BOB, CAROL]
    assert all(each.only_order for each in found)
    assert everything(database) == good
    assert recompute(database, check=True) == []


def test_the_code_that_an_earlier_release_lost_comes_back(database: Database) -> None:
    """The earlier failure won in that release, although only the later one had a code."""
    _, pk = store_message(database, ALICE)
    deliver(database, make_event("failed", occurred_at=NOON))
    [row] = recipients(database, pk).values()
    lost = {name: getattr(row, name) for name in ("standing", "event_pk", "error_code", "description", "occurred_at")}
    deliver(database, make_event("failed", error_code=4404, occurred_at=NOON + HOUR))
    database.write(lambda session: session.execute(update(Recipient).values(lost)))
    store_in_old_order(database)

    [difference] = recompute(database)

    assert not difference.only_order
    [row] = recipients(database, pk).values()
    assert (row.status, row.error_code, row.invalid_recipient) == ("failed", 4404, True)


@pytest.mark.parametrize("status", ["sending", "sent", "delivered", "failed"])
def test_an_event_that_meets_the_order_of_an_earlier_release_never_lowers_a_status(
    database: Database, status: str
) -> None:
    tag, pk = store_message(database, ALICE)
    deliver(database, make_event(status, tag=tag))
    store_in_old_order(database)

    for each in ("sending", "sent", status):
        deliver(database, make_event(each, message_id="other", tag=tag, occurred_at=None))

    assert statuses(database, pk) == {ALICE: max("sent", status, key=["sending", "sent", "delivered", "failed"].index)}


def store_many(session: Session, count: int) -> list[str]:
    """Delivers all messages, and spoils all outcomes; returns the sorted tags."""
    tags = [submitting(session, ALICE)[0] for _ in range(count)]
    session.flush()
    recording(*(make_event(message_id=tag, tag=tag) for tag in tags))(session)
    session.execute(update(Recipient).values(status="sent", standing=b""))
    return sorted(tags)


def test_an_interrupted_repair_is_resumed_after_its_last_tag(database: Database) -> None:
    """More messages than one transaction takes, so that callbacks are not delayed."""
    batch = recomputing.BATCH
    tags = database.write(partial(store_many, count=2 * batch + 1))
    checked = list(recomputing.recompute(database, check=True))
    assert [each.messages for each in checked] == [batch, batch, 1]
    assert [each.last_tag for each in checked] == [tags[batch - 1], tags[2 * batch - 1], tags[-1]]
    assert [len(each.differences) for each in checked] == [batch, batch, 1]

    first = next(recomputing.recompute(database, check=False))
    rest = recompute(database, after_tag=first.last_tag)

    assert sorted(each.tag for each in first.differences) == tags[:batch]
    assert sorted(each.tag for each in rest) == tags[batch:]
    assert recompute(database, check=True) == []
    assert list(recomputing.recompute(database, check=False, after_tag=tags[-1])) == []


class TestWhileMessagesAreSentAndEventsArrive:
    """On PostgreSQL others write meanwhile; their changes are no differences, and are not undone."""

    def recompute_beside(self, database: Database, work: Any, *, check: bool) -> list[Difference]:
        """``work`` has written everything, recompute comes to wait for it, then ``work`` commits."""
        held = Held(work)
        url = database.engine.url.render_as_string(hide_password=False)
        with threads() as pool, onlooker(url) as watching:
            other = pool.submit(partial(database.write, held))
            held.wait()
            ours = pool.submit(partial(recompute, database, check=check))
            try:
                watching.wait_for(1)
            finally:
                held.release()
            other.result(PATIENCE)
            return ours.result(PATIENCE)

    @pytest.mark.parametrize("check", [True, False])
    def test_a_refusal(self, postgres: Database, *, check: bool) -> None:
        tag, pk = submit(postgres, ALICE)

        found = self.recompute_beside(postgres, answering(pk, REFUSED), check=check)

        assert messages(postgres)[tag].send_status == "refused"
        assert statuses(postgres, pk) == {ALICE: "not_sent"}
        assert found == []

    @pytest.mark.parametrize("check", [True, False])
    def test_an_event_that_proves_acceptance(self, postgres: Database, *, check: bool) -> None:
        tag, pk = submit(postgres, ALICE)

        found = self.recompute_beside(postgres, recording(make_event(tag=tag)), check=check)

        assert messages(postgres)[tag].send_status == "accepted"
        assert statuses(postgres, pk) == {ALICE: "delivered"}
        assert found == []

    @pytest.mark.parametrize("check", [True, False])
    def test_an_event_after_a_refusal(self, postgres: Database, *, check: bool) -> None:
        tag, pk = store_message(postgres, ALICE, BOB, answer=REFUSED)

        found = self.recompute_beside(postgres, recording(make_event(tag=tag)), check=check)

        assert statuses(postgres, pk) == {ALICE: "delivered", BOB: "pending"}
        assert found == []

    @pytest.mark.parametrize("check", [True, False])
    def test_an_event_of_higher_standing(self, postgres: Database, *, check: bool) -> None:
        _, pk = store_message(postgres, ALICE)
        deliver(postgres, make_event())

        failure = make_event("failed", error_code=4720)
        found = self.recompute_beside(postgres, recording(failure), check=check)

        assert statuses(postgres, pk) == {ALICE: "failed"}
        assert found == []

    def test_an_event_that_comes_while_a_batch_is_repaired_is_merged_after_it(self, postgres: Database) -> None:
        _, pk = store_message(postgres, ALICE, answer=Accepted(message_id="id"))
        deliver(postgres, make_event(message_id="id"))
        change(postgres, "UPDATE recipients SET status = 'sent'")
        url = postgres.engine.url.render_as_string(hide_password=False)

        def repair(session: Session) -> None:
            found = recomputing.compare(session, recomputing.messages_after(session, "", limit=9))
            recomputing.repair(session, found, now=times.now())

        held = Held(repair)
        with threads() as pool, onlooker(url) as watching:
            ours = pool.submit(partial(postgres.write, held))
            held.wait()
            other = pool.submit(partial(deliver, postgres, make_event("failed", message_id="id", error_code=5600)))
            watching.wait_for(1)
            held.release()
            ours.result(PATIENCE)
            other.result(PATIENCE)

        assert statuses(postgres, pk) == {ALICE: "failed"}
        assert recompute(postgres, check=True) == []
