"""Finds messages and their events. Every function reads; none changes anything."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, and_, exists, or_, select, union_all
from sqlalchemy.orm import Session, selectinload

from receiver.core import tags
from receiver.core.send_status import SendStatus
from receiver.core.status import TERMINAL, RecipientStatus
from receiver.storage.models import Message, MessageId, Recipient, StoredEvent

WHOLE = (selectinload(Message.recipients), selectinload(Message.message_ids))
"""Loads with a message all that its outcome depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages to list; None does not restrict."""

    reference: str | None = None
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
    """The last message of the page before."""


def message_tagged(session: Session, tag: str) -> Message | None:
    """The message, with its recipients in the request's order and its message ids."""
    return session.scalars(select(Message).where(Message.tag == tag).options(*WHOLE)).one_or_none()


def messages_page(session: Session, wanted: MessageFilter, *, limit: int, now: datetime) -> Sequence[Message]:
    """Newest first, at most ``limit``; each with its recipients and its message ids."""
    conditions = list(_conditions(wanted, now=now))
    if wanted.updated_since is None:
        return _newest(session, conditions, limit=limit)
    # What was created since then has changed since then; only if that does not fill the page, the older is looked at.
    created_since = tags.bound(wanted.updated_since)
    created = _newest(session, [*conditions, Message.tag >= created_since], limit=limit)
    changed = [Message.tag < created_since, _changed_since(wanted.updated_since, now=now)]
    return [*created, *_newest(session, [*conditions, *changed], limit=limit - len(created))]


def _newest(session: Session, conditions: Sequence[ColumnElement[bool]], *, limit: int) -> Sequence[Message]:
    if limit == 0:
        return []
    query = select(Message).where(*conditions).order_by(Message.tag.desc()).limit(limit)
    return session.scalars(query.options(*WHOLE)).all()


def events_of(session: Session, message_pk: int) -> Sequence[StoredEvent]:
    """All events linked to the message, first received first."""
    return session.scalars(
        select(StoredEvent)
        .where(StoredEvent.message_pk == message_pk)
        .order_by(StoredEvent.first_received_at, StoredEvent.pk)
    ).all()


def _conditions(wanted: MessageFilter, *, now: datetime) -> Iterable[ColumnElement[bool]]:
    """All but ``updated_since``."""
    if wanted.reference is not None:
        yield Message.reference == wanted.reference
    if wanted.message_id is not None:
        yield _has(MessageId, MessageId.message_id == wanted.message_id)
    if wanted.to is not None:
        yield _has(Recipient, Recipient.recipient == wanted.to)
    if wanted.sender is not None:
        yield Message.sender == wanted.sender
    if wanted.send_status is not None:
        yield _shows(wanted.send_status, now=now)
    if wanted.status is not None:
        yield _has(Recipient, Recipient.status == wanted.status)
    if wanted.complete is not None:
        open_recipient = _has(Recipient, Recipient.status.in_(set(RecipientStatus) - TERMINAL))
        yield ~open_recipient if wanted.complete else open_recipient
    if wanted.since is not None:
        yield Message.tag >= tags.bound(wanted.since)
    if wanted.until is not None:
        yield Message.tag < tags.bound(wanted.until)
    if wanted.after_tag is not None:
        yield Message.tag < wanted.after_tag


def _has(model: Any, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(model.message_pk == Message.pk, condition)


def _shows(status: SendStatus, *, now: datetime) -> ColumnElement[bool]:
    """core.send_status.shown() in SQL."""
    if status is SendStatus.UNKNOWN:
        return or_(Message.send_status == status, lapsed(now))
    if status is SendStatus.SUBMITTING:
        return and_(Message.send_status == status, ~lapsed(now))
    return Message.send_status == status


def lapsed(now: datetime) -> ColumnElement[bool]:
    """Still submitting after its deadline, so shown as unknown."""
    return and_(Message.send_status == SendStatus.SUBMITTING, Message.deadline < now)


def _changed_since(instant: datetime, *, now: datetime) -> ColumnElement[bool]:
    """As a union of four, each by an index: joined by OR, not one of the indexes could be used."""
    changed: CompoundSelect[tuple[int | None]] = union_all(
        select(Message.pk).where(Message.updated_at >= instant).correlate(None),
        select(Message.pk).where(lapsed(now), Message.deadline >= instant).correlate(None),
        select(Recipient.message_pk).where(Recipient.updated_at >= instant),
        select(MessageId.message_pk).where(MessageId.linked_at >= instant),
    )
    return Message.pk.in_(changed)
