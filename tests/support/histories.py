"""Everything that can happen to two messages, and what the core says should be stored afterwards."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from receiver.core.events import Event, Identity
from receiver.core.messages import Accepted, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import Disposition, Outcome, RecipientStatus, disposition, fold
from tests.support.builders import NOON

NUMBERS = ("+19195550101", "+19195550102", "+19195550103", "+19195550104")
STRANGERS = ("+19995550199", "")
IDS = {0: ("a", "aa", "a\x01"), 1: ("B", "é", "\U0010ffff"), 2: ("z", "ZZ")}
"""The message ids of the first message, of the second, and of nobody; texts whose order depends on who compares."""

TYPES = (
    *("message-delivered", "message-failed", "message-sending", "message-sent", "message-read", "message-queued"),
    *("message-rejected-forbidden-country", "message-rejected-", "message-rejected", "Message-Failed", "🙂"),
    *("message-received", "suggestion-response", "request-location-response"),
)
CODES = (0, 4303, 4404, 4432, 4720, 4721, 5600, 8999, 9000, 9902, 9999, 10000, 99999)
OURS = "ours"
"""Stands for the tag of the message whose id the event has."""

SIZES = st.sampled_from([2, 3, 4, 1])
moments = st.none() | st.integers(-2, 2).map(lambda microseconds: NOON + timedelta(microseconds=microseconds))


@dataclass(frozen=True)
class Heard:
    """One callback's events, or the answer to one of the messages."""

    events: tuple[Event, ...] = ()
    answered: int = 0
    answer: SendResult | None = None


@dataclass(frozen=True)
class History:
    to: tuple[tuple[str, ...], tuple[str, ...]]
    heard: tuple[Heard, ...]
    deadline_in: timedelta
    overdue_in: timedelta

    def told(self, tags: tuple[str, str], prefix: str) -> "History":
        """The same with the tags of two stored messages, and message ids that no other history has."""
        return replace(self, heard=tuple(replace(each, **_real(each, tags, prefix)) for each in self.heard))

    @property
    def events(self) -> Iterator[Event]:
        return (event for each in self.heard for event in each.events)

    def __repr__(self) -> str:
        return "\n".join(map(str, (self.to, self.deadline_in, self.overdue_in, *self.heard)))


def _real(heard: Heard, tags: tuple[str, str], prefix: str) -> dict[str, Any]:
    answer = heard.answer
    if isinstance(answer, Accepted) and answer.message_id is not None:
        answer = replace(answer, message_id=prefix + answer.message_id)
    events = (
        replace(event, message_id=prefix + event.message_id, tag=_real_tag(event, tags)) for event in heard.events
    )
    return {"events": tuple(events), "answer": answer}


def _real_tag(event: Event, tags: tuple[str, str]) -> str | None:
    owner = next(owner for owner, ids in IDS.items() if event.message_id in ids)
    return tags[owner] if event.tag == OURS and owner < len(tags) else event.tag


@st.composite
def events(draw: st.DrawFn) -> Event:
    return Event(
        type=draw(st.sampled_from(TYPES[:2]) | st.sampled_from(TYPES)),
        message_id=draw(st.sampled_from(IDS[0]) | st.sampled_from([each for ids in IDS.values() for each in ids])),
        recipient=draw(st.sampled_from(NUMBERS[:2]) | st.sampled_from(NUMBERS + STRANGERS)),
        error_code=draw(st.sampled_from(CODES)),
        occurred_at=draw(moments),
        tag=draw(st.sampled_from([OURS, None, "", "their-own-42"])),
        description=draw(st.sampled_from([None, "one", "two", "three"])),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    known = draw(st.lists(events(), min_size=6, max_size=10))
    # A repeat may differ in everything but its identity.
    one = st.sampled_from(known) | st.builds(
        lambda event, other: replace(other, **dict(zip(KEY, event.identity, strict=True))),
        st.sampled_from(known),
        events(),
    )
    heard = [Heard()]
    for event in known[: draw(st.integers(0, len(known)))] + draw(st.lists(one, min_size=6, max_size=16)):
        if draw(st.booleans()):
            heard.append(Heard())
        heard[-1] = Heard(events=(*heard[-1].events, event))
    for number in (0, 1):
        answer = draw(answers(number))
        if answer is not None:
            heard.insert(draw(st.integers(0, len(heard))), Heard(answered=number, answer=answer))
    return History(
        to=(NUMBERS[: draw(SIZES)], NUMBERS[: draw(SIZES)]),
        heard=tuple(heard),
        deadline_in=draw(st.sampled_from([timedelta(minutes=-1), timedelta(minutes=1)])),
        overdue_in=draw(st.sampled_from([timedelta(minutes=-1), timedelta(hours=27)])),
    )


KEY = ("message_id", "recipient", "type", "error_code")


def answers(number: int) -> st.SearchStrategy[SendResult | None]:
    said: list[SendResult | None] = [
        None,
        Accepted(),
        Refused(because=RefusedBecause.BANDWIDTH, status=400, type="request-validation", description="No."),
        Refused(because=RefusedBecause.UNREACHABLE),
        Unknown(status=502),
    ]
    return st.sampled_from(IDS[number]).map(lambda each: Accepted(message_id=each)) | st.sampled_from(said)


@dataclass
class Expected:
    """What the core says about one message of a history, all of it having happened."""

    tag: str
    to: tuple[str, ...]
    answer: SendResult | None = None
    stored: dict[Identity, Event] = field(default_factory=dict)
    """Every event of the history, linked to the message or not."""
    linked: set[Identity] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)

    def outcome(self, number: str) -> Outcome:
        return fold(
            event for identity, event in self.stored.items() if identity in self.linked and event.recipient == number
        )

    def status(self, number: str) -> RecipientStatus:
        outcome = self.outcome(number)
        if outcome.winner is None and self.send_status is SendStatus.REFUSED:
            return RecipientStatus.NOT_SENT
        return outcome.status

    @property
    def send_status(self) -> SendStatus:
        """The written one."""
        if self.linked or isinstance(self.answer, Accepted):
            return SendStatus.ACCEPTED
        if self.answer is None:
            return SendStatus.SUBMITTING
        return SendStatus.REFUSED if isinstance(self.answer, Refused) else SendStatus.UNKNOWN

    def disposition(self, identity: Identity) -> Disposition:
        event = self.stored[identity]
        outcome = self.outcome(event.recipient)
        return disposition(
            event_type=event.type,
            linked=True,
            is_winner=outcome.winner is event,
            recipient=self.status(event.recipient) if event.recipient in self.to else None,
            invalid_recipient=outcome.invalid_recipient,
        )


def expect(history: History, tags: tuple[str, str]) -> tuple[list[Expected], Counter[Identity]]:
    """What should be stored of both messages, and how often each event came."""
    stored: dict[Identity, Event] = {}
    for event in history.events:
        first = stored.get(event.identity, event)
        times = [each.occurred_at for each in (first, event) if each.occurred_at is not None]
        stored[event.identity] = replace(first, occurred_at=min(times, default=None))
    found = [Expected(tag, to, stored=stored) for tag, to in zip(tags, history.to, strict=True)]
    for number, message in enumerate(found):
        message.answer = next((each.answer for each in history.heard if each.answer and each.answered == number), None)
        tagged = {event for event in history.events if event.tag == message.tag and not event.is_inbound}
        message.ids = {event.message_id for event in tagged} | _answered(message.answer)
        message.linked = {
            identity for identity, event in stored.items() if event.message_id in message.ids and not event.is_inbound
        }
    return found, Counter(event.identity for event in history.events)


def _answered(answer: SendResult | None) -> set[str]:
    return {answer.message_id} if isinstance(answer, Accepted) and answer.message_id is not None else set()


def unlinked(messages: Iterable[Expected]) -> set[Identity]:
    """The events that are no message's."""
    messages = list(messages)
    return set(messages[0].stored).difference(*(message.linked for message in messages))
