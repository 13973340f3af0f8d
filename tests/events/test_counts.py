"""What a callback is told: how many of its elements were new, repeats, unlinked or unreadable."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from receiver.core.events import Event, Unreadable
from receiver.database.database import Database
from receiver.events.store import Tally
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, NOON, make_event, store_message
from tests.support.stored import deliver, events, links, statuses, unreadables

OURS, FOREIGN = make_event(), make_event(message_id="foreign")
INBOUND = make_event("received", message_id="inbound")
RUBBISH, OTHER_RUBBISH = Unreadable(payload="[]", reason="No object."), Unreadable(payload="7", reason="No object.")

BATCHES: list[tuple[str, Sequence[Event | Unreadable], Tally]] = [
    ("nothing", [], Tally()),
    ("one of ours", [OURS], Tally(recorded=1)),
    ("two of ours", [OURS, make_event(recipient=BOB)], Tally(recorded=2)),
    ("a repeat", [OURS, OURS, OURS], Tally(recorded=1, duplicates=2)),
    ("a foreign one", [FOREIGN], Tally(recorded=1, unlinked=1)),
    ("a foreign one and its repeat", [FOREIGN, FOREIGN], Tally(recorded=1, duplicates=1, unlinked=1)),
    ("somebody wrote to us", [INBOUND, INBOUND], Tally(recorded=1, duplicates=1)),
    ("an unknown type", [make_event("unheard-of")], Tally(recorded=1)),
    ("an unexpected recipient", [make_event(recipient="")], Tally(recorded=1)),
    ("rubbish", [RUBBISH, OTHER_RUBBISH, RUBBISH], Tally(unreadable=3)),
    (
        "everything at once",
        [OURS, RUBBISH, FOREIGN, OURS, INBOUND, RUBBISH, FOREIGN],
        Tally(recorded=3, duplicates=2, unlinked=1, unreadable=2),
    ),
]


@pytest.mark.parametrize(("_", "batch", "expected"), BATCHES, ids=[name for name, _, _ in BATCHES])
def test_a_batch_is_counted_and_has_nothing_new_when_it_comes_again(
    database: Database, _: str, batch: Sequence[Event | Unreadable], expected: Tally
) -> None:
    store_message(database)

    first, again = deliver(database, *batch), deliver(database, *batch)

    assert first == expected
    assert first.recorded + first.duplicates + first.unreadable == len(batch)
    assert again == Tally(duplicates=first.recorded + first.duplicates, unreadable=first.unreadable)


def test_deliveries_add_up_over_batches_and_within_them(database: Database) -> None:
    deliver(database, OURS, OURS)
    deliver(database, FOREIGN, OURS, OURS, OURS)

    assert {row.message_id: row.deliveries for row in events(database)} == {MESSAGE_ID: 5, "foreign": 1}


def test_an_unreadable_element_is_kept_once_with_a_counter(database: Database) -> None:
    deliver(database, RUBBISH, RUBBISH, now=NOON)
    deliver(database, RUBBISH, OTHER_RUBBISH, now=NOON + timedelta(hours=1))

    kept = {row.payload: row for row in unreadables(database)}
    assert {payload: row.deliveries for payload, row in kept.items()} == {"[]": 3, "7": 1}
    assert kept["[]"].first_received_at == NOON
    assert kept["[]"].last_received_at == NOON + timedelta(hours=1)
    assert kept["[]"].sha256 == RUBBISH.sha256
    assert kept["[]"].reason == "No object."


def test_an_unreadable_element_does_no_harm_to_its_neighbours(database: Database) -> None:
    _, pk = store_message(database, ALICE, BOB)

    deliver(database, RUBBISH, make_event(), OTHER_RUBBISH, make_event("failed", BOB, error_code=4720), RUBBISH)

    assert statuses(database, pk) == {ALICE: "delivered", BOB: "failed"}


def test_twelve_hundred_events_fit_one_call(database: Database) -> None:
    """More than a statement can hold: a body of 4 MB may carry thousands."""
    tag, pk = store_message(database, ALICE, BOB, CAROL, answer=None)
    many = [make_event("failed", ALICE, error_code=number, tag=tag) for number in range(1198)]

    tally = deliver(database, *many, make_event(recipient=BOB, tag=tag), make_event(recipient=CAROL, tag=tag), many[0])

    assert tally == Tally(recorded=1200, duplicates=1)
    assert statuses(database, pk) == {ALICE: "failed", BOB: "delivered", CAROL: "delivered"}
    assert deliver(database, *many) == Tally(duplicates=1198)


def test_twelve_hundred_events_of_as_many_messages_fit_one_call(database: Database) -> None:
    tally = deliver(database, *(make_event(message_id=f"foreign-{number}") for number in range(1200)))

    assert tally == Tally(recorded=1200, unlinked=1200)
    assert len(events(database)) == 1200


def test_an_event_is_not_unlinked_when_the_same_call_links_it(database: Database) -> None:
    """However many statements the call takes: what is told is what is true after the commit."""
    tag, pk = store_message(database, ALICE, answer=None)
    untagged = [make_event("failed", ALICE, error_code=number) for number in range(700)]

    tally = deliver(database, *untagged, make_event("failed", ALICE, error_code=99999, tag=tag))

    assert {message_pk for message_pk, _ in links(database)} == {pk}
    assert tally == Tally(recorded=701, unlinked=0)
