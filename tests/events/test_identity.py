"""What is the same event, and what a repeat of it changes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver.core.events import Event, Source
from receiver.core.messages import Accepted
from receiver.database.database import Database
from receiver.errors import StorageUnavailable
from receiver.events.store import record
from tests.support.builders import ALICE, BOB, MESSAGE_ID, NOON, make_event, store_message
from tests.support.stored import change, deliver, events, identity, recipients, the_event

SECOND = timedelta(seconds=1)


def failed(kind: str = "failed", **changes: Any) -> Event:
    return make_event(kind, **{"error_code": 4720} | changes)


together = pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])

IN_THE_IDENTITY: list[dict[str, Any]] = [
    {"message_id": "another"},
    {"message_id": MESSAGE_ID.upper()},
    {"message_id": MESSAGE_ID + " "},
    {"recipient": BOB},
    {"recipient": ""},
    {"kind": "delivered"},
    {"kind": "Failed"},
    {"error_code": 4721},
    {"error_code": 0},
]


@together
def test_events_that_differ_in_a_part_of_the_identity_are_several(database: Database, *, together: bool) -> None:
    different = [failed(), *(failed(**changes) for changes in IN_THE_IDENTITY)]
    for batch in [different] if together else [[event] for event in different]:
        deliver(database, *batch)

    assert [(identity(row), row.deliveries) for row in events(database)] == [(each.identity, 1) for each in different]


@pytest.mark.parametrize(
    "changes",
    [
        {"occurred_at": NOON + SECOND},
        {"occurred_at": None},
        {"tag": "a foreign one"},
        {"description": "another"},
        {"payload": '{"another": 1}'},
    ],
    ids=str,
)
def test_events_that_differ_only_elsewhere_are_one(database: Database, changes: dict[str, Any]) -> None:
    """And it is the first, whether the repeat comes with it or later."""
    for repeats in (1, 2, 3):
        deliver(database, *([failed()] if repeats == 1 else []), failed(**changes))

        event = the_event(database)
        assert event.deliveries == repeats + 1
        assert (event.description, event.payload, event.tag, event.occurred_at) == ("ok", "{}", None, NOON)


TIMES: list[tuple[list[datetime | None], datetime | None]] = [
    ([None], None),
    ([None, NOON], NOON),
    ([NOON, None], NOON),
    ([NOON, NOON - SECOND], NOON - SECOND),
    ([NOON, NOON - SECOND, NOON + SECOND], NOON - SECOND),
    ([NOON, NOON - timedelta(microseconds=1)], NOON - timedelta(microseconds=1)),
    ([None, None, NOON + SECOND, NOON], NOON),
]


@together
def test_the_earliest_readable_time_is_kept(database: Database, *, together: bool) -> None:
    for number, (heard, kept) in enumerate(TIMES):
        message_id = f"id-{number}"
        _, pk = store_message(database, ALICE, answer=Accepted(message_id=message_id))
        repeats = [failed(message_id=message_id, occurred_at=occurred_at) for occurred_at in heard]
        for batch in [repeats] if together else [[event] for event in repeats]:
            deliver(database, *batch)

        [event] = events(database, under=message_id)
        assert (event.occurred_at, event.deliveries) == (kept, len(heard)), heard
        assert recipients(database, pk)[ALICE].occurred_at == kept, heard


@pytest.mark.parametrize("first_is_later", [True, False])
def test_the_recipient_shows_the_description_that_is_kept(database: Database, *, first_is_later: bool) -> None:
    _, pk = store_message(database, ALICE)
    earlier_or_later = NOON - SECOND if first_is_later else NOON + SECOND
    deliver(database, failed(description="the first"))
    deliver(database, failed(description="the second", occurred_at=earlier_or_later))

    assert the_event(database).description == "the first"
    assert recipients(database, pk)[ALICE].description == "the first"


def test_an_event_that_is_linked_by_its_repeat_shows_the_description_that_is_kept(database: Database) -> None:
    tag, pk = store_message(database, ALICE, answer=None)
    deliver(database, failed(description="the first"))
    deliver(database, failed(description="the second", tag=tag))

    assert recipients(database, pk)[ALICE].description == "the first"


def test_first_and_last_received_are_those_of_our_clock(database: Database) -> None:
    for minutes in (0, 1, 2):
        deliver(database, failed(), now=NOON + timedelta(minutes=minutes))

    event = the_event(database)
    assert (event.first_received_at, event.last_received_at) == (NOON, NOON + timedelta(minutes=2))


def test_last_received_never_goes_back(database: Database) -> None:
    """Two processes may commit in another order than they read the clock."""
    deliver(database, failed(), now=NOON)
    deliver(database, failed(), now=NOON - timedelta(minutes=1))

    assert the_event(database).last_received_at == NOON
    assert the_event(database).deliveries == 2


def test_events_of_one_batch_are_read_in_the_order_of_the_callback(database: Database) -> None:
    kinds = ["sending", "delivered", "failed", "read", "sent"]
    deliver(database, *(make_event(kind) for kind in kinds), now=NOON)

    assert [row.type for row in events(database)] == [f"message-{kind}" for kind in kinds]


def test_a_row_per_event_is_the_database_s_own_rule(database: Database) -> None:
    """A unique constraint decides, not the statement that inserts."""
    deliver(database, failed())
    with pytest.raises(StorageUnavailable):
        change(
            database,
            "INSERT INTO events (message_id, recipient, type, error_code, first_received_at, last_received_at,"
            " deliveries, source, payload) SELECT message_id, recipient, type, error_code, first_received_at,"
            " last_received_at, 1, source, payload FROM events",
        )


@pytest.mark.parametrize("source", list(Source))
def test_the_source_of_the_first_is_kept(database: Database, source: Source) -> None:
    database.write(lambda session: record(session, [failed()], now=NOON, source=source))
    deliver(database, failed())

    assert the_event(database).source == source


def test_a_time_that_the_session_s_zone_has_twice_is_one_instant(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL gives instants in the zone of the session, where the hour before 2 o'clock comes twice that day."""
    monkeypatch.setenv("PGTZ", "Europe/Berlin")
    once, again = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1))
    with Database(postgres_url) as database:
        tag, pk = store_message(database, ALICE)
        for occurred_at in (again, once, again):
            deliver(database, make_event(occurred_at=occurred_at, tag=tag))

        assert the_event(database).occurred_at == once
        assert the_event(database).deliveries == 3
        assert recipients(database, pk)[ALICE].occurred_at == once
