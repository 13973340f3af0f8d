"""The effect of a purge is decided for every column, and is tested for every column."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, insert

from receiver.core import times
from receiver.core.tags import new_tag
from receiver.database.database import Database, Session
from receiver.database.models import METADATA, Instant
from tests.support import pages
from tests.support.old_rows import Tables, purge, tables

BLANKED = {
    "messages": {"text", "media", "error_description", "error_fields", "redacted_at"},
    "recipients": {"recipient", "description"},
    "message_ids": set(),
    "events": {"recipient", "tag", "description", "payload", "sender", "text", "media", "members", "keyword"},
    "unreadable_callbacks": {"sha256", "payload"},
    "resolutions": {"reason"},
    "idempotency_keys": set(),
    "lanes": set(),
    "credential_pauses": set(),
    "error_codes": set(),
    "error_ranges": set(),
}
"""The columns that ``--redact`` changes; redacted_at is when."""

KEPT = {
    "messages": "pk tag reference application_id sender priority urgency expiration units receipts segment_count"
    " send_status refused_because error_status error_type attempt failures claimable_at deadline created_at"
    " submitted_at overdue_at updated_at denied_at asked_by",
    "recipients": "message_pk position status standing event_pk error_code occurred_at invalid_recipient created_at"
    " updated_at",
    "message_ids": "message_id message_pk answered linked_at",
    "events": "pk message_id type error_code message_pk linked_by occurred_at first_received_at last_received_at"
    " deliveries source",
    "unreadable_callbacks": "pk reason whole_body first_received_at last_received_at deliveries",
    "resolutions": "pk message_pk send_status resolved_by resolved_at",
    "idempotency_keys": "api_key key sha256 message_pk expires_at repeats",
    "lanes": "sender next_at paused_until pause_seconds",
    "credential_pauses": "credentials denied paused_at probe_at probe_seconds probed_urgency probed_pk error_status"
    " error_type updated_at",
    "error_codes": "code name category billable reason advice remove_number",
    "error_ranges": "first_code last_code category reason advice",
}
"""Outcomes, codes, times, counts, our own sender number, and the words by which rows are found."""

SEEDED = {"error_codes", "error_ranges"}
FOR_EVER = {"lanes", "credential_pauses"} | SEEDED
"""Tables without personal data."""

PERSONAL = "+19195550142"


def _value(table: Table, name: str, at: datetime) -> Any:
    """A value for every column; a personal one for those that are blanked."""
    given = {
        ("messages", "send_status"): "accepted",
        ("idempotency_keys", "expires_at"): None,
        ("messages", "redacted_at"): None,
        ("messages", "tag"): new_tag(at),
        ("events", "linked_by"): "tag",
    }
    if (table.name, name) in given:
        return given[table.name, name]
    if name in BLANKED[table.name]:
        return PERSONAL
    if isinstance(table.c[name].type, Instant):
        return at
    kind = table.c[name].type.python_type
    return {int: 1, bool: True, bytes: b"standing", float: 1.5}.get(kind, f"kept-{name}"[: _length(table, name)])


def _length(table: Table, name: str) -> int | None:
    return getattr(table.c[name].type, "length", None)


@pytest.fixture
def filled(database: Database) -> Database:
    """A row in each table, with a value in each column; of 91 days ago."""
    at = times.now() - timedelta(days=91)

    def store(session: Session) -> None:
        for table in METADATA.sorted_tables:
            if table.name not in SEEDED:
                session.execute(insert(table), {each.name: _value(table, each.name, at) for each in table.columns})

    database.write(store)
    return database


def _stored(found: Tables, table: str) -> dict[str, Any]:
    [row] = found[table].values()
    return row


def test_every_column_is_decided_about() -> None:
    decided = {name: BLANKED[name] | set(KEPT[name].split()) for name in BLANKED}

    assert decided == {table.name: set(table.columns.keys()) for table in METADATA.sorted_tables}


def test_redacting_changes_those_columns_and_no_other(filled: Database) -> None:
    before = tables(filled)

    purge(filled, redact=True)

    after = tables(filled)
    for table in set(BLANKED) - SEEDED:
        old, new = _stored(before, table), _stored(after, table)
        assert {name for name in old if old[name] != new[name]} == BLANKED[table], table
        assert PERSONAL not in str(new), table


def test_removing_leaves_no_row_but_of_what_names_nobody(filled: Database) -> None:
    purge(filled)

    assert {name for name, rows in tables(filled).items() if rows} == FOR_EVER


def test_the_page_for_operators_says_so_of_every_table() -> None:
    lines = pages.OPERATIONS.section("How long data is kept").table("Table").splitlines()
    table = {cells[1]: cells[3] for line in lines if len(cells := [each.strip() for each in line.split("|")]) == 5}
    said = {name: cell for names, cell in table.items() for name in re.findall(r"`(\w+)`", names) if name in BLANKED}

    assert set(said) == set(BLANKED)
    for name, blanked in BLANKED.items():
        assert set(re.findall(r"`(\w+)`", said[name].replace("`send-many`", ""))) == blanked, name
