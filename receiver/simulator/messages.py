"""What the simulator remembers: messages it has accepted, and the callbacks it makes about them."""

import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from receiver.simulator.clock import written
from receiver.simulator.fates import Step
from receiver.simulator.queue import Turn
from receiver.simulator.validation import MessageRequest

Event = dict[str, Any]
"""One element of a callback, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to deliver a callback, the request that answers a challenge included."""

    at: datetime
    status: int | None = None
    """Of the last answer; None if there was none."""
    error: str | None = None
    """Why it failed, unless the status says so."""

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    def to_json(self) -> dict[str, Any]:
        return {"at": written(self.at), "status": self.status, "error": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A step in the life of a recipient, and when it comes."""

    step: Step
    at: datetime
    delay: float
    """Seconds since the one before, or since the message was accepted."""


@dataclass(slots=True, kw_only=True, eq=False)
class Callback:
    """One body that is posted until it is acknowledged or the day is over."""

    events: tuple[Event, ...]
    bare: bool = False
    """Posted without the array around it."""
    delay: float
    """Seconds to wait before the first attempt."""
    attempts: list[Attempt] = field(default_factory=list)
    acknowledged: bool = False
    given_up: bool = False
    attempted: threading.Event = field(default_factory=threading.Event, repr=False)
    """Set after the first attempt, or when there will be none."""

    @property
    def body(self) -> bytes:
        written = json.dumps(self.events[0] if self.bare else self.events, ensure_ascii=False)
        return written.encode("utf-8", "backslashreplace")  # inside a JSON string \\udXXX is a lone surrogate's escape

    def to_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "acknowledged": self.acknowledged,
            "givenUp": self.given_up,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An accepted message."""

    id: str
    time: datetime
    accepted_at: float = field(default_factory=monotonic)
    """When it was accepted, on the clock that all processes of this machine share and nobody sets."""
    request: MessageRequest
    headers: Mapping[str, str]
    """Of the request that sent it, without Authorization."""
    received: Any
    """The JSON of that request."""
    turn: Turn = Turn()  # noqa: RUF009 - it is frozen
    """When the account's rate lets it go out."""
    index_seconds: float | None = 0.0
    """How soon GET /messages knows of it; None: never."""
    callbacks: list[Callback] = field(default_factory=list)
    timelines: dict[str, tuple[Happening, ...]] = field(default_factory=dict)
    """What happens to each recipient."""

    def is_indexed(self, at: datetime) -> bool:
        return self.index_seconds is not None and at >= self.time + timedelta(seconds=self.index_seconds)

    def goes_out(self, recipient: str) -> datetime:
        """When it leaves Bandwidth for that recipient: one after the other, as fast as the rate allows."""
        turn, position = self.turn, self.request.to.index(recipient)
        seconds = turn.starts + (turn.ends - turn.starts) * position / len(self.request.to)
        return self.time + timedelta(seconds=seconds)

    def answer(self) -> dict[str, Any]:
        """The body of the 202. Bandwidth, "Create message" reference; what was not sent is not echoed."""
        request = self.request
        body: dict[str, Any] = self.summary() | {"text": request.text, "media": list(request.media) or None}
        body |= {"tag": request.tag, "priority": request.priority, "expiration": request.expiration}
        return {name: value for name, value in body.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """What the answer and every event say alike."""
        return {
            "id": self.id,
            "owner": self.request.sender,
            "applicationId": self.request.application_id,
            "time": written(self.time),
            "segmentCount": self.request.segments,
            "direction": "out",
            "to": list(self.request.to),
            "from": self.request.sender,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "receivedAt": written(self.time),
            "units": self.request.units,
            "headers": dict(self.headers),
            "request": self.received,
            "callbacks": [callback.to_json() for callback in self.callbacks],
        }


def new_id(at: datetime) -> str:
    """29 characters that begin with epoch milliseconds, as in ``1589228074636lm4k2je7j7jklbn2``."""
    return f"{int(at.timestamp() * 1000):013d}" + secrets.token_hex(8)
