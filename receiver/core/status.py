"""The rules of truth: which status a recipient has, and what each event is to its recipient.

This file owns the whole state machine. Every linked event of a known type is a *statement* about its recipient;
the recipient shows the statement of highest *standing*. Standing is a total order and the status its maximum, so
any order, repetition or split of the same events ends in the same status, and no sequence of events can fail.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.core.events import INBOUND_TYPES, Event
from receiver.core.send_status import SendStatus
from receiver.core.text import Word
from receiver.core.times import EPOCH

INVALID_RECIPIENT_CODES = frozenset({4303, 4350, 4404, 4406, 4408, 4720, 4721})
"""The recipient's number is not one that can receive: after such a failure Bandwidth's ``message-delivered`` for
the same number is known to be false (Bandwidth, "Messaging concepts": group messages to an invalid number)."""

AMBIGUOUS_CODES = range(9000, 10000)
"""Bandwidth itself does not know the outcome (Bandwidth, "Messaging error codes": 9xxx)."""


class RecipientStatus(Word):
    """The outcome of a message for one recipient."""

    PENDING = "pending", "nothing is known yet"
    SENDING = "sending", "on its way to the carrier"
    SENT = "sent", "left Bandwidth's network"
    UNCONFIRMED = "unconfirmed", "Bandwidth itself does not know what became of it"
    DELIVERED = "delivered", "handed over; confirmedBy says whose word that is"
    FAILED = "failed", "definitely not delivered"
    NOT_SENT = "not_sent", "the message was refused, so nothing was ever sent to this recipient"


STATEMENT_RANK: dict[RecipientStatus, int] = {
    RecipientStatus.SENDING: 1,
    RecipientStatus.SENT: 2,
    RecipientStatus.UNCONFIRMED: 3,
    RecipientStatus.DELIVERED: 4,
    RecipientStatus.FAILED: 5,
}
"""The statements, low to high. ``pending`` and ``not_sent`` are what a recipient shows without a statement."""

TERMINAL = frozenset(
    {
        RecipientStatus.UNCONFIRMED,
        RecipientStatus.DELIVERED,
        RecipientStatus.FAILED,
        RecipientStatus.NOT_SENT,
    }
)

NO_STANDING = b""
"""The standing of a recipient without a statement; lower than every other."""

WITH_CODE, WITHOUT_CODE = b"\xff", b"\x00"
"""The byte of a standing after the rank. The order of earlier releases had no such byte, but a time there, which begins
with 0x7F: its standings lie between these two, so comparing with one of them never lowers a recipient's status."""

UNKNOWN_TIME = bytes(8)
"""Stands below every instant."""


class Disposition(Word):
    """What an event is to its recipient."""

    INBOUND = "inbound", "somebody wrote to us; not about a message of ours"
    UNLINKED = "unlinked", "its tag and message id match no message of ours"
    UNRECOGNIZED = "unrecognized", "a type we do not know"
    UNEXPECTED_RECIPIENT = "unexpected_recipient", "about a number the message was not sent to, or about none"
    EXTRANEOUS = "extraneous", "a delivered for a recipient that failed as an invalid number"
    CONFLICTING = "conflicting", "a delivered for a recipient that failed for another reason"
    SUPERSEDED = "superseded", "a failure that another statement of higher standing outweighs"
    APPLIED = "applied", "everything else: what the recipient shows, or a step towards it"


class ConfirmedBy(Word):
    """Whose word ``delivered`` is."""

    BANDWIDTH = "bandwidth", "handed to Bandwidth's network, no more"
    CARRIER = "carrier", "receipts are on: the carrier acknowledged it"


def default_status(send_status: SendStatus) -> RecipientStatus:
    """Returns the status of a recipient without a statement, by the send status of its message."""
    return RecipientStatus.NOT_SENT if send_status is SendStatus.REFUSED else RecipientStatus.PENDING


def is_failure(event_type: str) -> bool:
    return event_type == "message-failed" or event_type.startswith("message-rejected-")


def says_invalid_recipient(event_type: str, error_code: int) -> bool:
    """Whether the event is a failure because the number cannot receive."""
    return error_code in INVALID_RECIPIENT_CODES and is_failure(event_type)


def statement(event_type: str, error_code: int) -> RecipientStatus | None:
    """What the event says about its recipient; None for inbound and unknown types."""
    stated = _STATEMENTS.get(event_type)
    if stated is None and is_failure(event_type):
        ambiguous = event_type == "message-failed" and error_code in AMBIGUOUS_CODES
        return RecipientStatus.UNCONFIRMED if ambiguous else RecipientStatus.FAILED
    return stated


_STATEMENTS = {
    "message-queued": RecipientStatus.SENDING,  # the name of message-sending for 13 days in 2020
    "message-sending": RecipientStatus.SENDING,
    "message-sent": RecipientStatus.SENT,
    "message-delivered": RecipientStatus.DELIVERED,
    "message-read": RecipientStatus.DELIVERED,
}

STATED_TYPES = (*_STATEMENTS, "message-failed")
"""The types that make a statement, apart from those that begin with ``message-rejected-``."""

RECEIPT_TYPES = frozenset({"message-sending"})
"""Bandwidth sends these only while delivery receipts are on (Bandwidth support, "MMS delivery receipts")."""


_COMPLEMENTS = bytes(range(255, -1, -1))


def standing(event: Event) -> bytes:
    """The event's place in the total order, as bytes that compare as the order does; empty without a statement.

    Rank first; then a statement with an error code stands above one without, because it says why; then the earlier
    instant (unknown last), the lower code, the lower message id and the lower type stand higher, texts compared by
    their UTF-8 bytes.
    """
    status = statement(event.type, event.error_code)
    if status is None:
        return NO_STANDING
    time = UNKNOWN_TIME
    if event.occurred_at is not None:
        time = (2**63 - (event.occurred_at - EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big")
    return b"".join(
        (
            STATEMENT_RANK[status].to_bytes(1, "big"),
            WITH_CODE if event.error_code else WITHOUT_CODE,
            time,
            (2**24 - 1 - event.error_code).to_bytes(3, "big"),
            # Neither text contains NUL, so the NUL that ends each becomes the highest byte of all: a text stands above
            # its continuations.
            f"{event.message_id}\0{event.type}\0".encode().translate(_COMPLEMENTS),
        )
    )


def status_of(standing: bytes) -> RecipientStatus:
    """The status of the statement that has this standing; pending if there is none."""
    return _STATUS_OF_RANK[standing[0]] if standing else RecipientStatus.PENDING


def has_old_order(standing: bytes) -> bool:
    """Whether an earlier release stored it, whose order did not rank a statement with a code above one without.

    The recipient's status is right all the same; until they are recomputed, its code, reason and time may be those of a
    statement that is not the highest.
    """
    after_rank = standing[1:2]
    if after_rank != WITHOUT_CODE:
        return after_rank not in (b"", WITH_CODE)
    # With an unknown time the code follows at once, and its complement never begins with 0.
    return standing[1:9] == UNKNOWN_TIME and standing[9:10] != b"\x00"


_STATUS_OF_RANK = {rank: status for status, rank in STATEMENT_RANK.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the events say about one recipient."""

    winner: Event | None = None
    """The winning statement."""
    invalid_recipient: bool = False
    """Whether any of its failures said that the number cannot receive."""

    @property
    def status(self) -> RecipientStatus:
        said = self.winner and statement(self.winner.type, self.winner.error_code)
        return said or RecipientStatus.PENDING


def fold(events: Iterable[Event]) -> Outcome:
    """The outcome of one recipient from all events linked to its message that name it."""
    events = list(events)
    return Outcome(
        winner=max((event for event in events if standing(event)), key=standing, default=None),
        invalid_recipient=any(says_invalid_recipient(event.type, event.error_code) for event in events),
    )


def disposition(
    *,
    event_type: str,
    linked: bool,
    is_winner: bool,
    recipient: RecipientStatus | None,
    invalid_recipient: bool,
) -> Disposition:
    """What the event is, by the present facts.

    ``recipient`` is the present status of the recipient it names, None if the message has no such recipient;
    ``is_winner`` whether that status is this event's word.
    """
    if event_type in INBOUND_TYPES:
        return Disposition.INBOUND
    if not linked:
        return Disposition.UNLINKED
    if statement(event_type, 0) is None:
        return Disposition.UNRECOGNIZED
    if recipient is None:
        return Disposition.UNEXPECTED_RECIPIENT
    if recipient is RecipientStatus.FAILED and statement(event_type, 0) is RecipientStatus.DELIVERED:
        return Disposition.EXTRANEOUS if invalid_recipient else Disposition.CONFLICTING
    if not is_winner and is_failure(event_type):
        return Disposition.SUPERSEDED
    return Disposition.APPLIED


def confirmed_by(status: RecipientStatus, *, receipts: bool) -> ConfirmedBy | None:
    """Whose word ``delivered`` is; ``receipts``: whether the message has an event of a receipt type."""
    if status is not RecipientStatus.DELIVERED:
        return None
    return ConfirmedBy.CARRIER if receipts else ConfirmedBy.BANDWIDTH


def is_overdue(status: RecipientStatus, *, send_status: SendStatus, overdue_at: datetime | None, now: datetime) -> bool:
    """Whether the outcome should be known by now. ``send_status`` is the shown one."""
    return (
        send_status in (SendStatus.ACCEPTED, SendStatus.UNKNOWN)
        and status not in TERMINAL
        and overdue_at is not None
        and now > overdue_at
    )
