"""Searches Bandwidth's records for messages that are unknown or overdue, and records what they say as events.

Bandwidth keeps its records for 14 days and without our tag. So a message without a message id is searched by sender,
recipients and time, and a record is stored only if it can belong to no other message. Finding none proves nothing. No
database connection is held during a search, and every message is a transaction of its own.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from sqlalchemy import CompoundSelect, and_, exists, or_, select, union_all
from sqlalchemy.orm import Session, selectinload

from receiver.bandwidth.history import HistoryRecord, HistoryRow
from receiver.core import times
from receiver.core.events import Event, Source
from receiver.core.send_status import RefusedBecause, SendStatus, shown
from receiver.core.status import RecipientStatus, is_overdue
from receiver.database.database import Database
from receiver.database.lookup import is_due, is_open, lapsed, message_tagged, shows
from receiver.database.models import Message, MessageId, Recipient
from receiver.errors import QueryRefused
from receiver.events.links import bind
from receiver.events.store import record

KEPT = timedelta(days=14) - timedelta(hours=1)
"""How long Bandwidth keeps its records; an hour less, because older times are refused and the search takes a while."""

MARGIN = timedelta(minutes=1)
"""How far Bandwidth's clock may differ from ours."""

RESTORED = "restored"
"""The error type of a message that a restored backup took for unsent."""


class Search(Protocol):
    """Queries Bandwidth's records."""

    def of_message(self, message_id: str) -> Iterator[HistoryRow]: ...

    def between(
        self, sender: str, recipients: Sequence[str], since: datetime, until: datetime
    ) -> Iterator[HistoryRow]: ...


class InquiryOutcome(StrEnum):
    """The result of searching for a message."""

    RECORDED = "recorded"  # Bandwidth's records of it are among its events now
    NOT_FOUND = "not found"  # Bandwidth has no record that fits, which proves nothing
    AMBIGUOUS = "ambiguous"  # more than one message may be meant, so nothing was recorded
    SETTLED = "settled"  # an event came before the search
    REFUSED = "refused"  # Bandwidth refused the question


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A message whose records were searched, and the result."""

    tag: str
    before: SendStatus
    """The shown status before."""
    after: SendStatus
    """The shown status after."""
    outcome: InquiryOutcome
    detail: str
    """What Bandwidth's records say, in a few words."""


_Result = tuple[InquiryOutcome, str]
"""The outcome and ``detail`` of an Inquiry."""


def find_in_doubt(database: Database, *, overdue_after: timedelta) -> Sequence[str]:
    """The tags of the messages to ask about, oldest first: shown as unknown, or with a recipient that is overdue.

    ``overdue_after`` is how long after its creation a message becomes overdue at the earliest. Younger recipients, of
    which a long queue has very many, are not read.
    """
    now = times.now()
    # A union of three, each by an index.
    suspects: CompoundSelect[tuple[int]] = union_all(
        select(Message.pk).where(Message.send_status == SendStatus.UNKNOWN).correlate(None),
        select(Message.pk).where(lapsed(now)).correlate(None),
        select(Recipient.message_pk).where(is_open(Recipient), Recipient.created_at <= now - overdue_after),
    )
    query = (
        select(Message.tag)
        .where(Message.pk.in_(suspects), Message.submitted_at >= now - KEPT)
        .where(or_(shows(SendStatus.UNKNOWN, now=now), is_due(now)))
        .order_by(Message.tag)
    )
    with database.read() as session:
        return session.scalars(query).all()


def reconcile(database: Database, search: Search, tags: Sequence[str]) -> Iterator[Inquiry]:
    """Asks about each of these messages. Raises RecordsUnavailable; everything found until then is recorded."""
    for tag in tags:
        message = _load(database, tag)
        if message is None or message.redacted_at is not None:
            continue  # purged meanwhile
        before = _shown(message)
        outcome, detail = InquiryOutcome.SETTLED, ""
        try:
            if _is_in_doubt(message, before):
                outcome, detail = _inquire(database, search, message)
        except QueryRefused as error:  # Bandwidth may still answer about the others
            outcome, detail = InquiryOutcome.REFUSED, str(error)
        after = _shown(_load(database, tag) or message)
        yield Inquiry(tag=tag, before=before, after=after, outcome=outcome, detail=detail)


def _load(database: Database, tag: str) -> Message | None:
    with database.read() as session:
        return message_tagged(session, tag)


def _shown(message: Message) -> SendStatus:
    return shown(SendStatus(message.send_status), deadline=message.deadline, now=times.now())


def _is_in_doubt(message: Message, status: SendStatus) -> bool:
    now = times.now()
    return status is SendStatus.UNKNOWN or any(
        is_overdue(RecipientStatus(each.status), send_status=status, overdue_at=message.overdue_at, now=now)
        for each in message.recipients
    )


def _inquire(database: Database, search: Search, message: Message) -> _Result:
    if not message.message_ids:
        return _search(database, search, message)
    ids = [each.message_id for each in message.message_ids]
    records = [row for message_id in ids for row in search.of_message(message_id) if isinstance(row, HistoryRecord)]
    if not records:
        return InquiryOutcome.NOT_FOUND, "no record of its message id"
    events = _events(message, records)
    database.write(lambda session: record(session, events, now=times.now(), source=Source.RECONCILE))
    return InquiryOutcome.RECORDED, _words(records)


def _search(database: Database, search: Search, message: Message) -> _Result:
    """Searches by numbers and time. A candidate is judged by all its rows, also those about other numbers."""
    since, until = _window(message)
    rows = list(search.between(message.sender, [each.recipient for each in message.recipients], since, until))
    found = {row.message_id for row in rows if isinstance(row, HistoryRecord)}
    with database.read() as session:
        found -= _ids_of_others(session, message.pk, found)
    whole = {message_id: list(search.of_message(message_id)) for message_id in sorted(found)}
    readable = {
        message_id: [row for row in whole[message_id] if isinstance(row, HistoryRecord)] for message_id in whole
    }
    candidates = {message_id: records for message_id, records in readable.items() if _fits(records, message)}
    if not candidates:
        return InquiryOutcome.NOT_FOUND, "no record with its numbers and time"
    unreadable = sum(not isinstance(row, HistoryRecord) for some in (rows, *whole.values()) for row in some)
    if len(candidates) > 1 or unreadable:
        beside = f", and {unreadable} rows cannot be read" if unreadable else ""
        return InquiryOutcome.AMBIGUOUS, f"may be {' or '.join(candidates)}{beside}"
    return _store_only_candidate(database, message, candidates)


def _ids_of_others(session: Session, message_pk: int, message_ids: Collection[str]) -> set[str]:
    """Returns the given message ids that stand for another message of ours."""
    taken = (MessageId.message_id.in_(message_ids), MessageId.message_pk != message_pk)
    return set(session.scalars(select(MessageId.message_id).where(*taken)))


def _window(message: Message) -> tuple[datetime, datetime]:
    """Returns the instants between which Bandwidth received the request, if it did."""
    submitted_at = message.submitted_at or message.created_at
    return submitted_at - MARGIN, (message.deadline or submitted_at) + MARGIN


def _fits(records: Sequence[HistoryRecord], message: Message) -> bool:
    """Whether these rows of one message id may be this message.

    They are about all its recipients and no other, or there is one row for the whole group.
    """
    recipients = {each.recipient for each in message.recipients}
    named = {number for each in records for number in each.recipients}
    counts = {each.recipient_count for each in records}
    each_has_a_row = named == recipients and counts <= {None, 1, len(recipients)}
    one_for_all = len(records) == 1 and counts == {len(recipients)} and bool(named) and named <= recipients
    since, until = _window(message)
    return (each_has_a_row or one_for_all) and all(
        each.sender in ("", message.sender) and (each.received_at is None or since <= each.received_at <= until)
        for each in records
    )


def _store_only_candidate(
    database: Database, message: Message, candidates: Mapping[str, Sequence[HistoryRecord]]
) -> _Result:
    """Records the only candidate, unless it may be another message of ours."""
    [(message_id, records)] = candidates.items()
    since, until = _window(message)
    events = _events(message, records)

    def work(session: Session) -> bool:
        # Two messages are rivals if their windows overlap; each window has a margin.
        if has_rival(session, message, since=since - MARGIN, until=until + MARGIN):
            return False
        return store_found(session, message.pk, message_id, events, now=times.now())

    if database.write(work):
        return InquiryOutcome.RECORDED, _words(records)
    return InquiryOutcome.AMBIGUOUS, f"{message_id} may be another message to the same numbers"


def has_rival(session: Session, message: Message, *, since: datetime, until: datetime) -> bool:
    """Whether another message of ours to the same recipients may have been sent between the two instants.

    A rival has no known message id and is not known never to have been sent. After a restored backup there may always
    be one, because the database does not know everything that was sent.
    """
    if message.error_type == RESTORED:
        return True
    not_sent = and_(Message.send_status == SendStatus.REFUSED, Message.refused_because != RefusedBecause.OPERATOR.value)
    # By one of its numbers, which has an index: a sender may have sent all of the messages.
    to_one = select(Recipient.message_pk).where(Recipient.recipient == message.recipients[0].recipient)
    others = session.scalars(
        select(Message)
        .where(Message.pk.in_(to_one), Message.sender == message.sender, Message.pk != message.pk)
        .where(Message.submitted_at <= until, Message.deadline >= since)
        .where(Message.send_status != SendStatus.QUEUED, ~not_sent)
        .where(~exists().where(MessageId.message_pk == Message.pk))
        .options(selectinload(Message.recipients))
    )
    numbers = {each.recipient for each in message.recipients}
    return any({each.recipient for each in other.recipients} == numbers for other in others)


def store_found(session: Session, message_pk: int, message_id: str, events: Sequence[Event], *, now: datetime) -> bool:
    """Makes the message id stand for the message, and records these events of it.

    Returns False, and records nothing, if the id stands for another message by now, or the message has another id.
    """
    bound = or_(MessageId.message_id == message_id, MessageId.message_pk == message_pk)
    for row in session.scalars(select(MessageId).where(bound)):
        if row.message_id != message_id or row.message_pk not in (None, message_pk):
            return False
    waiting = bind(session, [(message_id, message_pk)], answered=False, now=now)
    record(session, events, now=now, source=Source.RECONCILE, waiting=waiting)
    return True


def _events(message: Message, records: Sequence[HistoryRecord]) -> list[Event]:
    only = message.recipients[0].recipient if len(message.recipients) == 1 else None
    return [each.event(only_recipient=only) for each in records]


def _words(records: Sequence[HistoryRecord]) -> str:
    count = Counter(each.status for each in records)
    return ", ".join(f"{number} {status}" for status, number in sorted(count.items()))
