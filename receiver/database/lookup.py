"""Finds messages and their events. Every function reads; none changes anything."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    String,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, joinedload, selectinload

from receiver.core.send_status import SendStatus
from receiver.core.status import TERMINAL, RecipientStatus
from receiver.core.tags import is_tag
from receiver.database.models import Message, MessageId, Recipient, Resolution, StoredEvent

LAST_CHARACTER, SURROGATES = chr(0x10FFFF), range(0xD800, 0xE000)

MOST = 10_000
"""Rows that are counted; who has more of them to look at needs no better number."""

NEWEST = 200_000
"""Recipients that are looked at for the end of a number."""

OPEN = set(RecipientStatus) - TERMINAL

OfRecipient = Callable[[type[Recipient]], ColumnElement[bool]]
"""What is to be true of a recipient."""

WHOLE = (selectinload(Message.recipients), selectinload(Message.message_ids))
"""Loads with a message all that its outcome depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages to list; None does not restrict."""

    reference: str | None = None
    reference_prefix: str | None = None
    """What the reference begins with."""
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
    if not is_tag(tag):  # and then it may be what no database takes
        return None
    return session.scalars(_tagged(), {"this_tag": tag}).unique().one_or_none()


@cache
def _tagged() -> Select[Message]:
    """In one journey to the database; for a page of messages three would read less."""
    joined = (joinedload(Message.recipients), joinedload(Message.message_ids))
    return select(Message).where(Message.tag == bindparam("this_tag")).options(*joined)


def whole_message(session: Session, message_pk: int) -> Message | None:
    """Like message_tagged, by our key."""
    return session.get(Message, message_pk, options=WHOLE)


def messages_page(session: Session, wanted: MessageFilter, *, limit: int, now: datetime) -> Sequence[Message]:
    """Newest first, at most ``limit``; each with its recipients and its message ids."""
    since = wanted.updated_since
    if since is None:
        return _load(session, _found(wanted, now=now), limit=limit)
    # What was created since then has changed since then; only if that does not fill the page, the older is looked at.
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
    """Those whose reference begins so, sorted by it and then by tag, at most ``limit``; with all that their outcome
    depends on. ``after`` has both of the last message of the page before."""
    wanted = select(Message).where(begins_with(Message.reference, prefix)).order_by(Message.reference, Message.tag)
    if after is not None:
        reference, tag = after
        later = or_(Message.reference > reference, Message.tag > tag)
        wanted = wanted.where(Message.reference >= reference, later)
    return _load(session, wanted, limit=limit)


def messages_to_number_ending(session: Session, digits: str, *, limit: int) -> Sequence[Message]:
    """The newest messages to a number that ends so, at most ``limit``, of the newest NEWEST recipients: no index knows
    how a number ends."""
    newest = (
        select(Recipient.message_pk, Recipient.recipient).order_by(Recipient.created_at.desc()).limit(NEWEST).subquery()
    )
    ending = select(newest.c.message_pk).where(newest.c.recipient.endswith(digits, autoescape=True))
    found = select(Message).where(Message.pk.in_(ending)).order_by(Message.created_at.desc(), Message.pk.desc())
    return _load(session, found, limit=limit)


def events_of(session: Session, message_pk: int) -> Sequence[StoredEvent]:
    """All events linked to the message, first received first."""
    return session.scalars(
        select(StoredEvent)
        .where(StoredEvent.message_pk == message_pk)
        .order_by(StoredEvent.first_received_at, StoredEvent.pk)
    ).all()


def _found(wanted: MessageFilter, *, now: datetime) -> Select[Any]:
    """All but ``updated_since``. Newest first, by the index of what is asked for: of a recipient, if that is asked."""
    is_wanted, rest = _first_of_recipients(wanted)
    query = select(Message).where(*_conditions(rest, now=now))
    created_at, key = Message.created_at, Message.pk
    if is_wanted is not None:
        one, earlier = aliased(Recipient), aliased(Recipient)
        # Each message once: by the first of its recipients of whom it is true. All share a time, which the index has.
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
    """What is asked of a recipient, the rarest if it is several things, in words of its index; and what is left."""
    if (to := wanted.to) is not None:
        return lambda recipient: recipient.recipient == to, replace(wanted, to=None)
    if wanted.complete is False:
        return is_open, replace(wanted, complete=None)
    if (status := wanted.status) is not None:
        return lambda recipient: shows_status(recipient, status), replace(wanted, status=None)
    return None, wanted


def is_open(recipient: type[Recipient]) -> ColumnElement[bool]:
    """Without a final outcome; in words of the index of those."""
    return recipient.status.in_(map(_spelled, sorted(OPEN)))


def shows_status(recipient: type[Recipient], status: RecipientStatus) -> ColumnElement[bool]:
    """In words of the index of all but the delivered, who are nearly all."""
    shows, delivered = recipient.status == status, RecipientStatus.DELIVERED
    return shows if status is delivered else and_(shows, recipient.status != _spelled(delivered))


def _spelled(status: RecipientStatus) -> ColumnElement[str]:
    """Not as a parameter: with that SQLite would not know that a partial index serves."""
    return literal(status.value, String, literal_execute=True)


def _conditions(wanted: MessageFilter, *, now: datetime) -> Iterable[ColumnElement[bool]]:
    """All but ``updated_since`` and when it was created."""
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
    """When the message was created, in words of the index that is read."""
    if wanted.since is not None:
        yield created_at >= wanted.since
    if wanted.until is not None:
        yield created_at < wanted.until
    if wanted.after_tag is not None:
        last = select(Message.created_at, Message.pk).where(Message.tag == wanted.after_tag)
        instant = last.with_only_columns(Message.created_at).scalar_subquery()
        yield created_at <= instant  # which an index serves, unlike what follows
        yield or_(created_at < instant, key < last.with_only_columns(Message.pk).scalar_subquery())


def _has(model: Any, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(model.message_pk == Message.pk, condition)


def shows(status: SendStatus, *, now: datetime) -> ColumnElement[bool]:
    """core.send_status.shown() in SQL."""
    if status is SendStatus.UNKNOWN:
        return or_(Message.send_status == status, lapsed(now))
    if status is SendStatus.SUBMITTING:
        return and_(Message.send_status == status, ~lapsed(now))
    return Message.send_status == status


def lapsed(now: datetime) -> ColumnElement[bool]:
    """Still submitting after its deadline, so shown as unknown."""
    return and_(Message.send_status == SendStatus.SUBMITTING, Message.deadline < now)


def is_overdue(now: datetime) -> ColumnElement[bool]:
    """core.status.is_overdue() in SQL, of a message joined with its recipients."""
    return and_(Recipient.status.in_(OPEN), is_due(now))


def is_due(now: datetime) -> ColumnElement[bool]:
    """Whether a message's recipients that are still open are overdue: core.status.is_overdue() without the status."""
    sent = or_(Message.send_status.in_((SendStatus.ACCEPTED, SendStatus.UNKNOWN)), lapsed(now))
    return and_(Message.overdue_at < now, sent)


def _changed_since(instant: datetime, *, now: datetime) -> ColumnElement[bool]:
    """As a union of four, each by an index: joined by OR, not one of the indexes could be used."""
    changed: CompoundSelect[tuple[int | None]] = union_all(
        select(Message.pk).where(Message.updated_at >= instant).correlate(None),
        select(Message.pk).where(lapsed(now), Message.deadline >= instant).correlate(None),
        select(Recipient.message_pk).where(Recipient.updated_at >= instant),
        select(MessageId.message_pk).where(MessageId.linked_at >= instant),
    )
    return Message.pk.in_(changed)


def begins_with(column: ColumnElement[Any] | InstrumentedAttribute[str | None], prefix: str) -> ColumnElement[bool]:
    """As a range, which an index knows; LIKE it may not, and would read some characters as others."""
    if (after := _after_all_with(prefix)) is None:
        return column >= prefix
    return and_(column >= prefix, column < after)


def _after_all_with(prefix: str) -> str | None:
    """The lowest text above all that begin with ``prefix``, by code points; None if there is none."""
    stem = prefix.rstrip(LAST_CHARACTER)
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(SURROGATES.stop if following in SURROGATES else following)


def count(session: Session, found: Select[Any]) -> int:
    """How many rows there are, up to MOST."""
    return session.scalar(select(func.count()).select_from(found.limit(MOST).subquery())) or 0


def resolutions_of(session: Session, message_pk: int) -> Sequence[Resolution]:
    """Oldest first."""
    return session.scalars(select(Resolution).where(Resolution.message_pk == message_pk).order_by(Resolution.pk)).all()
