"""The newest rows of the support views that commands list are found by an index, however long the history."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text

from receiver.core.events import Unreadable
from receiver.database.database import Database, Session
from receiver.events.store import record
from receiver.reports.lists import (
    FAILURES,
    OPT_OUTS,
    OVERDUE,
    REFUSED,
    REPLIES,
    UNKNOWN,
    UNLINKED,
    UNREADABLE,
    View,
    newest,
)
from tests.support.builders import ALICE, NOON, make_event
from tests.support.databases import ENGINES, fresh_database
from tests.support.plans import plans
from tests.support.stored import submitting

INDEXES = {
    OVERDUE: "recipients_open_index",
    UNLINKED: "events_unlinked_index",
    UNREADABLE: "unreadable_callbacks_first_received_at_index",
    REFUSED: "messages_send_status_created_at_index",
    UNKNOWN: "messages_send_status_created_at_index",
    REPLIES: "events_unlinked_index",
    FAILURES: "recipients_failed_index",
    OPT_OUTS: "events_keyword_index",
}


def _fill(session: Session, *, minute: int) -> None:
    """Ten messages, of which one stays open; ten events, of which one matches no message; ten unreadable elements."""
    at = NOON + timedelta(minutes=minute)
    tags = [submitting(session, ALICE, created_at=at)[0] for _ in range(10)]
    events = [make_event(message_id=f"{minute}-{tag}", tag=tag) for tag in tags[1:]]
    unreadable = [Unreadable(payload=f"{minute}{number}", reason="?") for number in range(10)]
    record(session, [*events, make_event(message_id=f"{minute}"), *unreadable], now=at)


@pytest.fixture(scope="module", params=ENGINES)
def filled(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An hour of messages and events, which the tests of this module share."""
    with fresh_database(request, migrated=True) as url, Database(url) as database:
        for minute in range(60):
            database.write(partial(_fill, minute=minute))
        yield database


@pytest.mark.parametrize("view", INDEXES, ids=lambda view: str(view.table.name))
def test_the_newest_rows_are_found_by_an_index(filled: Database, view: View) -> None:
    *_, plan = plans(filled, lambda session: newest(session, view, limit=10))

    assert INDEXES[view] in plan, plan
    assert not re.search(r"Seq Scan on messages|SCAN (m|messages)\b(?! USING)", plan), plan


@pytest.mark.parametrize("view", [OVERDUE, UNLINKED, UNREADABLE], ids=lambda view: str(view.table.name))
def test_of_one_instant_the_last_stored_is_listed_first(database: Database, view: View) -> None:
    at = NOON - timedelta(days=60)

    def fill(session: Session) -> None:
        for number in range(20):
            submitting(session, ALICE, created_at=at, reference=str(number), overdue_in=-timedelta(hours=1))
            event = make_event(message_id=f"id-{number * 7 % 20}", description=str(number))
            record(session, [event, Unreadable(payload=str(number), reason=str(number))], now=at)

    database.write(fill)
    database.write(lambda session: session.execute(text("UPDATE messages SET send_status = 'accepted'")))

    with database.read() as session:
        rows = newest(session, view, limit=100)

    name = {OVERDUE: "reference", UNLINKED: "description", UNREADABLE: "reason"}[view]
    assert [row[name] for row in rows] == [str(number) for number in reversed(range(20))]
