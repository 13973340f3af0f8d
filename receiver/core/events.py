"""Events: what Bandwidth reports about one recipient, and when two events are the same."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce

from receiver.core.keywords import keyword
from receiver.core.text import Word

MAX_TYPE, MAX_MESSAGE_ID, MAX_RECIPIENT, MAX_TAG, MAX_ERROR_CODE = 64, 128, 64, 1024, 99999

INBOUND_TYPES = frozenset({"message-received", "suggestion-response", "requested-location-response"})
"""What people send to us. Judged by type, never by ``direction``: Bandwidth's examples had that wrong."""


class Source(Word):
    """How an event came to us."""

    CALLBACK = "callback", "Bandwidth posted it"
    RECONCILE = "reconcile", "we asked Bandwidth for it"


class LinkedBy(Word):
    """What links an event to its message."""

    TAG = "tag", "the tag it came with"
    MESSAGE_ID = "messageId", "its message id, which stands for the message"


UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL and lone surrogates, of which PostgreSQL stores neither."""


def clean_text(text: str) -> str:
    """``text`` with NUL and lone surrogates, which databases refuse, as U+FFFD."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def is_storable(text: str) -> bool:
    """Whether a database takes ``text`` as it is."""
    return UNSTORABLE.search(text) is None


Identity = tuple[str, str, str, int]
"""(message id, recipient, type, error code): no arrival time and no ``time``, which may differ between repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a person sent to us, parsed; its text is clean."""

    sender: str | None = None
    text: str | None = None
    media: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    """All numbers that it was sent to, including ours."""

    @property
    def keyword(self) -> str:
        """The opt-out or opt-in word that the text consists of, or ``""``."""
        return keyword(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One readable element of a callback."""

    type: str
    """Bandwidth's own string, verbatim."""
    message_id: str
    recipient: str
    """``""`` when the event names none."""
    error_code: int = 0
    """0 when there is none."""
    occurred_at: datetime | None = None
    tag: str | None = None
    description: str | None = None
    payload: str = "{}"
    """The element's JSON text, ASCII-escaped."""
    reply: Reply | None = None
    """The reply of an inbound event; None if it has not been parsed yet."""

    @property
    def identity(self) -> Identity:
        return (self.message_id, self.recipient, self.type, self.error_code)

    @property
    def is_inbound(self) -> bool:
        return self.type in INBOUND_TYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An element that cannot be read as an event; it is kept raw."""

    payload: str
    """ASCII-escaped JSON text."""
    reason: str
    """One plain sentence."""
    whole_body: bool = False
    """Whether it is a whole body that could not be split into elements."""

    @property
    def sha256(self) -> str:
        """Hexadecimal; two unreadable elements are the same if their texts are."""
        return hashlib.sha256(self.payload.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """An event and how often it came in one batch."""

    event: Event
    """It has the payload and description of the first delivery, and the earliest readable time of all."""
    tags: tuple[str, ...]
    """Every tag it came with, once each, in the order of arrival: a repeat may carry one that the first lacked."""
    deliveries: int
    place: int
    """The number of different events before it in the batch."""


def gather(events: Iterable[Event]) -> dict[Identity, Gathered]:
    """Merges repeats; the result keeps the order of first arrival."""
    repeats: dict[Identity, list[Event]] = {}
    for event in events:
        repeats.setdefault(event.identity, []).append(event)
    gathered = {}
    for place, (identity, same) in enumerate(repeats.items()):
        first = same[0]
        if len(same) > 1:
            first = replace(first, occurred_at=reduce(earliest, (event.occurred_at for event in same)))
        tags = tuple(dict.fromkeys(event.tag for event in same if event.tag))
        gathered[identity] = Gathered(event=first, tags=tags, deliveries=len(same), place=place)
    return gathered


def earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    """The earlier of two instants; the known one if the other is None."""
    return min((instant for instant in (one, other) if instant is not None), default=None)
