"""Filters and pages of messages, and the rows about one message, for the reports. Nothing here writes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, exists, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, selectinload

from receiver.core.send_status import SendStatus
from receiver.core.status import RecipientStatus
from receiver.database.lookup import OPEN, is_open, lapsed, shows, spelled_out
from receiver.database.models import Message, MessageId, Recipient, Resolution, StoredEvent

LAST_CHARACTER, SURROGATES = chr(0x10FFFF), range(0xD800, 0xE000)

WHOLE = (selectinload(Message.recipients), selectinload(Message.message_ids))
"""Loads all that the outcome of each message of a page depends on. Joined, it would read more."""

NEWEST = 200_000
"""Recipients that are searched for the end of a number, the newest first."""

OfRecipient = Callable[[type[Recipient]], ColumnElement[bool]]
"""A condition on a recipient, which may be aliased."""


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


def messages_by_reference(
    session: Session, prefix: str, *, after: tuple[str, str] | None, limit: int
) -> Sequence[Message]:
    """Returns at most ``limit`` messages whose reference begins with ``prefix``, by reference, then tag.

    ``after`` is the reference and tag of the last message of the previous page.
    """
    wanted = select(Message).where(begins_with(Message.reference, prefix)).order_by(Message.reference, Message.tag)
    if after is not None:
        reference, tag = after
        later = or_(Message.reference > reference, Message.tag > tag)
        wanted = wanted.where(Message.reference >= reference, later)
    return _load(session, wanted, limit=limit)


def messages_by_last_digits(session: Session, digits: str, *, limit: int) -> Sequence[Message]:
    """Returns at most ``limit`` messages to a number that ends in ``digits``, newest first.

    Only the newest NEWEST recipients are searched, because no index serves the end of a number.
    """
    newest = (
        select(Recipient.message_pk, Recipient.recipient).order_by(Recipient.created_at.desc()).limit(NEWEST).subquery()
    )
    ending = select(newest.c.message_pk).where(newest.c.recipient.endswith(digits, autoescape=True))
    found = select(Message).where(Message.pk.in_(ending)).order_by(Message.created_at.desc(), Message.pk.desc())
    return _load(session, found, limit=limit)


def events_of(session: Session, message_pk: int) -> Sequence[StoredEvent]:
    """Returns all events linked to the message, first received first."""
    return session.scalars(
        select(StoredEvent)
        .where(StoredEvent.message_pk == message_pk)
        .order_by(StoredEvent.first_received_at, StoredEvent.pk)
    ).all()


def resolutions_of(session: Session, message_pk: int) -> Sequence[Resolution]:
    """Returns what people decided about the message, oldest first."""
    return session.scalars(select(Resolution).where(Resolution.message_pk == message_pk).order_by(Resolution.pk)).all()


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
