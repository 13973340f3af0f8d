"""A message to send, how many SMS segments it makes, and the three results that a request to Bandwidth can have.

Bandwidth, "What are Bandwidth's SMS character limits and concatenation practices?": a segment has 140 bytes. A text
whose every character is in the GSM 7-bit alphabet is encoded in septets, any other in UTF-16 code units; when one
segment is not enough, each gives 6 bytes to the header that joins them. The pace and Bandwidth's bill count segments.

The count is our own because the libraries that count correctly have had no release for years, and those with recent
releases divide the length, which is wrong where an escape or a surrogate pair would be split.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from receiver.core.send_status import DENIED, UNAUTHORIZED, RefusedBecause, is_repeatable


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundMessage:
    """One message as the application requested it, validated, and with every default filled in."""

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
    """The application's own name for the message; never sent to Bandwidth."""
    asked_by: str = field(default="", compare=False)
    """The name of the API key that requested it; empty for the commands of this program. It is not compared: the same
    request with another key is an equal message."""

    def has_expired(self, now: datetime) -> bool:
        """Whether it must not be sent any more."""
        return self.expiration is not None and self.expiration <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Bandwidth responded 202. An unreadable body leaves both fields empty: the id comes with the first event."""

    message_id: str | None = None
    segment_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The message is known not to have been sent."""

    because: RefusedBecause
    status: int | None = None
    """Bandwidth's HTTP status; None when there was no response."""
    type: str | None = None
    description: str | None = None
    field_errors: tuple[tuple[str, str], ...] = ()
    """Bandwidth's (fieldName, description) pairs."""
    retry_after: int | None = None
    """Seconds, from Bandwidth's own Retry-After, or until another attempt makes sense."""
    is_remembered: bool = False
    """Whether no request was made for this message: an earlier request for a token failed like this."""

    @property
    def is_repeatable(self) -> bool:
        return is_repeatable(self.because, status=self.status)

    @property
    def is_about_credentials(self) -> bool:
        """Whether every other message would be refused as well: by the token endpoint, or with 401."""
        return self.because is RefusedBecause.BANDWIDTH and self.status in (None, UNAUTHORIZED)

    @property
    def is_denial(self) -> bool:
        """Whether it may concern the credentials or this message alone: 403 or 404."""
        return self.because is RefusedBecause.BANDWIDTH and self.status in DENIED

    @property
    def shows_credentials(self) -> bool:
        """Whether such a response shows that Bandwidth accepted the credentials."""
        return self.status in (400, 415, 429)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The message may have been sent; nobody can know."""

    status: int | None = None
    type: str | None = None
    description: str | None = None


SendResult = Accepted | Refused | Unknown
"""How one request to Bandwidth ended."""


MAX_KEY = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """The caller's promise that two requests are one (draft-ietf-httpapi-idempotency-key-header)."""

    api_key: str
    """The name of the API key that it belongs to; empty for the commands of this program."""
    key: str
    """1 to MAX_KEY characters."""
    sha256: str
    """The fingerprint() of the request."""
    expires_at: datetime | None
    """When it may be used again; None is never."""

    @property
    def identity(self) -> tuple[str, str]:
        """The API key and the key: unique among all that are kept."""
        return (self.api_key, self.key)


def fingerprint(request: Any) -> str:
    """SHA-256, hexadecimal, of a request's JSON: the same for every order of its fields, with or without nulls."""
    if isinstance(request, dict):
        request = {name: value for name, value in request.items() if value is not None}
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# 3GPP TS 23.038, section 6.2.1: the default alphabet in its own order, without the escape.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Section 6.2.1.1: each of these takes an escape and a septet.
_EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM_7 = _BASIC | _EXTENSION


def segments(text: str) -> int:
    """How many SMS segments ``text`` makes; an empty text is one."""
    if _GSM_7.issuperset(text):
        single, part = 160, 153  # septets of the only segment, and of each of several
        sizes = [2 if character in _EXTENSION else 1 for character in text]
    else:
        single, part = 70, 67  # UTF-16 code units
        sizes = [2 if character > "\uffff" else 1 for character in text]
    if sum(sizes) <= single:
        return 1
    count, room = 1, part
    for size in sizes:
        # Neither an escape and its septet nor a surrogate pair is split over two segments.
        if size > room:
            count, room = count + 1, part
        room -= size
    return count


class HasContent(Protocol):
    """A message, whether it comes from the application or reaches Bandwidth."""

    @property
    def to(self) -> Sequence[str]: ...

    @property
    def text(self) -> str | None: ...

    @property
    def media(self) -> Sequence[str]: ...


def units(message: HasContent) -> int:
    """What a message takes of the rate: recipients x segments. An MMS, as every group message is, has one segment."""
    return len(message.to) if message.media or len(message.to) > 1 else segments(message.text or "")
