"""Compares what the support views and the API say about a message."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from receiver.core.times import rfc3339
from receiver.database.database import Database
from receiver.messages.outbox import MessageReport
from receiver.reports import messages
from tests.support.stored import columns, view


def assert_views_agree(database: Database, tag: str) -> None:
    """Asserts that both say the same about this message, its recipients and its events."""
    report = messages.message(database, tag)
    [row] = view(database, "support_messages", tag=tag)
    error = report.error
    decoded = {"media": json.loads(row["media"]), "error_fields": json.loads(row["error_fields"] or "[]")}
    assert_times_have_texts(row)
    shared = {column: value for column, value in row.items() if column != "reason" and not column.endswith("_utc")}
    assert shared | decoded == {
        "tag": report.tag,
        "reference": report.reference,
        "message_id": report.message_id,
        "message_ids": " ".join(report.message_ids) or None,
        "sent_twice": report.sent_twice,
        "application_id": report.application_id,
        "sender": report.sender,
        "text": report.text,
        "media": report.media,
        "priority": report.priority,
        "expiration": report.expiration,
        "segment_count": report.segment_count,
        "send_status": report.send_status,
        "refused_because": report.refused_because,
        "error_status": error and error.status,
        "error_type": error and error.type,
        "error_description": error and error.description,
        "error_fields": [[each.field_name, each.description] for each in error.field_errors] if error else [],
        "created_at": report.created_at,
        "submitted_at": report.submitted_at,
        "updated_at": report.updated_at,
        "redacted_at": report.redacted_at,
        "asked_by": report.asked_by,
        "key": report.key,
        **report.summary,
        "complete": report.complete,
    }
    _recipients_agree(database, report)
    _events_agree(database, tag)


def assert_times_have_texts(row: Mapping[str, Any]) -> None:
    """Asserts that every time has a text column beside it, written as the API writes it."""
    instants = {column.removesuffix("_at"): value for column, value in row.items() if isinstance(value, datetime)}
    texts = {column.removesuffix("_utc"): value for column, value in row.items() if column.endswith("_utc") and value}
    assert texts == {column: rfc3339(instant) for column, instant in instants.items()}


def _recipients_agree(database: Database, report: MessageReport) -> None:
    shared = (
        *("status", "error_code", "error_name", "description", "confirmed_by", "invalid_recipient", "overdue"),
        *("occurred_at", "updated_at"),
    )
    rows = view(database, "support_recipients", order="position", tag=report.tag)
    assert [columns(row, "recipient", *shared) for row in rows] == [
        (each.to, *(getattr(each, name) for name in shared)) for each in report.recipients
    ]
    for each in rows:
        assert_times_have_texts(each)
    of_message = ("reference", "message_id", "sender", "created_at", "redacted_at")
    expected = tuple(getattr(report, name) for name in of_message)
    assert {columns(row, *of_message) for row in rows} == {expected}
    overdue = view(database, "support_overdue", order="position", tag=report.tag)
    assert [row["recipient"] for row in overdue] == [each.to for each in report.recipients if each.overdue]


def _events_agree(database: Database, tag: str) -> None:
    shared = (
        *("type", "error_code", "description", "occurred_at", "first_received_at", "last_received_at"),
        *("deliveries", "disposition", "linked_by", "source", "payload"),
    )
    shown = messages.events(database, tag)
    rows = view(database, "support_events", tag=tag)
    for each in rows:
        assert_times_have_texts(each)
    stored = [(row["recipient"] or None, *columns(row, *shared)) for row in rows]
    assert sorted(stored, key=repr) == sorted(
        [(each.to, *(getattr(each, name) for name in shared)) for each in shown], key=repr
    )
    extraneous = view(database, "support_extraneous", tag=tag)
    assert len(extraneous) == sum(each.disposition == "extraneous" for each in shown)
