"""`receiver restored`: messages that a backup takes for unsent become unknown, and are never sent again."""

from receiver.core.messages import Refused
from receiver.core.send_status import RefusedBecause
from receiver.core.tags import new_tag
from receiver.core.times import now
from receiver.database.database import Database
from receiver.database.lookup import message_tagged
from receiver.database.models import Message
from receiver.maintenance import recompute
from receiver.maintenance.restored import BATCH, find_unsent, make_unknown
from receiver.messages import outbox
from receiver.messages.sender import Sender, cancel
from tests.maintenance.test_reconcile import FakeBandwidth, only, reconcile, rows
from tests.support.agreement import assert_views_agree
from tests.support.builders import (
    ACCEPTED,
    ALICE,
    BOB,
    FakeGateway,
    make_event,
    make_key,
    make_message,
    make_sender,
    store_message,
)
from tests.support.processes import environment, invoke
from tests.support.queue_steps import claim, enqueue, submit
from tests.support.stored import HOUR, answer, deliver, statuses, view

FULL = Refused(because=RefusedBecause.RATE_LIMITED, status=429)
WRONG = Refused(because=RefusedBecause.BANDWIDTH, status=400)


def restore(database: Database) -> int:
    """Does what `receiver restored` does; returns how many messages became unknown."""
    pks = find_unsent(database)
    assert sum(make_unknown(database, pks, overdue_after=27 * HOUR)) == len(pks)
    return len(pks)


def stored(database: Database, tag: str) -> Message:
    assert_views_agree(database, tag)
    assert [batch.differences for batch in recompute.recompute(database, check=True)] == [[]]
    with database.read() as session:
        found = message_tagged(session, tag)
    assert found is not None
    return found


def refused(sending: Sender, answer: Refused, *, key: str) -> str:
    """A refused message that was requested with that key."""
    assert isinstance(sending.caller.gateway, FakeGateway)
    sending.caller.gateway.answer = answer
    submission = sending.send(make_message(), key=make_key(key, expires_at=now() + HOUR))
    sending.caller.gateway.answer = ACCEPTED
    return submission.tag


def test_what_was_queued_becomes_unknown_and_no_worker_finds_it(database: Database) -> None:
    tag, pk = enqueue(database, ALICE, BOB)

    assert restore(database) == 1

    message = stored(database, tag)
    assert (message.send_status, message.error_type, message.attempt) == ("unknown", "restored", 1)
    assert statuses(database, pk) == {ALICE: "pending", BOB: "pending"}
    assert claim(database, now=now() + HOUR) == []


def test_it_may_have_been_sent_at_any_time_since_the_backup(database: Database) -> None:
    tag, _ = enqueue(database, now=now() - 9 * HOUR)
    newest, _ = enqueue(database, now=now() - 3 * HOUR)

    restore(database)

    message = stored(database, tag)
    assert message.submitted_at == stored(database, newest).created_at
    assert message.deadline is not None
    assert message.overdue_at == message.deadline + 27 * HOUR
    assert now() - HOUR < message.deadline <= now()


def test_what_was_submitting_is_unknown_at_once_and_was_perhaps_sent_later(database: Database) -> None:
    tag, _ = store_message(database, answer=None)
    before = stored(database, tag)

    assert restore(database) == 1

    message = stored(database, tag)
    assert (message.send_status, message.submitted_at) == ("unknown", before.submitted_at)


def test_what_was_refused_and_may_have_been_asked_for_again_is_not_sent_again(database: Database) -> None:
    sending = make_sender(database)
    tag = refused(sending, FULL, key="lunch")

    assert restore(database) == 1

    again = sending.repeat(make_key("lunch"), at_once=True)
    assert again is not None
    assert again.message is not None
    assert (again.tag, again.message.send_status) == (tag, "unknown")
    assert len(sending.caller.gateway.sent) == 1  # type: ignore[attr-defined]
    assert {each.status for each in stored(database, tag).recipients} == {"pending"}


def test_a_file_that_is_given_again_queues_nothing_that_may_have_been_sent(database: Database) -> None:
    sending = make_sender(database)
    line = (make_message(), make_key("a line"))
    sending.queue_all([line])
    [claimed] = claim(database)
    assert submit(database, claimed)
    answer(database, claimed.pk, WRONG)

    assert restore(database) == 1

    assert sending.queue_all([line]) == 0


def test_what_is_known_stays_as_it_is(database: Database) -> None:
    sending = make_sender(database)
    tags = {
        "accepted": store_message(database)[0],
        "refused, without a key": store_message(database, answer=FULL)[0],
        "refused for good": refused(sending, WRONG, key="wrong"),
        "cancelled": enqueue(database)[0],
    }
    cancel(database, tags["cancelled"])
    before = view(database, "support_messages", order="tag")

    assert restore(database) == 0

    assert view(database, "support_messages", order="tag") == before


def test_an_event_proves_afterwards_that_it_was_sent(database: Database) -> None:
    tag, pk = enqueue(database, ALICE)
    restore(database)

    deliver(database, make_event(tag=tag))

    assert stored(database, tag).send_status == "accepted"
    assert statuses(database, pk) == {ALICE: "delivered"}


def test_a_second_time_there_is_nothing_left_to_do(database: Database) -> None:
    queued = [(new_tag(now()), make_message(ALICE)) for _ in range(BATCH + 1)]
    database.write(lambda session: outbox.add_queued(session, queued, now=now()))

    assert restore(database) == BATCH + 1
    assert restore(database) == 0


def test_bandwidths_record_of_such_numbers_may_be_of_a_message_that_the_backup_does_not_know(
    database: Database,
) -> None:
    tag, _ = enqueue(database, ALICE, BOB)
    restore(database)

    found = reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))

    assert only(found) == ("unknown", "unknown", "ambiguous")
    assert stored(database, tag).message_ids == []


def test_the_command_asks_before_it_changes_anything(database_url: str) -> None:
    settings = environment(database_url)
    with Database(database_url) as database:
        tag, _ = enqueue(database)

        asked = invoke("restored", environment=settings)

        assert (asked.exit_code, stored(database, tag).send_status) == (2, "queued")
        assert "1 message would be sent" in asked.stdout
        assert "--yes" in asked.stderr

        done = invoke("restored", "--yes", environment=settings)

        assert (done.exit_code, stored(database, tag).send_status) == (0, "unknown")
        assert "1 message marked as unknown." in done.stdout
        assert done.stderr == ""
