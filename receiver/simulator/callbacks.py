"""The callbacks about a message: which events are posted when, and their JSON.

Bandwidth, "Callbacks" guide: a callback is a JSON array; each event is about one recipient, named by the
top-level `to`; `message` repeats the whole group and is the same in all its events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest

from receiver.simulator.clock import now, written
from receiver.simulator.fates import Fate, Step, fate_of
from receiver.simulator.messages import Callback, Event, Happening, Message, new_id
from receiver.simulator.switches import CallbackShape

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
