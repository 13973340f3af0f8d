"""Reports of messages for the commands: from the tables or, for a role that may not read those, from the support views.

The functions have the names and results of those in ``receiver.reports.messages``, whose docstring explains why there
are two readers. ``Database.reads_views_only`` decides which of them serves.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Integer,
    String,
    TextClause,
    bindparam,
    column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.orm import Session

from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, Disposition, RecipientStatus
from receiver.core.tags import is_tag
from receiver.database.database import Database
from receiver.database.models import Instant
from receiver.errors import MessageNotFound
from receiver.messages.outbox import MessageReport, RecipientReport, error_report, summary_of
from receiver.reports import messages as tables
from receiver.reports.messages import NEWEST, EventReport, MessageFilter, ResolutionReport, begins_with

ViewRow = Mapping[str, Any]
"""A row of a support view, by column name."""


def may_read_tables(session: Session) -> bool:
    """Whether the database role may read the tables; on SQLite every user may."""
    if session.connection().dialect.name == "sqlite":
        return True
    return bool(session.scalar(_MAY_READ_TABLES))


_MAY_READ_TABLES = text("SELECT has_table_privilege('messages', 'SELECT')")


_BY_ENDING = text("""
    SELECT tag FROM (
        SELECT tag, recipient, created_at, key FROM support_recipients ORDER BY created_at DESC LIMIT :newest
    ) newest
    WHERE recipient LIKE :ending GROUP BY tag, created_at, key ORDER BY created_at DESC, key DESC LIMIT :limit
""")

_BY_REFERENCE = text("""
    SELECT tag FROM support_messages WHERE reference = :value ORDER BY created_at DESC, key DESC LIMIT :limit
""")

_BY_MESSAGE_ID = text("""
    SELECT tag FROM support_messages WHERE tag IN (
        SELECT tag FROM support_messages WHERE message_id = :value
        UNION ALL SELECT tag FROM support_events WHERE message_id = :value AND tag IS NOT NULL
    )
    ORDER BY created_at DESC, key DESC LIMIT :limit
""")

_BY_RECIPIENT = text("""
    SELECT tag FROM support_recipients WHERE recipient = :value
    GROUP BY tag, created_at, key ORDER BY created_at DESC, key DESC LIMIT :limit
""")

_BY_SENDER = text("""
    SELECT tag FROM support_messages WHERE sender = :value ORDER BY created_at DESC, key DESC LIMIT :limit
""")


_TAGS: BindParameter[str] = bindparam("tags", expanding=True, type_=String)

_MESSAGES = text("""
    SELECT tag, reference, message_id, message_ids, sent_twice, application_id, sender, text, media, priority,
        expiration, segment_count, send_status, refused_because, error_status, error_type, error_description,
        error_fields, created_at, submitted_at, updated_at, redacted_at, asked_by, key, complete
    FROM support_messages WHERE tag IN :tags ORDER BY created_at DESC, key DESC
""").bindparams(_TAGS)
_MESSAGES = _MESSAGES.columns(  # type: ignore[assignment]  # which is executed as the text is
    sent_twice=Boolean, complete=Boolean, expiration=Instant, created_at=Instant,
    submitted_at=Instant, updated_at=Instant, redacted_at=Instant,
)  # fmt: skip

_RECIPIENTS = text("""
    SELECT tag, recipient, status, error_code, error_name, description, confirmed_by, invalid_recipient, overdue,
        occurred_at, updated_at
    FROM support_recipients WHERE tag IN :tags ORDER BY tag, position
""").bindparams(_TAGS)
_RECIPIENTS = _RECIPIENTS.columns(  # type: ignore[assignment]
    invalid_recipient=Boolean, overdue=Boolean, occurred_at=Instant, updated_at=Instant
)

_EVENTS = text("""
    SELECT type, recipient, error_code, description, occurred_at, first_received_at, last_received_at, deliveries,
        disposition, linked_by, source, payload
    FROM support_events WHERE tag IN :tags ORDER BY first_received_at, key
""").bindparams(_TAGS)
_EVENTS = _EVENTS.columns(  # type: ignore[assignment]
    error_code=Integer, occurred_at=Instant, first_received_at=Instant, last_received_at=Instant, payload=String
)

_RESOLUTIONS = text("""
    SELECT send_status, reason, resolved_by, resolved_at FROM support_resolutions
    WHERE tag IN :tags ORDER BY key
""").bindparams(_TAGS)
_RESOLUTIONS = _RESOLUTIONS.columns(resolved_at=Instant)  # type: ignore[assignment]


def message(database: Database, tag: str) -> MessageReport:
    """Returns the message with that tag. Raises MessageNotFound."""
    if not database.reads_views_only:
        return tables.message(database, tag)
    with database.read() as session:
        return _tagged(session, tag)


def messages(database: Database, wanted: MessageFilter, *, limit: int) -> Sequence[MessageReport]:
    """Returns at most ``limit`` messages that fit, newest first.

    ``wanted`` holds one of reference, message id, recipient and sender. Through the views NotImplementedError is raised
    without any.
    """
    if not database.reads_views_only:
        return tables.messages(database, wanted, limit=limit).messages
    for query, value in (
        (_BY_REFERENCE, wanted.reference),
        (_BY_MESSAGE_ID, wanted.message_id),
        (_BY_RECIPIENT, wanted.to),
        (_BY_SENDER, wanted.sender),
    ):
        if value is not None:
            with database.read() as session:
                return _reports(session, session.scalars(query, {"value": value, "limit": limit}).all())
    raise NotImplementedError(wanted)


def messages_by_reference(
    database: Database, prefix: str, *, after: tuple[str, str] | None, limit: int
) -> list[MessageReport]:
    """Returns at most ``limit`` messages whose reference begins with ``prefix``, by reference, then tag.

    ``after`` is the reference and tag of the last message of the previous page.
    """
    if not database.reads_views_only:
        return tables.messages_by_reference(database, prefix, after=after, limit=limit)
    shown = table("support_messages", column("tag", String), column("reference", String))
    wanted = select(shown.c.tag).where(begins_with(shown.c.reference, prefix))
    if after is not None:
        reference, tag = after
        later = or_(shown.c.reference > reference, shown.c.tag > tag)
        wanted = wanted.where(shown.c.reference >= reference, later)
    with database.read() as session:
        tags = session.scalars(wanted.order_by(shown.c.reference, shown.c.tag).limit(limit)).all()
        return sorted(_reports(session, tags), key=lambda each: (each.reference or "", each.tag))


def messages_by_last_digits(database: Database, digits: str, *, limit: int) -> list[MessageReport]:
    """Returns at most ``limit`` messages to a number that ends in ``digits``, newest first.

    Only the newest NEWEST recipients are searched, because no index serves the end of a number.
    """
    if not database.reads_views_only:
        return tables.messages_by_last_digits(database, digits, limit=limit)
    ending = {"ending": f"%{digits}", "newest": NEWEST, "limit": limit}
    with database.read() as session:
        return _reports(session, session.scalars(_BY_ENDING, ending).all())


def events(database: Database, tag: str) -> list[EventReport]:
    """Returns the message's events, first received first. Raises MessageNotFound."""
    if not database.reads_views_only:
        return tables.events(database, tag)
    with database.read() as session:
        _tagged(session, tag)
        return [_event(row) for row in _rows(session, _EVENTS, [tag])]


def resolutions(database: Database, tag: str) -> list[ResolutionReport]:
    """Returns what people decided about the message, oldest first. Raises MessageNotFound."""
    if not database.reads_views_only:
        return tables.resolutions(database, tag)
    with database.read() as session:
        _tagged(session, tag)
        rows = _rows(session, _RESOLUTIONS, [tag])
    return [ResolutionReport(**{**row, "send_status": SendStatus(row["send_status"])}) for row in rows]


def _tagged(session: Session, tag: str) -> MessageReport:
    found = _reports(session, [tag]) if is_tag(tag) else []
    if not found:
        raise MessageNotFound(tag)
    return found[0]


def _reports(session: Session, tags: Sequence[str]) -> list[MessageReport]:
    recipients: dict[str, list[RecipientReport]] = {}
    for row in _rows(session, _RECIPIENTS, tags):
        recipients.setdefault(row["tag"], []).append(_recipient(dict(row)))
    return [_message(dict(row), recipients[row["tag"]]) for row in _rows(session, _MESSAGES, tags)]


def _rows(session: Session, query: TextClause, tags: Sequence[str]) -> list[ViewRow]:
    return [dict(row) for row in session.execute(query, {"tags": list(tags)}).mappings()] if tags else []


def _message(row: dict[str, Any], recipients: list[RecipientReport]) -> MessageReport:
    error = error_report(*(row.pop(f"error_{name}") for name in ("status", "type", "description", "fields")))
    row |= {
        "message_ids": (row["message_ids"] or "").split(),
        "media": json.loads(row["media"]),
        "send_status": SendStatus(row["send_status"]),
        "refused_because": RefusedBecause(row["refused_because"]) if row["refused_because"] else None,
    }
    return MessageReport(**row, error=error, summary=summary_of(recipients), recipients=recipients)


def _recipient(row: dict[str, Any]) -> RecipientReport:
    row.pop("tag")
    row |= {
        "status": RecipientStatus(row["status"]),
        "confirmed_by": ConfirmedBy(row["confirmed_by"]) if row["confirmed_by"] else None,
    }
    return RecipientReport(to=row.pop("recipient"), **row)


def _event(row: ViewRow) -> EventReport:
    facts = dict(row) | {"disposition": Disposition(row["disposition"])}
    return EventReport(to=facts.pop("recipient") or None, **facts)
