"""Every change that makes a message appear under ``updatedSince``, with an ``updatedAt`` to match."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from receiver.core import times
from receiver.core.messages import Accepted, Refused, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database
from receiver.maintenance import recompute
from receiver.messages import sender
from receiver.messages.outbox import write_lapsed
from receiver.reports import messages as reporting
from receiver.reports.messages import MessageFilter
from tests.support.agreement import assert_views_agree
from tests.support.builders import ALICE, BOB, make_event
from tests.support.stored import HOUR, answer, change, deliver, messages, submit

BEFORE = datetime(2024, 2, 29, 12, tzinfo=UTC)
LATER = BEFORE + timedelta(hours=1)

Change = Callable[[Database, str, int], object]

CHANGES: dict[str, Change] = {
    "Bandwidth accepted it": lambda database, tag, pk: answer(database, pk, Accepted(message_id="id"), now=LATER),
    "Bandwidth refused it": lambda database, tag, pk: answer(
        database, pk, Refused(because=RefusedBecause.BANDWIDTH, status=400), now=LATER
    ),
    "nobody knows": lambda database, tag, pk: answer(database, pk, Unknown(status=502), now=LATER),
    "its deadline passed": lambda database, tag, pk: database.write(
        lambda session: write_lapsed(session, now=times.now() + timedelta(days=1))
    ),
    "a first event": lambda database, tag, pk: deliver(database, make_event("sending", tag=tag), now=LATER),
    "an event about nobody of it": lambda database, tag, pk: deliver(
        database, make_event(recipient="", tag=tag), now=LATER
    ),
    "an event of an unknown type": lambda database, tag, pk: deliver(
        database, make_event("unheard-of", tag=tag), now=LATER
    ),
}

# These change a message that was accepted and delivered to Alice.
LATER_CHANGES: dict[str, Change] = {
    "a status": lambda database, tag, pk: deliver(database, make_event("failed", tag=tag, error_code=5600), now=LATER),
    "a status of another recipient": lambda database, tag, pk: deliver(
        database, make_event("sent", BOB, tag=tag), now=LATER
    ),
    "the code of a failure": lambda database, tag, pk: deliver(
        database, make_event("failed", BOB, tag=tag, error_code=4404), now=LATER
    ),
    "an earlier time of the same event": lambda database, tag, pk: deliver(
        database, make_event(tag=tag, occurred_at=BEFORE - timedelta(days=1)), now=LATER
    ),
    "a second message id": lambda database, tag, pk: deliver(
        database, make_event("unheard-of", tag=tag, message_id="second"), now=LATER
    ),
    "who confirms a delivery": lambda database, tag, pk: deliver(database, make_event("sending", tag=tag), now=LATER),
}


def changed(database: Database, *, since: datetime) -> list[str]:
    return [each.tag for each in reporting.messages(database, MessageFilter(updated_since=since), limit=9).messages]


def assert_changed(database: Database, tag: str, since: datetime) -> None:
    assert changed(database, since=since) == [tag]
    updated_at = reporting.message(database, tag).updated_at
    assert updated_at >= since
    assert changed(database, since=updated_at) == [tag]
    assert changed(database, since=updated_at + timedelta(microseconds=1)) == []
    assert_views_agree(database, tag)


@pytest.fixture
def message(database: Database) -> tuple[str, int]:
    """A message created at ``BEFORE``; another one that never changes stands beside it."""
    _, bystander = submit(database, ALICE, created_at=BEFORE)
    answer(database, bystander, Accepted(message_id="another"), now=BEFORE)
    return submit(database, ALICE, BOB, created_at=BEFORE)


@pytest.mark.parametrize("name", CHANGES)
def test_a_new_message_is_updated_by(database: Database, message: tuple[str, int], name: str) -> None:
    CHANGES[name](database, *message)

    assert_changed(database, message[0], LATER)


@pytest.mark.parametrize("name", LATER_CHANGES)
def test_an_accepted_message_is_updated_by(database: Database, message: tuple[str, int], name: str) -> None:
    tag, pk = message
    answer(database, pk, Accepted(message_id="id"), now=BEFORE)
    events = [make_event(tag=tag), make_event("failed", BOB, tag=tag, error_code=4405)]
    deliver(database, *events[: 1 if "another" in name else 2], now=BEFORE)
    before = reporting.message(database, tag)

    LATER_CHANGES[name](database, tag, pk)

    after = reporting.message(database, tag)
    assert before != after
    assert_changed(database, tag, LATER)


def test_an_invalid_number_that_only_a_superseded_failure_names_is_a_change(
    database: Database, message: tuple[str, int]
) -> None:
    tag, _ = message
    deliver(database, make_event("failed", BOB, tag=tag, error_code=4000), now=BEFORE)
    assert not reporting.message(database, tag).recipients[1].invalid_recipient

    deliver(database, make_event("failed", BOB, tag=tag, error_code=4720), now=LATER)

    recipient = reporting.message(database, tag).recipients[1]
    assert (recipient.error_code, recipient.invalid_recipient) == (4000, True)
    assert_changed(database, tag, LATER)


def test_a_parked_event_that_is_linked_is_a_change(database: Database, message: tuple[str, int]) -> None:
    tag, _ = message
    deliver(database, make_event(message_id="id"), now=BEFORE)
    deliver(database, make_event("sent", BOB, message_id="id", tag=tag), now=LATER)

    assert [each.updated_at for each in reporting.message(database, tag).recipients] == [LATER, LATER]
    assert_changed(database, tag, LATER)


def test_a_repair_is_a_change(database: Database, message: tuple[str, int]) -> None:
    deliver(database, make_event(tag=message[0]), now=BEFORE)
    change(database, "UPDATE recipients SET status = 'sent'")
    started = times.now()

    list(recompute.recompute(database, check=False))

    assert message[0] in changed(database, since=started)


def test_what_changes_nothing_shown_updates_nothing(database: Database, message: tuple[str, int]) -> None:
    tag, pk = message
    answer(database, pk, Accepted(message_id="id"), now=BEFORE)
    deliver(database, make_event(tag=tag), make_event("sending", tag=tag), now=BEFORE)

    deliver(database, make_event(tag=tag), make_event("sent", tag=tag), make_event("received", tag=tag), now=LATER)

    assert changed(database, since=LATER) == []


def test_a_message_that_is_shown_as_unknown_changed_at_its_deadline(database: Database) -> None:
    """That holds before it is written, and writing it is not another change."""
    tag, _ = submit(database, ALICE, created_at=BEFORE, deadline_in=-HOUR)
    deadline = messages(database)[tag].deadline
    assert deadline is not None

    for _ in range(2):
        assert reporting.message(database, tag).updated_at == deadline
        assert_changed(database, tag, deadline)
        sender.tidy(database)


def test_creation_counts(database: Database, message: tuple[str, int]) -> None:
    assert len(changed(database, since=BEFORE)) == 2
    assert changed(database, since=BEFORE + timedelta(milliseconds=1)) == []
