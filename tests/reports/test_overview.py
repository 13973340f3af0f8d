"""The figures of the stored state are right on both databases, and found by an index."""

import re
from datetime import timedelta

import pytest

from receiver.core import times
from receiver.core.events import Source, Unreadable
from receiver.core.messages import Accepted, Refused, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database import lookup
from receiver.database.database import Database, Session
from receiver.events.store import record
from receiver.reports import overview
from receiver.reports.overview import Figures, figures
from tests.support.builders import ACCEPTED, ALICE, BOB, CAROL, make_event, make_message, make_sender
from tests.support.plans import plans
from tests.support.stored import HOUR, answer, answering, deliver, recording, submitting

OVERDUE_AFTER = 27 * HOUR
LONG_AGO = times.now() - 30 * HOUR


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MOST", 3)
    monkeypatch.setattr(overview, "MOST", 3)
    monkeypatch.setattr(overview, "NEWEST_EVENTS", 3)


def read(database: Database) -> Figures:
    with database.read() as session:
        return figures(session, now=times.now(), overdue_after=OVERDUE_AFTER)


def late(database: Database, *to: str, hours: float = 3, **changes: timedelta) -> int:
    """The key of a message that was created 30 hours ago and has been overdue for so long."""
    spans = {"overdue_in": -hours * HOUR, "deadline_in": -29 * HOUR} | changes
    return database.write(lambda session: submitting(session, *to, created_at=LONG_AGO, **spans))[1]


def test_of_an_empty_database_everything_is_nothing(database: Database) -> None:
    assert read(database) == Figures(
        submitting=0,
        overdue=0,
        oldest_overdue_at=None,
        unlinked=0,
        unreadable=0,
        last_accepted_at=None,
        last_event_at=None,
    )


def test_overdue_are_the_open_recipients_of_what_may_have_been_sent(database: Database) -> None:
    answer(database, late(database, ALICE, BOB, hours=3), ACCEPTED)
    answer(database, late(database, ALICE, hours=2), Unknown())
    late(database, CAROL, hours=1)  # submitting, and its deadline has passed
    answer(database, late(database, ALICE, hours=9), Refused(because=RefusedBecause.BANDWIDTH))
    late(database, ALICE, deadline_in=HOUR)
    late(database, ALICE, overdue_in=HOUR)
    make_sender(database).queue(make_message(ALICE))
    deliver(database, make_event("delivered", BOB))

    found = read(database)

    assert found.overdue == 3
    assert found.oldest_overdue_at is not None
    assert times.now() - found.oldest_overdue_at == pytest.approx(3 * HOUR, abs=timedelta(minutes=1))


def test_submitting_is_what_has_not_lapsed(database: Database) -> None:
    late(database, ALICE)
    late(database, ALICE, deadline_in=HOUR)
    assert read(database).submitting == 1


def test_unlinked_and_unreadable_are_those_of_the_last_day(database: Database) -> None:
    for hours in (1, 23, 25):
        now = times.now() - hours * HOUR
        elements = [
            make_event(message_id=f"foreign-{hours}"),
            make_event("received", message_id=f"inbound-{hours}"),
            Unreadable(payload=str(hours), reason="No object."),
        ]
        deliver(database, *elements, now=now)

    assert (read(database).unlinked, read(database).unreadable) == (2, 2)


def test_the_last_event_is_one_about_a_message_and_came_by_callback(database: Database) -> None:
    now = times.now()
    deliver(database, make_event(message_id="foreign"), now=now - 5 * HOUR)
    deliver(database, make_event("received", message_id="inbound"), now=now - 4 * HOUR)
    asked = make_event(message_id="asked")
    database.write(lambda session: record(session, [asked], now=now - 3 * HOUR, source=Source.RECONCILE))

    assert read(database).last_event_at == now - 5 * HOUR


def test_the_newest_accepted_message_is_reported_by_the_time_it_was_created(database: Database) -> None:
    answer(database, late(database, ALICE), ACCEPTED)
    database.write(lambda session: submitting(session, ALICE))
    assert read(database).last_accepted_at == times.whole_millisecond(LONG_AGO)


@pytest.mark.usefixtures("few")
def test_nothing_is_counted_further_than_anybody_wants_to_know(database: Database) -> None:
    now = times.now()
    answer(database, late(database, *(f"+1919555{number:04}" for number in range(5))), ACCEPTED)
    for number in range(5):
        deliver(
            database,
            make_event("received", message_id=f"inbound-{number}"),
            Unreadable(payload=str(number), reason="No object."),
            now=now - (9 - number) * HOUR,
        )
    found = read(database)
    assert (found.overdue, found.unreadable, found.unlinked) == (3, 3, 0)
    assert found.last_event_at == now - 7 * HOUR  # the third newest: no event about a message came later


def test_every_figure_is_found_by_an_index(database: Database) -> None:
    now = times.now()

    def fill(session: Session) -> None:
        for number in range(300):
            at, message_id = now - number * HOUR, f"id-{number}"
            _, pk = submitting(session, ALICE, created_at=at)
            answering(pk, Accepted(message_id=message_id))(session)
            event = make_event(message_id=message_id if number % 50 else f"foreign-{number}")
            recording(event, Unreadable(payload=message_id, reason="No object."), now=at)(session)

    database.write(fill)

    found = plans(database, lambda session: figures(session, now=times.now(), overdue_after=OVERDUE_AFTER))

    wanted = (
        "recipients_(open|status_created_at)_index",  # both hold few rows: recipients without a final outcome
        "messages_send_status_created_at_index",
        "events_unlinked_index",
        "unreadable_callbacks_first_received_at_index",
        "messages_(send_status_)?created_at_index",
        "events_first_received_at_index",
    )
    assert len(found) == len(wanted)
    for index, plan in zip(wanted, found, strict=True):
        assert re.search(index, plan), plan
