"""What new events are when they are stored: as the core says, and as the API says right afterwards."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from receiver.core import times
from receiver.core.events import Event, Unreadable
from receiver.core.messages import Accepted, Refused
from receiver.core.send_status import RefusedBecause
from receiver.core.status import Disposition
from receiver.database.database import Database
from receiver.events.notes import Note, notes_of
from receiver.events.store import record
from receiver.reports import messages
from tests.support.builders import ALICE, BOB, NOON, make_event, store_message

DELIVERED, READ, INVALID = make_event(), make_event("read"), make_event("failed", error_code=4404)
FAILED, AMBIGUOUS = make_event("failed", error_code=4432), make_event("failed", error_code=9902)
EARLIER = make_event("failed", error_code=4470, occurred_at=NOON - timedelta(minutes=1))
EVENTS = {
    "delivered": DELIVERED,
    "read": READ,
    "invalid": INVALID,
    "failed": FAILED,
    "failed earlier": EARLIER,
    "ambiguous": AMBIGUOUS,
    "unknown type": make_event("teleported"),
    "stranger": make_event(recipient="+19195550199"),
    "nobody": make_event(recipient=""),
}


def store(database: Database, *elements: Event | Unreadable) -> list[Note]:
    """What the new ones are."""
    result = database.write(lambda session: record(session, elements, now=times.now()))
    return [note for note in notes_of(result) if note.is_new]


def by_type_and_code(database: Database, tag: str) -> dict[tuple[str, str, int], str]:
    return {
        (each.type, each.to or "", each.error_code or 0): each.disposition for each in messages.events(database, tag)
    }


@pytest.mark.parametrize("together", [True, False])
def test_each_is_what_the_api_says_of_it_right_afterwards(database: Database, together: bool) -> None:
    for names in permutations(list(EVENTS)[:6], 2):
        message_id = " then ".join(names)
        tag, _ = store_message(database, answer=Accepted(message_id=message_id))
        events = [replace(EVENTS[name], message_id=message_id) for name in names]
        for batch in [events] if together else [[each] for each in events]:
            told = store(database, *batch)
            shown = by_type_and_code(database, tag)
            expected = [shown[each.type, each.recipient, each.error_code] for each in batch]
            assert [each.disposition for each in told] == expected, message_id


def test_everything_at_once_is_reported_too(database: Database) -> None:
    tag, _ = store_message(database)
    events = [*EVENTS.values(), make_event(message_id="foreign"), make_event("received", message_id="inbound")]

    told = store(database, *events, Unreadable(payload="7", reason="No object."), *events)

    shown = by_type_and_code(database, tag)
    expected = [shown[e.type, e.recipient, e.error_code] for e in EVENTS.values()]
    assert [each.disposition for each in told] == [*expected, Disposition.UNLINKED, Disposition.INBOUND]
    assert store(database, *events) == []


@pytest.mark.parametrize("second", [DELIVERED, READ], ids=["delivered", "read"])
def test_a_false_delivery_is_known_with_the_second_of_the_two_in_either_order(
    database: Database, second: Event
) -> None:
    store_message(database)
    assert [[each.is_known_false for each in store(database, event)] for event in (INVALID, second)] == [
        [False],
        [True],
    ]


def test_and_so_it_is_when_the_failure_comes_last_or_with_it(database: Database) -> None:
    store_message(database, ALICE, BOB)
    of_bob = [make_event(recipient=BOB), make_event("failed", BOB, error_code=4404)]
    assert [each.is_known_false for event in (DELIVERED, INVALID) for each in store(database, event)] == [False, True]
    assert [each.is_known_false for each in store(database, *of_bob)] == [True, False]


def test_a_delivery_after_another_failure_is_not_known_to_be_false(database: Database) -> None:
    store_message(database)
    assert not any(each.is_known_false for event in (DELIVERED, FAILED, READ) for each in store(database, event))


def test_the_first_final_status_of_a_recipient_ends_its_wait_and_no_other_does(database: Database) -> None:
    store_message(database)
    waits = [
        each.outcome_after
        for event in (make_event("sending"), AMBIGUOUS, DELIVERED, INVALID, make_event(recipient=BOB))
        for each in store(database, event)
    ]
    assert [wait is not None for wait in waits] == [False, True, False, False, True]
    assert all(0 <= wait < 60 for wait in waits if wait is not None)


def test_of_several_final_ones_at_once_one_ends_it(database: Database) -> None:
    store_message(database)
    told = store(database, AMBIGUOUS, DELIVERED, INVALID)
    assert [each.outcome_after is not None for each in told] == [False, False, True]


def test_a_message_that_was_refused_waits_for_its_outcome_again(database: Database) -> None:
    store_message(database, answer=Refused(because=RefusedBecause.UNREACHABLE))
    assert store(database, make_event(tag=None))[0].disposition is Disposition.UNLINKED
    tag, _ = store_message(database, answer=Refused(because=RefusedBecause.UNREACHABLE))
    [told] = store(database, make_event(tag=tag, message_id="another"))
    assert (told.disposition, told.outcome_after is not None) == (Disposition.APPLIED, True)


def test_the_lag_is_from_the_time_it_tells_to_its_receipt_and_never_negative(database: Database) -> None:
    now = times.now()
    ages = (timedelta(hours=2), timedelta(seconds=-30), None)
    events = [
        make_event(message_id=f"id-{place}", occurred_at=None if age is None else now - age)
        for place, age in enumerate(ages)
    ]
    first, second, third = (each.lag for each in store(database, *events))
    assert first == pytest.approx(7200, abs=60)
    assert (second, third) == (0, None)
