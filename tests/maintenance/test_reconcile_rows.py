"""What was found in Bandwidth's record, or a person decided, meets what is written at the same moment on PostgreSQL;
how rivals are found."""

from collections.abc import Callable

import pytest

from receiver.core import times
from receiver.core.events import Event
from receiver.core.messages import Accepted, Unknown
from receiver.core.send_status import SendStatus
from receiver.database.database import Database, Session
from receiver.database.lookup import message_tagged
from receiver.maintenance.reconcile import has_rival, store_found
from receiver.maintenance.resolve import add_resolution
from tests.events.test_deadlocks import assert_they_wait_for_each_other
from tests.events.test_races import both_ways, meet
from tests.support.agreement import assert_views_agree
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, make_event, make_message, store_message
from tests.support.plans import plans
from tests.support.queue_steps import enqueue_all
from tests.support.stored import answering, deliver, events, links, message_ids, messages, recording, statuses, view


def finding(message_pk: int, *said: Event) -> Callable[[Session], bool]:
    """Work of a transaction that records events found for the message."""
    return lambda session: store_found(session, message_pk, said[0].message_id, said, now=times.now())


@both_ways
def test_an_event_that_is_being_parked_is_never_missed(postgres: Database, *, reverse: bool) -> None:
    _, pk = store_message(postgres, ALICE, BOB, answer=Unknown())
    parked = make_event("failed", BOB, error_code=4720)

    meet(postgres, recording(parked), finding(pk, make_event()), reverse=reverse)

    assert {message_pk for message_pk, _ in links(postgres)} == {pk}
    assert statuses(postgres, pk) == {ALICE: "delivered", BOB: "failed"}


@both_ways
def test_the_event_that_says_the_same_is_the_same_event(postgres: Database, *, reverse: bool) -> None:
    tag, pk = store_message(postgres, ALICE, BOB, answer=Unknown())

    meet(postgres, recording(make_event(tag=tag)), finding(pk, make_event(occurred_at=None)), reverse=reverse)

    [event] = events(postgres)
    assert (event.deliveries, event.message_pk, event.occurred_at) == (2, pk, make_event().occurred_at)
    assert message_ids(postgres) == {MESSAGE_ID: pk}


@both_ways
def test_the_answer_that_names_the_id_comes_at_last(postgres: Database, *, reverse: bool) -> None:
    tag, pk = store_message(postgres, ALICE, BOB, answer=Unknown())

    meet(postgres, answering(pk, Accepted(message_id=MESSAGE_ID)), finding(pk, make_event()), reverse=reverse)

    assert messages(postgres)[tag].send_status == "accepted"
    assert statuses(postgres, pk) == {ALICE: "delivered", BOB: "pending"}


def test_what_waited_and_what_was_found_meet_a_callback_about_the_same_recipients(postgres: Database) -> None:
    """All recipients are locked at once, those of events that waited among them. The 202 said no id; the callback says
    another, so the message was sent twice."""
    tag, pk = store_message(postgres, answer=Accepted())
    deliver(postgres, make_event("sent", ALICE))

    assert_they_wait_for_each_other(
        postgres,
        recording(*(make_event("failed", each, message_id="another", tag=tag) for each in (ALICE, CAROL))),
        finding(pk, make_event("sent", BOB), make_event("sent", CAROL)),
        gate=f"SELECT 1 FROM recipients WHERE recipient = '{ALICE}' FOR UPDATE",
    )

    assert statuses(postgres, pk) == {ALICE: "failed", BOB: "sent", CAROL: "failed"}


@both_ways
@pytest.mark.parametrize("send_status", [SendStatus.ACCEPTED, SendStatus.REFUSED])
def test_a_person_s_decision_meets_an_event(postgres: Database, send_status: SendStatus, *, reverse: bool) -> None:
    """If it is written first, the event corrects it; if it comes to wait for the event, it is not written at all."""
    tag, pk = store_message(postgres, ALICE, BOB, answer=Unknown())

    def deciding(session: Session) -> None:
        message = message_tagged(session, tag)
        assert message is not None
        written.append(add_resolution(session, message, send_status, reason="r", by="jane", now=times.now()))

    written: list[bool] = []
    meet(postgres, recording(make_event(tag=tag)), deciding, reverse=reverse)

    assert (written, len(view(postgres, "support_resolutions"))) == ([reverse], int(reverse))
    assert messages(postgres)[tag].send_status == "accepted"
    assert statuses(postgres, pk) == {ALICE: "delivered", BOB: "pending"}
    assert_views_agree(postgres, tag)


def test_rivals_are_found_by_a_number_whatever_their_sender_has_sent_to_others(database: Database) -> None:
    enqueue_all(database, (make_message(f"+1919556{number:04}") for number in range(300)))
    tag, _ = store_message(database, ALICE, BOB, answer=Unknown())

    def ask(session: Session) -> None:
        message = message_tagged(session, tag)
        assert message is not None
        assert not has_rival(session, message, since=message.created_at, until=message.created_at)

    assert "recipients_recipient_created_at_index" in plans(database, ask)[-1]
