"""The answers of `reporting`, also for a role that may read the support views only."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from receiver import reporting
from receiver.core.events import is_storable
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, Disposition, RecipientStatus
from receiver.core.tags import is_tag
from receiver.database.database import Database, Session
from receiver.database.lookup import MessageFilter
from receiver.database.models import Resolution
from receiver.errors import MessageNotFound
from receiver.reporting import RESULTS, ErrorReport, EventReport, FieldError, MessageReport, RecipientReport
from receiver.storage import support


def message(database: Database, tag: str) -> MessageReport:
    """The message with that tag. Raises MessageNotFound."""
    if not database.reads_views_only:
        return reporting.message(database, tag)
    with database.read() as session:
        return _tagged(session, tag)


def messages(database: Database, wanted: MessageFilter, *, limit: int) -> Sequence[MessageReport]:
    """The newest messages that fit, at most ``limit``."""
    if not database.reads_views_only:
        return reporting.messages(database, wanted, limit=limit).messages
    with database.read() as session:
        return _reports(session, support.tags(session, wanted, limit=limit))


def messages_to_ending(database: Database, digits: str, *, limit: int) -> Sequence[MessageReport]:
    """The newest messages to a number that ends in these digits, at most ``limit``, of those that are looked at."""
    if not database.reads_views_only:
        return reporting.messages_to_ending(database, digits, limit=limit)
    with database.read() as session:
        return _reports(session, support.tags_to_ending(session, digits, limit=limit))


def results(database: Database, prefix: str) -> Iterator[MessageReport]:
    """Every message whose reference begins with ``prefix``, sorted by reference, however many there are."""
    if not database.reads_views_only:
        yield from reporting.results(database, prefix)
        return
    after = None
    while is_storable(prefix):
        with database.read() as session:
            found = _reports(session, support.tags_beginning(session, prefix, after=after, limit=RESULTS))
        found.sort(key=lambda each: (each.reference or "", each.tag))
        yield from found
        if len(found) < RESULTS:
            return
        after = (found[-1].reference or "", found[-1].tag)


def events(database: Database, tag: str) -> list[EventReport]:
    """The message's events, first received first. Raises MessageNotFound."""
    if not database.reads_views_only:
        return reporting.events(database, tag)
    with database.read() as session:
        _tagged(session, tag)
        return [_event(row) for row in support.event_rows(session, tag)]


def resolutions(database: Database, tag: str) -> Sequence[Resolution]:
    """What people decided about the message, oldest first. Raises MessageNotFound."""
    if not database.reads_views_only:
        return reporting.resolutions(database, tag)
    with database.read() as session:
        _tagged(session, tag)
        return [Resolution(**row) for row in support.resolution_rows(session, tag)]


def _tagged(session: Session, tag: str) -> MessageReport:
    found = _reports(session, [tag]) if is_tag(tag) else []
    if not found:
        raise MessageNotFound(tag)
    return found[0]


def _reports(session: Session, tags: Sequence[str]) -> list[MessageReport]:
    recipients: dict[str, list[RecipientReport]] = {}
    for row in support.recipient_rows(session, tags):
        recipients.setdefault(row["tag"], []).append(_recipient(dict(row)))
    return [_message(dict(row), recipients[row["tag"]]) for row in support.message_rows(session, tags)]


def _message(row: dict[str, Any], recipients: list[RecipientReport]) -> MessageReport:
    error, count = _error(row), Counter(each.status for each in recipients)
    summary = {"total": len(recipients), **{status.value: count[status] for status in RecipientStatus}}
    summary["overdue"] = row.pop("overdue")
    row |= {
        "message_ids": (row["message_ids"] or "").split(),
        "media": json.loads(row["media"]),
        "send_status": SendStatus(row["send_status"]),
        "refused_because": RefusedBecause(row["refused_because"]) if row["refused_because"] else None,
    }
    return MessageReport(**row, error=error, summary=summary, recipients=recipients)


def _error(row: dict[str, Any]) -> ErrorReport | None:
    status, kind, said, fields = (row.pop(f"error_{name}") for name in ("status", "type", "description", "fields"))
    if status is None and kind is None and said is None:
        return None
    found = [FieldError(*each) for each in json.loads(fields or "[]")]
    return ErrorReport(status=status, type=kind, description=said, field_errors=found)


def _recipient(row: dict[str, Any]) -> RecipientReport:
    row.pop("tag")
    row |= {
        "status": RecipientStatus(row["status"]),
        "confirmed_by": ConfirmedBy(row["confirmed_by"]) if row["confirmed_by"] else None,
    }
    return RecipientReport(to=row.pop("recipient"), **row)


def _event(row: support.Row) -> EventReport:
    facts = dict(row) | {"disposition": Disposition(row["disposition"])}
    return EventReport(to=facts.pop("recipient") or None, **facts)
