"""Accepted messages and the callbacks about them: which events are posted when, and their JSON.

Bandwidth, "Callbacks" guide: a callback is a JSON array; each event is about one recipient, named by the top-level
`to`; `message` repeats the whole group and is the same in all its events.
"""

import json
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from time import monotonic
from typing import Any

from receiver.simulator.clock import now, written
from receiver.simulator.fates import Fate, Step, fate_of
from receiver.simulator.switches import CallbackShape
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


@dataclass(frozen=True, slots=True)
class Turn:
    """When a message goes out, in seconds after it was accepted."""

    starts: float = 0.0
    ends: float = 0.0
    """When the next message may go out."""


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
    turn: Turn = Turn()
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


UNKNOWN = Step(type="message-teleported", description="Message teleported to handset")
"""A type that Bandwidth has not invented yet."""

Gap = Callable[[], float]
"""Draws the seconds between two events of a recipient."""

Chain = list[Callback]
"""Callbacks in the order of their first attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The callbacks about one message."""

    before_answer: list[Chain]
    after: list[Chain]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """Events posted together, ``delay`` seconds after the moment before."""

    delay: float
    events: tuple[Event, ...]


def plan(message: Message, *, shape: CallbackShape, gap: Gap) -> Plan:
    """Every callback about ``message``, as its recipients' numbers and ``shape`` ask for."""
    early: list[list[_Moment]] = []
    late: list[list[_Moment]] = []
    for recipient in message.request.to:
        fate = fate_of(recipient)
        message.timelines[recipient] = _timeline(message, recipient, fate=fate, gap=gap)
        moments = _moments(message, recipient, message.timelines[recipient], shape=shape)
        (early if fate.before_answer else late).extend([moments] * fate.copies)
        if shape is CallbackShape.UNKNOWN_TYPE:
            unknown = _timeline(message, recipient, fate=Fate(steps=(UNKNOWN,)), gap=gap)
            late.append(_moments(message, recipient, unknown, shape=shape))
    if shape is CallbackShape.BATCHED:
        early, late = [_together(early)], [_together(late)]
    return Plan(before_answer=_chains(early, shape), after=_chains(late, shape))


def _timeline(message: Message, recipient: str, *, fate: Fate, gap: Gap) -> tuple[Happening, ...]:
    happenings: list[Happening] = []
    at, before = message.goes_out(recipient), message.time
    for step in fate.steps:
        at += timedelta(seconds=0.0 if fate.before_answer and not happenings else gap())
        happenings.append(Happening(step=step, at=at, delay=(at - before).total_seconds()))
        before = at
    return tuple(happenings)


def _moments(message: Message, recipient: str, timeline: Sequence[Happening], *, shape: CallbackShape) -> list[_Moment]:
    return [
        _Moment(
            delay=happening.delay,
            events=(outbound_event(message, recipient=recipient, step=happening.step, at=happening.at, shape=shape),),
        )
        for happening in timeline
    ]


def _together(timelines: Sequence[list[_Moment]]) -> list[_Moment]:
    """One timeline whose moments hold the first events of all, then the second events of all, and so on."""
    rows = ([moment for moment in row if moment is not None] for row in zip_longest(*timelines))
    return [
        _Moment(
            delay=max(moment.delay for moment in row),
            events=tuple(event for moment in row for event in moment.events),
        )
        for row in rows
    ]


def _chains(timelines: Sequence[list[_Moment]], shape: CallbackShape) -> list[Chain]:
    return [
        [callback(moment.events, delay=moment.delay, shape=shape) for moment in moments]
        for moments in timelines
        if moments
    ]


def callback(events: Sequence[Event], *, delay: float, shape: CallbackShape) -> Callback:
    return Callback(events=tuple(events), bare=shape is CallbackShape.BARE_OBJECT, delay=delay)


def outbound_event(message: Message, *, recipient: str, step: Step, at: datetime, shape: CallbackShape) -> Event:
    """A status event about one recipient. ``text`` is empty in all of them, whatever was sent."""
    about: Event = message.summary() | {"text": "", "tag": message.request.tag}
    if message.request.media:
        about["media"] = list(message.request.media)
    if shape is CallbackShape.TAG_EMPTY:
        about["tag"] = ""
    if shape is CallbackShape.TAG_MISSING or about["tag"] is None:
        del about["tag"]
    event: Event = {"time": written(at), "type": step.type, "to": recipient, "description": step.description}
    if shape is CallbackShape.NO_RECIPIENT:
        del event["to"]
    if step.error_code is not None:
        event["errorCode"] = step.error_code
    return event | {"message": about}


def inbound_event(*, sender: str, to: Sequence[str], text: str, media: Sequence[str], application_id: str) -> Event:
    """``message-received``: somebody has written to one of your numbers, the first of ``to``."""
    at = now()
    about: Event = {
        "id": new_id(at),
        "owner": to[0],
        "applicationId": application_id,
        "time": written(at),
        "segmentCount": 1,
        "direction": "in",
        "to": list(to),
        "from": sender,
        "text": text,
    }
    if media:
        about["media"] = list(media)
    return {
        "time": written(at),
        "type": "message-received",
        "to": to[0],
        "description": "Incoming message received",
        "message": about,
    }
