"""Look-ups and conditions on messages and recipients that more than one package needs. Nothing here writes.

Filters, pages and orders that only reports need are in ``receiver.reports.messages``.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, bindparam, func, literal, or_, select
from sqlalchemy.orm import Session, joinedload

from receiver.core.send_status import SendStatus
from receiver.core.status import TERMINAL, RecipientStatus
from receiver.core.tags import is_tag
from receiver.database.models import Message, Recipient

MOST = 10_000
"""The number of rows at which counting stops; beyond it an exact count is not useful."""

OPEN = set(RecipientStatus) - TERMINAL


def message_tagged(session: Session, tag: str) -> Message | None:
    """Returns the message with that tag, its recipients in the request's order and its message ids loaded."""
    if not is_tag(tag):  # it may hold what no database accepts
        return None
    return session.scalars(_TAGGED, {"this_tag": tag}).unique().one_or_none()


JOINED = (joinedload(Message.recipients), joinedload(Message.message_ids))
"""Loads all that the outcome of one message depends on in one round trip."""

_TAGGED = select(Message).where(Message.tag == bindparam("this_tag")).options(*JOINED)


def is_open(recipient: type[Recipient]) -> ColumnElement[bool]:
    """Whether the recipient has no final outcome, in the terms of the partial index on those."""
    return recipient.status.in_(map(spelled_out, sorted(OPEN)))


def spelled_out(status: RecipientStatus) -> ColumnElement[str]:
    """The status as a literal. With a parameter SQLite could not tell that a partial index applies."""
    return literal(status.value, String, literal_execute=True)


def shows(status: SendStatus, *, now: datetime) -> ColumnElement[bool]:
    """Whether a message shows as ``status``: core.send_status.shown() in SQL."""
    if status is SendStatus.UNKNOWN:
        return or_(Message.send_status == status, lapsed(now))
    if status is SendStatus.SUBMITTING:
        return and_(Message.send_status == status, ~lapsed(now))
    return Message.send_status == status


def lapsed(now: datetime) -> ColumnElement[bool]:
    """Whether a message is still submitting after its deadline, so that it shows as unknown."""
    return and_(Message.send_status == SendStatus.SUBMITTING, Message.deadline < now)


def is_overdue(now: datetime) -> ColumnElement[bool]:
    """core.status.is_overdue() in SQL, of a message joined with its recipients."""
    return and_(Recipient.status.in_(OPEN), is_due(now))


def is_due(now: datetime) -> ColumnElement[bool]:
    """Whether a message's recipients that are still open are overdue: core.status.is_overdue() without the status."""
    sent = or_(Message.send_status.in_((SendStatus.ACCEPTED, SendStatus.UNKNOWN)), lapsed(now))
    return and_(Message.overdue_at < now, sent)


def count(session: Session, found: Select[Any]) -> int:
    """Returns the number of rows that the query finds, up to MOST."""
    return session.scalar(select(func.count()).select_from(found.limit(MOST).subquery())) or 0
