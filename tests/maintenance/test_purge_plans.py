"""Old rows are found by an index, a page at a time, and their belongings by another."""

import re
from collections.abc import Callable, Iterator, Sequence

import pytest

from receiver.database.database import Database, Session
from receiver.maintenance import purge
from receiver.maintenance.purge import Terms
from tests.support.builders import ALICE, BOB, make_event
from tests.support.databases import ENGINES, fresh_database
from tests.support.old_rows import QUARTER, store_old_events, store_old_message
from tests.support.plans import plans
from tests.support.stored import change

MORE_MESSAGES = """
INSERT INTO messages (tag, application_id, sender, media, urgency, units, receipts, send_status, attempt, failures,
    created_at, updated_at)
SELECT m.tag || c.code, m.application_id, m.sender, m.media, m.urgency, m.units, m.receipts, m.send_status, m.attempt,
    m.failures, m.created_at, m.updated_at
FROM messages m, error_codes c
"""
MORE_EVENTS = """
INSERT INTO events (message_id, recipient, type, error_code, message_pk, linked_by, first_received_at,
    last_received_at, deliveries, source, payload)
SELECT e.message_id, e.recipient, e.type, c.code, e.message_pk, e.linked_by, e.first_received_at,
    e.last_received_at, 1, 'callback', e.payload
FROM events e, error_codes c WHERE c.code > 0
"""


@pytest.fixture(scope="module", params=ENGINES)
def crowded(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with enough rows for every index to be used, which the tests of this module share."""
    with fresh_database(request, migrated=True) as url, Database(url) as database:
        for number in range(40):
            store_old_message(database, ALICE, BOB, days=number * 5, message_id=f"known-{number}")
            store_old_events(database, make_event(message_id=f"known-{number}"), days=number * 5)
        store_old_events(database, make_event(message_id="nobody's"), days=91)
        for statement in (MORE_MESSAGES, MORE_EVENTS):
            change(database, statement)
        yield database


BY_TAG = ("messages_tag_unique", "sqlite_autoindex_messages_1")
ALONE = ("events_unlinked_index",)
OF_MESSAGE = ("events_message_pk_first_received_at_index",)
ASKED: dict[str, tuple[Callable[[Session, Terms], object], Sequence[str]]] = {
    "messages": (lambda session, terms: purge.old_messages(session, terms, None), BY_TAG),
    "more messages": (lambda session, terms: purge.old_messages(session, terms, "01"), BY_TAG),
    "events": (lambda session, terms: purge.old_events(session, terms, None), ALONE),
    "more events": (lambda session, terms: purge.old_events(session, terms, (terms.before - QUARTER, 1)), ALONE),
    "belongings": (lambda session, _: purge.count_belongings(session, [1, 2]), OF_MESSAGE),
}


@pytest.mark.parametrize("redact", [False, True], ids=["removed", "redacted"])
@pytest.mark.parametrize("name", ASKED)
def test_what_is_old_is_found_by_an_index(crowded: Database, name: str, *, redact: bool) -> None:
    ask, indexes = ASKED[name]
    terms = purge.make_terms(QUARTER, redact=redact)

    found = "\n".join(plans(crowded, lambda session: ask(session, terms)))

    assert any(index in found for index in indexes), found
    for table in ("messages", "recipients", "events"):
        assert f"Seq Scan on {table}" not in found, found
        assert not re.search(rf"SCAN {table}(?! USING (COVERING )?INDEX events_unlinked)", found), found
