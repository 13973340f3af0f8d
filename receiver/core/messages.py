"""A message to send, and the three kinds of answer that a request to Bandwidth can end in."""

from dataclasses import dataclass
from datetime import datetime

from receiver.core.send_status import RefusedBecause


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundMessage:
    """One group message as the application asked for it, checked, and with every default filled in."""

    to: tuple[str, ...]
    """1 to 10 distinct E.164 numbers, in the request's order."""
    sender: str
    """``from``: an E.164 number, a short code or an alphanumeric id."""
    application_id: str
    text: str | None = None
    media: tuple[str, ...] = ()
    priority: str | None = None
    """``default`` or ``high``."""
    expiration: datetime | None = None
    """Aware, UTC."""
    reference: str | None = None
    """The application's own word for the message; never sent to Bandwidth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Bandwidth answered 202. An unreadable body leaves both fields empty: the id comes with the first event."""

    message_id: str | None = None
    segment_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The message is known not to have been sent."""

    because: RefusedBecause
    status: int | None = None
    """Bandwidth's HTTP status; None when there was no answer."""
    type: str | None = None
    description: str | None = None
    field_errors: tuple[tuple[str, str], ...] = ()
    """Bandwidth's (fieldName, description) pairs."""
    retry_after: int | None = None
    """Seconds, from Bandwidth's own Retry-After."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The request may have been carried out; nobody can say."""

    status: int | None = None
    type: str | None = None
    description: str | None = None


Answer = Accepted | Refused | Unknown
