"""The seeded stream: our messages, and all that Bandwidth says about them, in its order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from receiver.core.events import Event, Reply, Unreadable
from tests.support.builders import NOON, make_element

PER_MESSAGE = 10
"""The approximate number of callbacks about a message: 1 to 10 recipients, each with the events of one life."""

LIVES = (
    (("delivered", 0),),
    (("sending", 0), ("delivered", 0)),
    (("sent", 0), ("read", 0)),
    (("sending", 0),),
    (("failed", 4404), ("delivered", 0)),  # an invalid recipient as it is reported today
    (("failed", 4720), ("delivered", 0), ("sending", 0)),
    (("failed", 4432), ("delivered", 0)),
    (("failed", 9902), ("delivered", 0)),
    (("sending", 0), ("failed", 9902)),
    (("failed", 4750), ("failed", 4303)),
    (("queued", 0), ("rejected-forbidden-country", 0)),
    (("teleported", 0), ("failed", 0)),
)
"""The events about one recipient, contradictions included: type without `message-`, and error code."""

Told = Event | Unreadable


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of ours."""

    tag: str
    message_id: str
    to: tuple[str, ...]
    answered_at: float
    """Seconds after the start at which Bandwidth's response, with the message id, is stored; 0 means before it."""


@dataclass(frozen=True, slots=True)
class Callback:
    """One request from Bandwidth."""

    due: float
    """When it is due, in seconds after the start."""
    body: bytes
    told: tuple[Told, ...]
    """Its elements, as they must be read."""


class Stream:
    """A stream of about ``per_second`` callbacks over ``seconds``."""

    def __init__(self, *, seed: int, per_second: float, seconds: float) -> None:
        self._chance = Random(seed)
        number = max(round(per_second * seconds / PER_MESSAGE), 1)
        self.messages = [self._message(each, seconds * each / number) for each in range(number)]
        said = [each for place, sent in enumerate(self.messages) for each in self._said(sent, place * seconds / number)]
        self.callbacks = sorted(said, key=lambda each: each.due)

    def _message(self, number: int, start: float) -> Sent:
        size = self._chance.randint(1, 10)
        to = tuple(f"+1919{number * 10 + position:07}" for position in range(size))
        late = self._chance.random() < 0.4
        answered_at = start + self._chance.uniform(0, 3) if late else 0.0
        return Sent(f"01M80000000000{number:012}", f"1795300147488{number:09}torture", to, answered_at)

    def _said(self, sent: Sent, start: float) -> Iterator[Callback]:
        elements = [each for number in sent.to for each in self._life(sent, number)] + list(self._strangers(sent))
        self._chance.shuffle(elements)
        while elements:
            size = self._chance.choice((1,) * 9 + (5,))
            callback = self._callback(elements[:size], start)
            del elements[:size]
            yield callback
            if self._chance.random() < 0.1:  # an exact repeat, although it was acknowledged
                yield Callback(start + self._chance.uniform(0, 5), callback.body, callback.told)

    def _life(self, sent: Sent, number: str) -> Iterator[Any]:
        for kind, code in self._chance.choice(LIVES):
            yield self._element(sent, kind, number, code)
            if self._chance.random() < 0.05:  # the same event, told with another time
                yield self._element(sent, kind, number, code)

    def _strangers(self, sent: Sent) -> Iterator[Any]:
        """Elements that are not about a recipient of the message, now and then."""
        others = (
            lambda: self._element(sent, "delivered", None, 0),
            lambda: self._element(sent, "failed", "+18885550100", 4720),
            lambda: make_element("delivered", sent.to[0], message_id=f"nobody's {sent.message_id}", tag="somebody's"),
            lambda: make_element("received", "+19195550100", message_id=f"inbound {sent.message_id}"),
            lambda: self._chance.choice(({"type": "message-delivered", "about": sent.tag}, sent.tag, [sent.tag])),
        )
        return (make() for make in others if self._chance.random() < 0.1)

    def _element(self, sent: Sent, kind: str, number: str | None, code: int) -> dict[str, Any]:
        at = NOON + timedelta(milliseconds=self._chance.randrange(10_000_000))
        said: dict[str, Any] = {"time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        if code:
            said |= {"errorCode": code, "description": f"failed with {code}"}
        tag = self._chance.choice((sent.tag, sent.tag, sent.tag, "", "somebody's", None))
        if tag is not None:
            said["tag"] = tag
        element = make_element(kind, number, message_id=sent.message_id, **said)
        element["message"]["to"] = list(sent.to)
        return element

    def _callback(self, elements: list[Any], start: float) -> Callback:
        texts = [json.dumps(each) for each in elements]
        bare = len(texts) == 1 and isinstance(elements[0], dict) and self._chance.random() < 0.2
        body = texts[0] if bare else f"[{', '.join(texts)}]"
        told = tuple(understood(each, text) for each, text in zip(elements, texts, strict=True))
        return Callback(start + self._chance.uniform(0, 3), body.encode(), told)


def understood(element: Any, text: str) -> Told:
    """Reads the element without the program's own reader, which is under test."""
    if not isinstance(element, dict) or "message" not in element:
        return Unreadable(payload=text, reason="")
    message = element["message"]
    only = message["to"][0] if len(message["to"]) == 1 else ""
    said = Reply(
        sender=message["from"],
        text=message["text"],
        media=tuple(message.get("media", ())),
        members=tuple(message["to"]),
    )
    return Event(
        type=element["type"],
        message_id=message["id"],
        recipient=element.get("to", only),
        error_code=element.get("errorCode", 0),
        occurred_at=datetime.fromisoformat(element["time"]),
        tag=message.get("tag") or None,
        description=element["description"],
        payload=text,
        reply=said if element["type"] == "message-received" else None,
    )


def make_probe(number: int) -> Callback:
    """A callback like no other, so that it must be stored as something new."""
    element = make_element("delivered", "+19195550100", message_id=f"probe {number}")
    text = json.dumps(element)
    return Callback(0, f"[{text}]".encode(), (understood(element, text),))
