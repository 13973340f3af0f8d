"""Outcomes: the best statement about each recipient, and what events prove about their messages.

Everything here runs inside one write transaction of the caller, and locks messages before recipients, each sorted. The
SQL is in store.sql.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Update, update
from sqlalchemy.orm import Session

from receiver.core.events import Event
from receiver.core.send_status import SendStatus
from receiver.core.status import (
    NO_STANDING,
    RECEIPT_TYPES,
    default_status,
    says_invalid_recipient,
    standing,
    statement,
)
from receiver.database.json_rows import instant, octets, statements
from receiver.database.models import Recipient, StoredEvent

RecipientKey = tuple[int, str]
"""(messages.pk, number)"""

SQL = statements("receiver.events", "store.sql")


@dataclass(frozen=True, slots=True)
class Linked:
    """A stored event of a message of ours."""

    pk: int
    message_pk: int
    event: Event


def to_event(row: StoredEvent | Row[Any]) -> Event:
    """The stored event as the core knows it."""
    return Event(
        type=row.type,
        message_id=row.message_id,
        recipient=row.recipient,
        error_code=row.error_code,
        occurred_at=row.occurred_at,
        tag=row.tag,
        description=row.description,
        payload=row.payload,
    )


def settle(session: Session, message_pks: Set[int], *, now: datetime, receipts: Set[int] = frozenset()) -> None:
    """Makes these messages accepted, because Bandwidth has them; of those in ``receipts``, delivery receipts are on."""
    rows = [{"pk": pk, "receipts": pk in receipts, "updated_at": instant(now)} for pk in sorted(message_pks)]
    locked = SQL.run(session, "lock messages to accept", rows).all()
    if not locked:
        return
    pks = {row.pk for row in locked}
    SQL.run(session, "accept messages", [row for row in rows if row["pk"] in pks])
    if refused := {row.pk for row in locked if row.send_status == SendStatus.REFUSED}:
        SQL.run(session, "reopen recipients", [row for row in rows if row["pk"] in refused])


def merge(
    session: Session, linked: Sequence[Linked], *, now: datetime, accepted: Mapping[int, bool] | None = None
) -> None:
    """Merges linked events into their messages and recipients: one of higher standing changes what a recipient shows.

    ``accepted`` holds messages that are known to be accepted, by key, and whether their receipts are known to be on.
    """
    accepted = accepted or {}
    message_pks = {each.message_pk for each in linked}
    receipts = {each.message_pk for each in linked if each.event.type in RECEIPT_TYPES}
    if not message_pks <= accepted.keys():
        settle(session, message_pks, now=now, receipts=receipts)
    elif newly_on := [pk for pk in sorted(receipts) if not accepted[pk]]:
        SQL.run(session, "turn on receipts", [{"pk": pk, "updated_at": instant(now)} for pk in newly_on])
    statements_of: dict[RecipientKey, list[Linked]] = {}
    for each in linked:
        if statement(each.event.type, each.event.error_code) is not None:
            statements_of.setdefault((each.message_pk, each.event.recipient), []).append(each)
    if statements_of:
        rows = [_news(key, statements_of[key], now=now) for key in sorted(statements_of)]
        SQL.run(session, "raise standings", rows)


def _news(key: RecipientKey, said: Sequence[Linked], *, now: datetime) -> dict[str, Any]:
    """A row for "raise standings": the best of these statements about one recipient."""
    best = said[0] if len(said) == 1 else max(said, key=lambda each: standing(each.event))
    outcome = outcome_values(best)
    return outcome | {
        "message_pk": key[0],
        "recipient": key[1],
        "standing": octets(outcome["standing"]),
        "occurred_at": instant(outcome["occurred_at"]),
        "invalid_recipient": any(says_invalid_recipient(each.event.type, each.event.error_code) for each in said),
        "updated_at": instant(now),
    }


def outcome_values(winner: Linked | None, *, send_status: SendStatus = SendStatus.ACCEPTED) -> dict[str, Any]:
    """The columns of a recipient that shows ``winner``, or none, while its message has that status."""
    event = winner.event if winner else None
    return {
        "status": (event and statement(event.type, event.error_code)) or default_status(send_status),
        "standing": standing(event) if event else NO_STANDING,
        "event_pk": winner.pk if winner else None,
        "error_code": (event.error_code or None) if event else None,
        "description": event.description if event else None,
        "occurred_at": event.occurred_at if event else None,
    }


def set_recipient(key: RecipientKey) -> Update:
    """An UPDATE of that one recipient."""
    return update(Recipient).where(Recipient.message_pk == key[0], Recipient.recipient == key[1])
