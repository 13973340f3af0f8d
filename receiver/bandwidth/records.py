"""Bandwidth's own records of messages: from a row of ``GET /messages`` to an event (dev.bandwidth.com/apis/messaging).

Bandwidth does not say whether a group has a row per recipient; so a row says something about a recipient only if it
names one number. The records do not have our tag.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from receiver.bandwidth.callbacks import NotAnEvent, check_text, read_error_code, read_key
from receiver.core import times
from receiver.core.events import MAX_MESSAGE_ID, MAX_RECIPIENT, MAX_TYPE, Event, Unreadable

RECEIPT_EXPIRED = 9902

_TYPES = {
    "SENT": "message-sent",
    "DELIVERED": "message-delivered",
    "FAILED": "message-failed",
    "UNDELIVERED": "message-failed",
    "DLR_EXPIRED": "message-failed",
    "DLR_TIMEOUT": "message-failed",
}
"""What would be told by a callback, in its words. SENDING is not among them, because the type message-sending means
that delivery receipts are on; this word, RECEIVED, QUEUED and any new one only prove that Bandwidth has the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One readable row."""

    message_id: str
    status: str
    """Bandwidth's own word, verbatim."""
    sender: str
    """``""`` when the row names none."""
    recipients: tuple[str, ...]
    """The numbers it names; nearly always one."""
    recipient_count: int | None
    received_at: datetime | None
    """When Bandwidth received the request; not when anything happened to a recipient."""
    inbound: bool
    error_code: int
    """0 when there is none."""
    payload: str
    """The row's JSON, ASCII-escaped."""

    def event(self, *, only_recipient: str | None) -> Event:
        """What it says, with the identity of the callback that says the same, so that this is a duplicate of it.

        ``only_recipient`` is the message's recipient if it has only one.
        """
        named = self.recipients[0] if len(self.recipients) == 1 else only_recipient
        type_ = _TYPES.get(self.status, self.status)
        return Event(
            type=type_,
            message_id=self.message_id,
            recipient=named or "",
            error_code=_error_code_of(type_, self),
            payload=self.payload,
        )


def _error_code_of(type_: str, record: Record) -> int:
    if record.status.startswith("DLR_"):
        return RECEIPT_EXPIRED
    return 0 if type_ in ("message-sent", "message-delivered") else record.error_code


def read_record(row: Any) -> Record | Unreadable:
    """A row as it was decoded; unknown fields and statuses do no harm."""
    try:
        payload = json.dumps(row, allow_nan=False)
    except (ValueError, RecursionError):  # a number beyond all floats, or nested too deeply
        return Unreadable(payload="null", reason="The row cannot be written as JSON.")
    try:
        if not isinstance(row, dict):
            raise NotAnEvent("The row is not an object.")
        return Record(
            message_id=read_key(row.get("messageId"), name="messageId", longest=MAX_MESSAGE_ID),
            status=read_key(row.get("messageStatus"), name="messageStatus", longest=MAX_TYPE),
            sender=row["sourceTn"] if isinstance(row.get("sourceTn"), str) else "",
            recipients=_recipients(row.get("destinationTn")),
            recipient_count=row["recipientCount"] if type(row.get("recipientCount")) is int else None,
            received_at=times.parse(row.get("receiveTime")),
            inbound=row.get("messageDirection") == "INBOUND",
            error_code=read_error_code(row.get("errorCode")),
            payload=payload,
        )
    except NotAnEvent as reason:
        return Unreadable(payload=payload, reason=str(reason))


def _recipients(value: Any) -> tuple[str, ...]:
    """One number is documented; several are an array, or separated by commas as in the question."""
    numbers = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(
        check_text(number.strip(), name="destinationTn", longest=MAX_RECIPIENT)
        for number in numbers
        if isinstance(number, str) and number.strip()
    )
