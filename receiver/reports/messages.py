"""Reports of messages, of their events, and of what people decided about them, read from the tables.

``receiver.reports.support`` returns the same reports to a role that may read only the support views. One reader cannot
serve both: a role of support may read no table, and the views derive ``updated_at`` and ``complete``, so that through
them no index would serve the API's filters.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, exists, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, selectinload

from receiver.core import times
from receiver.core.send_status import SendStatus
from receiver.core.status import Disposition, RecipientStatus, disposition
from receiver.database.database import Database
from receiver.database.lookup import OPEN, is_open, lapsed, message_tagged, shows, spelled_out
from receiver.database.models import Message, MessageId, Recipient, Resolution, StoredEvent
from receiver.errors import MessageNotFound
from receiver.messages.outbox import MessageReport, report_message

NEWEST = 200_000
"""Recipients that are searched for the end of a number, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReport:
    """A stored event, and its disposition by the present facts."""

    type: str
    to: str | None
    error_code: int | None
    description: str | None
    occurred_at: datetime | None
    first_received_at: datetime
    last_received_at: datetime
    deliveries: int
    disposition: Disposition
    linked_by: str | None
    source: str
    payload: str
    """The event's own JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionReport:
    """A person's decision about a message that may or may not have been sent."""

    send_status: SendStatus
    reason: str
    resolved_by: str
    resolved_at: datetime


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, newest first, and the cursor of the next page; None on the last page."""

    messages: list[MessageReport]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """The conditions that listed messages must fulfil; None is no condition."""

    reference: str | None = None
    reference_prefix: str | None = None
    """The beginning of the reference; no character is a wildcard."""
    message_id: str | None = None
    to: str | None = None
    sender: str | None = None
    send_status: SendStatus | None = None
    """The shown one."""
    status: RecipientStatus | None = None
    """Of any recipient."""
    complete: bool | None = None
    since: datetime | None = None
    """Created at or after."""
    until: datetime | None = None
    """Created before."""
    updated_since: datetime | None = None
    """Changed at or after."""
    after_tag: str | None = None
    """The last message of the previous page."""


def message(database: Database, tag: str) -> MessageReport:
    """Returns the message with that tag. Raises MessageNotFound."""
    with database.read() as session:
        stored = _tagged(session, tag)
    return report_message(stored, now=times.now())


def messages(database: Database, wanted: MessageFilter, *, limit: int) -> MessagePage:
    """Returns at most ``limit`` of the messages that fit; ``wanted.after_tag`` is the cursor of the previous page."""
    now = times.now()
    with database.read() as session:
        found = messages_page(session, wanted, limit=limit + 1, now=now)
    reports = _reports(found[:limit], now=now)
    return MessagePage(reports, reports[-1].tag if len(found) > limit else None)


def messages_by_reference(
    database: Database, prefix: str, *, after: tuple[str, str] | None, limit: int
) -> list[MessageReport]:
    """Returns at most ``limit`` messages whose reference begins with ``prefix``, by reference, then tag.

    ``after`` is the reference and tag of the last message of the previous page.
    """
    wanted = select(Message).where(begins_with(Message.reference, prefix)).order_by(Message.reference, Message.tag)
    if after is not None:
        reference, tag = after
        later = or_(Message.reference > reference, Message.tag > tag)
        wanted = wanted.where(Message.reference >= reference, later)
    now = times.now()
    with database.read() as session:
        found = _load(session, wanted, limit=limit)
    return _reports(found, now=now)


def messages_by_last_digits(database: Database, digits: str, *, limit: int) -> list[MessageReport]:
    """Returns at most ``limit`` messages to a number that ends in ``digits``, newest first.

    Only the newest NEWEST recipients are searched, because no index serves the end of a number.
    """
    newest = (
        select(Recipient.message_pk, Recipient.recipient).order_by(Recipient.created_at.desc()).limit(NEWEST).subquery()
    )
    ending = select(newest.c.message_pk).where(newest.c.recipient.endswith(digits, autoescape=True))
    wanted = select(Message).where(Message.pk.in_(ending)).order_by(Message.created_at.desc(), Message.pk.desc())
    now = times.now()
    with database.read() as session:
        found = _load(session, wanted, limit=limit)
    return _reports(found, now=now)


def events(database: Database, tag: str) -> list[EventReport]:
    """Returns the message's events, first received first. Raises MessageNotFound."""
    with database.read() as session:
        stored = _tagged(session, tag)
        of_message = select(StoredEvent).where(StoredEvent.message_pk == stored.pk)
        rows = session.scalars(of_message.order_by(StoredEvent.first_received_at, StoredEvent.pk)).all()
    recipients = {each.recipient: each for each in stored.recipients}
    return [_event_report(row, recipients.get(row.recipient)) for row in rows]


def resolutions(database: Database, tag: str) -> list[ResolutionReport]:
    """Returns what people decided about the message, oldest first. Raises MessageNotFound."""
    with database.read() as session:
        of_message = select(Resolution).where(Resolution.message_pk == _tagged(session, tag).pk)
        rows = session.scalars(of_message.order_by(Resolution.pk)).all()
    return [
        ResolutionReport(
            send_status=SendStatus(row.send_status),
            reason=row.reason,
            resolved_by=row.resolved_by,
            resolved_at=row.resolved_at,
        )
        for row in rows
    ]


def _tagged(session: Session, tag: str) -> Message:
    stored = message_tagged(session, tag)
    if stored is None:
        raise MessageNotFound(tag)
    return stored


def _reports(stored: Iterable[Message], *, now: datetime) -> list[MessageReport]:
    return [report_message(each, now=now) for each in stored]


def _event_report(row: StoredEvent, recipient: Recipient | None) -> EventReport:
    return EventReport(
        type=row.type,
        to=row.recipient or None,
        error_code=row.error_code or None,
        description=row.description,
        occurred_at=row.occurred_at,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        deliveries=row.deliveries,
        disposition=disposition(
            event_type=row.type,
            linked=row.message_pk is not None,
            is_winner=recipient is not None and recipient.event_pk == row.pk,
            recipient=RecipientStatus(recipient.status) if recipient else None,
            invalid_recipient=recipient is not None and recipient.invalid_recipient,
        ),
        linked_by=row.linked_by,
        source=row.source,
        payload=row.payload,
    )


# Pages of messages ----------------------------------------------------------------------------------------------------

OfRecipient = Callable[[type[Recipient]], ColumnElement[bool]]
"""A condition on a recipient, which may be aliased."""

WHOLE = (selectinload(Message.recipients), selectinload(Message.message_ids))
"""Loads all that the outcome of each message of a page depends on. Joined, it would read more."""


def messages_page(session: Session, wanted: MessageFilter, *, limit: int, now: datetime) -> Sequence[Message]:
    """Returns at most ``limit`` messages, newest first, each with its recipients and message ids."""
    since = wanted.updated_since
    if since is None:
        return _load(session, _found(wanted, now=now), limit=limit)
    # What was created since then has changed since then. Older messages are read only if those do not fill the page.
    younger = replace(wanted, since=max(since, wanted.since or since))
    created = _load(session, _found(younger, now=now), limit=limit)
    older = replace(wanted, until=min(since, wanted.until or since))
    changed = _found(older, now=now).where(_changed_since(since, now=now))
    return [*created, *_load(session, changed, limit=limit - len(created))]


def _load(session: Session, found: Select[Any], *, limit: int) -> Sequence[Message]:
    return session.scalars(found.limit(limit).options(*WHOLE)).all() if limit else []


def _found(wanted: MessageFilter, *, now: datetime) -> Select[Any]:
    """The messages that fit all but ``updated_since``, newest first.

    If a condition on recipients is given, their index is read instead of that of the messages.
    """
    is_wanted, rest = _first_of_recipients(wanted)
    query = select(Message).where(*_conditions(rest, now=now))
    created_at, key = Message.created_at, Message.pk
    if is_wanted is not None:
        one, earlier = aliased(Recipient), aliased(Recipient)
        # Each message appears once, for the first of its recipients that fits. They share a time, which the index has.
        is_earlier = and_(
            earlier.created_at == one.created_at,
            earlier.message_pk == one.message_pk,
            earlier.position < one.position,
            is_wanted(earlier),
        )
        query = query.join(one, one.message_pk == Message.pk).where(is_wanted(one), ~exists().where(is_earlier))
        created_at, key = one.created_at, one.message_pk
    return query.where(*_created(wanted, created_at, key)).order_by(created_at.desc(), key.desc())


def _first_of_recipients(wanted: MessageFilter) -> tuple[OfRecipient | None, MessageFilter]:
    """Returns the most selective condition on a recipient, in the terms of its index, and the remaining filter."""
    if (to := wanted.to) is not None:
        return lambda recipient: recipient.recipient == to, replace(wanted, to=None)
    if wanted.complete is False:
        return is_open, replace(wanted, complete=None)
    if (status := wanted.status) is not None:
        return lambda recipient: shows_status(recipient, status), replace(wanted, status=None)
    return None, wanted


def shows_status(recipient: type[Recipient], status: RecipientStatus) -> ColumnElement[bool]:
    """Whether the recipient has that status, in the terms of the index on all but delivered, which nearly all are."""
    has_status, delivered = recipient.status == status, RecipientStatus.DELIVERED
    return has_status if status is delivered else and_(has_status, recipient.status != spelled_out(delivered))


def _conditions(wanted: MessageFilter, *, now: datetime) -> Iterable[ColumnElement[bool]]:
    """The conditions of all but ``updated_since`` and the time of creation."""
    if wanted.reference is not None:
        yield Message.reference == wanted.reference
    if wanted.reference_prefix is not None:
        yield begins_with(Message.reference, wanted.reference_prefix)
    if wanted.message_id is not None:
        yield _has(MessageId, MessageId.message_id == wanted.message_id)
    if wanted.to is not None:
        yield _has(Recipient, Recipient.recipient == wanted.to)
    if wanted.sender is not None:
        yield Message.sender == wanted.sender
    if wanted.send_status is not None:
        yield shows(wanted.send_status, now=now)
    if wanted.status is not None:
        yield _has(Recipient, Recipient.status == wanted.status)
    if wanted.complete is not None:
        open_recipient = _has(Recipient, Recipient.status.in_(OPEN))
        yield ~open_recipient if wanted.complete else open_recipient


def _created(
    wanted: MessageFilter, created_at: InstrumentedAttribute[datetime], key: InstrumentedAttribute[int]
) -> Iterable[ColumnElement[bool]]:
    """The conditions on the time of creation, in the terms of the index that is read."""
    if wanted.since is not None:
        yield created_at >= wanted.since
    if wanted.until is not None:
        yield created_at < wanted.until
    if wanted.after_tag is not None:
        last = select(Message.created_at, Message.pk).where(Message.tag == wanted.after_tag)
        instant = last.with_only_columns(Message.created_at).scalar_subquery()
        yield created_at <= instant  # served by an index, unlike the next condition
        yield or_(created_at < instant, key < last.with_only_columns(Message.pk).scalar_subquery())


def _has(model: Any, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(model.message_pk == Message.pk, condition)


def _changed_since(instant: datetime, *, now: datetime) -> ColumnElement[bool]:
    """Whether the message changed at or after ``instant``.

    A union of four selects, each served by an index. Joined by OR, none of the indexes could be used.
    """
    changed: CompoundSelect[tuple[int | None]] = union_all(
        select(Message.pk).where(Message.updated_at >= instant).correlate(None),
        select(Message.pk).where(lapsed(now), Message.deadline >= instant).correlate(None),
        select(Recipient.message_pk).where(Recipient.updated_at >= instant),
        select(MessageId.message_pk).where(MessageId.linked_at >= instant),
    )
    return Message.pk.in_(changed)


LAST_CHARACTER, SURROGATES = chr(0x10FFFF), range(0xD800, 0xE000)


def begins_with(column: ColumnElement[Any] | InstrumentedAttribute[str | None], prefix: str) -> ColumnElement[bool]:
    """Whether the column begins with ``prefix``, as a range, which an index serves.

    LIKE might not use the index, and would take some characters for wildcards.
    """
    if (after := _after_all_with(prefix)) is None:
        return column >= prefix
    return and_(column >= prefix, column < after)


def _after_all_with(prefix: str) -> str | None:
    """Returns the lowest text above all that begin with ``prefix``, by code points; None if there is none."""
    stem = prefix.rstrip(LAST_CHARACTER)
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(SURROGATES.stop if following in SURROGATES else following)
