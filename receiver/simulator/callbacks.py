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

from receiver.core.times import now, rfc3339
from receiver.simulator.fates import RecipientFate, Step, fate_of
from receiver.simulator.switches import CallbackShape
from receiver.simulator.validation import CreateMessageRequest

UNKNOWN = Step(type="message-teleported", description="Message teleported to handset")
"""An event of a type that Bandwidth does not have."""

EventJson = dict[str, Any]
"""One element of a callback."""

Gap = Callable[[], float]
"""Draws the seconds between two events of a recipient."""


def timestamp(instant: datetime) -> str:
    """Formats an instant in UTC, as Bandwidth's examples have done since 2020: ``2021-07-21T21:00:45.179Z``."""
    return rfc3339(instant, timespec="milliseconds")


def new_id(at: datetime) -> str:
    """Returns an id of 29 characters that begins with epoch milliseconds, like ``1589228074636lm4k2je7j7jklbn2``."""
    return f"{int(at.timestamp() * 1000):013d}" + secrets.token_hex(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAttempt:
    """One attempt to deliver a callback, including the request that follows a challenge."""

    at: datetime
    status: int | None = None
    """The status of the last response; None if there was none."""
    error: str | None = None
    """Why there was no response."""

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    def to_json(self) -> dict[str, Any]:
        return {"at": timestamp(self.at), "status": self.status, "error": self.error}


@dataclass(slots=True, kw_only=True, eq=False)
class Callback:
    """A body that is posted until it is acknowledged or the day is over."""

    events: tuple[EventJson, ...]
    bare: bool = False
    """Whether the event is posted without the array around it."""
    delay: float
    """Seconds to wait before the first attempt."""
    attempts: list[CallbackAttempt] = field(default_factory=list)
    acknowledged: bool = False
    given_up: bool = False
    attempted: threading.Event = field(default_factory=threading.Event, repr=False)
    """Set after the first attempt, or when there will be none."""

    @property
    def body(self) -> bytes:
        text = json.dumps(self.events[0] if self.bare else self.events, ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace")  # inside a JSON string \\udXXX is a lone surrogate's escape

    def to_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "acknowledged": self.acknowledged,
            "givenUp": self.given_up,
        }


Chain = list[Callback]
"""Callbacks in the order of their first attempts."""


@dataclass(frozen=True, slots=True)
class SendWindow:
    """When a message goes out to the carriers, in seconds after it was accepted."""

    starts: float = 0.0
    ends: float = 0.0
    """When the next message may go out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """A step in the life of a recipient, and when it comes."""

    step: Step
    at: datetime
    delay: float
    """Seconds since the step before, or since the message was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedMessage:
    """A message that was accepted with 202."""

    id: str
    time: datetime
    accepted_at: float = field(default_factory=monotonic)
    """When it was accepted, on the clock that all processes of this machine share and that is never set."""
    request: CreateMessageRequest
    headers: Mapping[str, str]
    """The headers of that request, without Authorization."""
    body: Any
    """The JSON of that request, as it was received."""
    window: SendWindow = SendWindow()
    index_seconds: float | None = 0.0
    """After how many seconds GET /messages finds it; None: never."""
    callbacks: Sequence[Callback] = ()
    timelines: Mapping[str, Sequence[TimelineEntry]] = field(default_factory=dict)
    """What happens to each recipient, by its number."""

    def is_indexed(self, at: datetime) -> bool:
        """Whether GET /messages finds it at that time."""
        return self.index_seconds is not None and at >= self.time + timedelta(seconds=self.index_seconds)

    def sent_at(self, recipient: str) -> datetime:
        """Returns when the message leaves Bandwidth for that recipient: one by one, as fast as the rate allows."""
        position = self.request.to.index(recipient)
        seconds = self.window.starts + (self.window.ends - self.window.starts) * position / len(self.request.to)
        return self.time + timedelta(seconds=seconds)

    def response_body(self) -> dict[str, Any]:
        """The body of the 202. Bandwidth, "Create message" reference; absent fields of the request are not echoed."""
        request = self.request
        body: dict[str, Any] = self.summary() | {"text": request.text, "media": list(request.media) or None}
        body |= {"tag": request.tag, "priority": request.priority, "expiration": request.expiration}
        return {name: value for name, value in body.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """The fields that the response and every event have in common."""
        return {
            "id": self.id,
            "owner": self.request.sender,
            "applicationId": self.request.application_id,
            "time": timestamp(self.time),
            "segmentCount": self.request.segments,
            "direction": "out",
            "to": list(self.request.to),
            "from": self.request.sender,
        }

    def to_json(self) -> dict[str, Any]:
        """The message as GET /simulator/messages shows it."""
        return {
            "id": self.id,
            "receivedAt": timestamp(self.time),
            "units": self.request.units,
            "headers": dict(self.headers),
            "request": self.body,
            "callbacks": [callback.to_json() for callback in self.callbacks],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPlan:
    """The timelines of one message's recipients, and the callbacks about them."""

    timelines: Mapping[str, Sequence[TimelineEntry]]
    before_response: list[Chain]
    after_response: list[Chain]

    @property
    def callbacks(self) -> tuple[Callback, ...]:
        return tuple(callback for chain in self.before_response + self.after_response for callback in chain)


def plan_callbacks(message: AcceptedMessage, *, shape: CallbackShape, gap: Gap, unordered: bool) -> CallbackPlan:
    """Plans every callback about ``message``, as its recipients' numbers and ``shape`` require.

    ``unordered`` makes every callback a chain of its own, so that none waits for another.
    """
    timelines: dict[str, Sequence[TimelineEntry]] = {}
    early: list[Chain] = []
    late: list[Chain] = []
    for recipient in message.request.to:
        fate = fate_of(recipient)
        timelines[recipient] = _timeline(message, recipient, fate=fate, gap=gap)
        copies = [_chain(message, recipient, timelines[recipient], shape=shape) for _ in range(fate.copies)]
        (early if fate.before_response else late).extend(copies)
        if shape is CallbackShape.UNKNOWN_TYPE:
            unknown = _timeline(message, recipient, fate=RecipientFate(steps=(UNKNOWN,)), gap=gap)
            late.append(_chain(message, recipient, unknown, shape=shape))
    if shape is CallbackShape.BATCHED:
        early, late = [_batch(early)], [_batch(late)]
    return CallbackPlan(
        timelines=timelines,
        before_response=_arrange(early, unordered=unordered),
        after_response=_arrange(late, unordered=unordered),
    )


def _timeline(message: AcceptedMessage, recipient: str, *, fate: RecipientFate, gap: Gap) -> Sequence[TimelineEntry]:
    entries: list[TimelineEntry] = []
    at, before = message.sent_at(recipient), message.time
    for step in fate.steps:
        at += timedelta(seconds=0.0 if fate.before_response and not entries else gap())
        entries.append(TimelineEntry(step=step, at=at, delay=(at - before).total_seconds()))
        before = at
    return tuple(entries)


def _chain(
    message: AcceptedMessage, recipient: str, timeline: Sequence[TimelineEntry], *, shape: CallbackShape
) -> Chain:
    """The callbacks about one recipient, each with one event."""
    return [
        Callback(
            events=(_status_event(message, recipient, entry, shape=shape),),
            bare=shape is CallbackShape.BARE_OBJECT,
            delay=entry.delay,
        )
        for entry in timeline
    ]


def _batch(chains: Sequence[Chain]) -> Chain:
    """One chain whose callbacks hold the first events of all chains, then their second events, and so on."""
    rows = ([callback for callback in row if callback is not None] for row in zip_longest(*chains))
    return [
        Callback(
            events=tuple(event for callback in row for event in callback.events),
            delay=max(callback.delay for callback in row),
        )
        for row in rows
    ]


def _arrange(chains: list[Chain], *, unordered: bool) -> list[Chain]:
    if unordered:
        return [[callback] for chain in chains for callback in chain]
    return [chain for chain in chains if chain]


def _status_event(message: AcceptedMessage, recipient: str, entry: TimelineEntry, *, shape: CallbackShape) -> EventJson:
    """An event about one recipient of ``message``. ``text`` is empty in all of them, whatever was sent."""
    about: EventJson = message.summary() | {"text": "", "tag": message.request.tag}
    if message.request.media:
        about["media"] = list(message.request.media)
    if shape is CallbackShape.TAG_EMPTY:
        about["tag"] = ""
    if shape is CallbackShape.TAG_MISSING or about["tag"] is None:
        del about["tag"]
    step = entry.step
    event: EventJson = {
        "time": timestamp(entry.at),
        "type": step.type,
        "to": recipient,
        "description": step.description,
    }
    if shape is CallbackShape.NO_RECIPIENT:
        del event["to"]
    if step.error_code is not None:
        event["errorCode"] = step.error_code
    return event | {"message": about}


def inbound_callback(
    *, sender: str, to: Sequence[str], text: str, media: Sequence[str], application_id: str
) -> Callback:
    """Returns a ``message-received`` callback: somebody wrote to ``to``, whose first number is the account's."""
    at = now()
    about: EventJson = {
        "id": new_id(at),
        "owner": to[0],
        "applicationId": application_id,
        "time": timestamp(at),
        "segmentCount": 1,
        "direction": "in",
        "to": list(to),
        "from": sender,
        "text": text,
    }
    if media:
        about["media"] = list(media)
    event: EventJson = {
        "time": timestamp(at),
        "type": "message-received",
        "to": to[0],
        "description": "Incoming message received",
        "message": about,
    }
    return Callback(events=(event,), delay=0.0)
