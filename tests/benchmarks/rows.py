"""Rows as the program would have stored them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from receiver.core.events import Event
from receiver.core.send_status import SendStatus
from receiver.core.status import NO_STANDING, RecipientStatus, fold, standing
from receiver.events.store import columns_of

Row = dict[str, Any]
LATENCY = timedelta(milliseconds=300)


def message_row(
    pk: int,
    *,
    tag: str,
    reference: str | None,
    sender: str,
    send_status: SendStatus,
    receipts: bool,
    created_at: datetime,
) -> Row:
    refused = send_status is SendStatus.REFUSED
    return {
        "pk": pk,
        "tag": tag,
        "reference": reference,
        "application_id": "93de2206-9669-4e07-948d-329f4b722ee2",
        "sender": sender,
        "text": f"Your order {pk} is ready. Fetch it until Friday at the counter; reply STOP to hear no more from us.",
        "media": '["https://dev.bandwidth.com/images/bandwidth-logo.png"]',
        "receipts": receipts,
        "segment_count": 1 if send_status is SendStatus.ACCEPTED else None,
        "send_status": send_status,
        "refused_because": "bandwidth" if refused else None,
        "error_status": 400 if refused else None,
        "urgency": 1,
        "units": 3,
        "attempt": 1,
        "failures": 0,
        "deadline": created_at + timedelta(hours=2),  # far enough that one under way does not lapse meanwhile
        "created_at": created_at,
        "submitted_at": created_at,
        "overdue_at": created_at + timedelta(hours=27),
        "updated_at": created_at + LATENCY,
    }


def recipient_row(
    message_pk: int,
    recipient: str,
    *,
    position: int,
    events: Sequence[tuple[int, Event]],
    unsaid: RecipientStatus,
    created_at: datetime,
) -> Row:
    """The row of a recipient with these events, by key; ``unsaid`` is its status without any."""
    outcome = fold(event for _, event in events)
    winner = outcome.winner
    return {
        "message_pk": message_pk,
        "recipient": recipient,
        "position": position,
        "status": outcome.status if winner else unsaid,
        "standing": standing(winner) if winner else NO_STANDING,
        "event_pk": next((pk for pk, event in events if event is winner), None),
        "error_code": (winner.error_code or None) if winner else None,
        "description": winner.description if winner else None,
        "occurred_at": winner.occurred_at if winner else None,
        "invalid_recipient": outcome.invalid_recipient,
        "created_at": created_at,
        "updated_at": winner.occurred_at + LATENCY if winner and winner.occurred_at else created_at + LATENCY,
    }


def event_row(pk: int, event: Event, message_pk: int | None) -> Row:
    assert event.occurred_at is not None
    received_at = event.occurred_at + LATENCY
    return {
        "pk": pk,
        "message_id": event.message_id,
        "recipient": event.recipient,
        "type": event.type,
        "error_code": event.error_code,
        "message_pk": message_pk,
        "linked_by": "tag" if message_pk else None,
        "tag": event.tag,
        "description": event.description,
        "occurred_at": event.occurred_at,
        "first_received_at": received_at,
        "last_received_at": received_at,
        "deliveries": 1,
        "source": "callback",
        "payload": event.payload,
        **columns_of(event.reply),
    }


def message_id_row(message_id: str, message_pk: int | None, *, answered: bool, at: datetime) -> Row:
    linked_at = at + LATENCY if message_pk else None
    return {"message_id": message_id, "message_pk": message_pk, "answered": answered, "linked_at": linked_at}


def unreadable_row(number: int, at: datetime) -> Row:
    payload = f'{{"type": "message-delivered", "number": {number}}}'
    return {
        "sha256": hashlib.sha256(payload.encode()).hexdigest(),
        "reason": "message is not an object.",
        "payload": payload,
        "whole_body": False,
        "first_received_at": at,
        "last_received_at": at,
        "deliveries": 1,
    }


def resolution_row(message_pk: int, at: datetime) -> Row:
    """A resolution by a person, which an event confirmed later."""
    decided = {"send_status": SendStatus.ACCEPTED, "reason": "The customer has it.", "resolved_by": "support"}
    return {"message_pk": message_pk, **decided, "resolved_at": at + LATENCY}
