"""Months of traffic, as rows; what each recipient shows is folded by the core.

Two histories of different length differ in the length of their tables alone: whatever a query is asked for exists in
both, in numbers that fill a page of 50 or are the same. Rows lie as they came, by time; what is missing is the bloat
that updates leave behind between two vacuums.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from receiver.core import times
from receiver.core.events import INBOUND_TYPES, Event, Reply
from receiver.core.send_status import SendStatus
from receiver.core.status import RECEIPT_TYPES, default_status
from receiver.core.tags import new_tag
from tests.benchmarks.rows import (
    Row,
    event_row,
    message_id_row,
    message_row,
    recipient_row,
    resolution_row,
    unreadable_row,
)

DAYS = 180

IN_FLIGHT = 200
"""Messages of the last hour without a final outcome: their number depends on the traffic, not on the history."""

PLENTY = 75
"""The least number of messages of each kind, so that a page of 50 is full for a history of any length."""

FREQUENT_NUMBER, RETIRED_NUMBER = "+12005550001", "+12005550002"
FREQUENT_SENDER, RETIRED_SENDER = "+12005550003", "+12005550004"
"""Error codes: a frequent one is in every tenth message, a retired one in the oldest hundredth only."""

PER_NUMBER, PER_CAMPAIGN, SENDERS = 15, 50, 300
"""Messages to every other number, messages of one campaign, other senders."""

Rows = dict[str, list[Row]]
"""The rows by table, parents first."""

Said = tuple[str, int, float]
"""The type of an event after ``message-``, its error code, and its seconds after the request."""

SENDING, SENT, DELIVERED = ("sending", 0, 1.2), ("sent", 0, 2.1), ("delivered", 0, 8.4)


@dataclass(frozen=True)
class Story:
    """The events about the first recipient of a message, and about each of the others."""

    first: tuple[Said, ...] = ()
    others: tuple[Said, ...] = ()
    send_status: SendStatus = SendStatus.ACCEPTED
    ids: int = 1


DONE = (SENDING, DELIVERED)
ORDINARY, TWICE, OLDEST = Story(DONE, DONE), Story(DONE, DONE, ids=2), Story((SENDING, SENT), DONE)
SUBMITTING, PENDING, ON_ITS_WAY = Story((), (), SendStatus.SUBMITTING, ids=0), Story(), Story((SENDING,), (SENDING,))

ONE_IN: dict[Story, int] = {
    Story((SENDING, ("failed", 4720, 3.1), DELIVERED), DONE): 20,  # with an extraneous event
    Story((SENDING, ("failed", 4770, 5.2)), DONE): 25,
    Story((SENDING, ("failed", 9902, 7200.5)), DONE): 100,
    Story((), (), SendStatus.REFUSED, ids=0): 200,
    Story((), (), SendStatus.UNKNOWN, ids=0): 1000,
    Story((SENDING,), DONE): 1000,  # overdue
    Story((DELIVERED, ("failed", 4770, 9.3)), (DELIVERED,)): 2000,  # with a conflicting event, and without receipts
    TWICE: 5000,
}
"""One message in that many has the story."""

INBOUND_ONE_IN, UNLINKED_ONE_IN, UNREADABLE_ONE_IN, RESOLVED_ONE_IN = 50, 500, 1000, 1000


@dataclass
class History:
    """A history of ``messages`` messages in the ``DAYS`` days before ``end``, on average of 3 recipients."""

    messages: int
    end: datetime
    _event_pks: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _recipients: itertools.count[int] = field(default_factory=itertools.count)
    _chance: random.Random = field(default_factory=lambda: random.Random(1))

    def rows(self, numbers: Iterable[int]) -> Rows:
        """The rows of the messages with these numbers, from 0; successive calls must have successive numbers."""
        tables = ("messages", "recipients", "message_ids", "events", "unreadable_callbacks", "resolutions")
        rows: Rows = {table: [] for table in tables}
        for number in numbers:
            self._tell(rows, number)
            if self._one_in(INBOUND_ONE_IN):
                self._stray(rows, number, "received")
            if self._one_in(UNLINKED_ONE_IN):
                self._stray(rows, number, "delivered")
            if self._one_in(UNREADABLE_ONE_IN):
                rows["unreadable_callbacks"].append(unreadable_row(number, self.created_at(number)))
            if self._one_in(RESOLVED_ONE_IN):
                rows["resolutions"].append(resolution_row(number + 1, self.created_at(number)))
        return rows

    def created_at(self, number: int) -> datetime:
        """When the message was created: evenly spread, except for those in flight, which are of the last hour."""
        in_flight = number - (self.messages - IN_FLIGHT)
        if in_flight >= 0:
            ago = timedelta(hours=1) * (1 - in_flight / IN_FLIGHT)
        else:
            ago = timedelta(hours=1) + timedelta(days=DAYS) * (1 - number / self.messages)
        return times.whole_millisecond(self.end - ago)

    def _one_in(self, rate: int) -> bool:
        return self._chance.random() < max(1 / rate, PLENTY / self.messages)

    def _story(self, number: int) -> Story:
        to_come = self.messages - number
        if to_come <= IN_FLIGHT:
            return SUBMITTING if to_come <= 5 else PENDING if to_come <= IN_FLIGHT // 2 else ON_ITS_WAY
        if number < PER_NUMBER:
            return OLDEST
        return next((story for story, rate in ONE_IN.items() if self._one_in(rate)), ORDINARY)

    def _tell(self, rows: Rows, number: int) -> None:
        """Adds a message with its recipients, its ids and its events."""
        pk, story, created_at = number + 1, self._story(number), self.created_at(number)
        tag = new_tag(created_at)
        ids = [message_id(created_at, self._chance) for _ in range(story.ids)]
        said_of_all: list[tuple[int, Event]] = []
        for position, recipient in enumerate(self._numbers(number)):
            events = [
                (
                    next(self._event_pks),
                    make_event(said, message_id=ids[-1], recipient=recipient, tag=tag, after=created_at),
                )
                for said in (story.others if position else story.first)
            ]
            rows["recipients"].append(
                recipient_row(
                    pk,
                    recipient,
                    position=position,
                    events=events,
                    unsaid=default_status(story.send_status),
                    created_at=created_at,
                )
            )
            said_of_all += events
        rows["events"] += [event_row(event_pk, event, pk) for event_pk, event in said_of_all]
        rows["message_ids"] += [message_id_row(each, pk, answered=each == ids[0], at=created_at) for each in ids]
        rows["messages"].append(
            message_row(
                pk,
                tag=tag,
                reference=reference_of(number),
                sender=self._sender(number),
                send_status=story.send_status,
                receipts=any(event.type in RECEIPT_TYPES for _, event in said_of_all),
                created_at=created_at,
            )
        )

    def _stray(self, rows: Rows, number: int, kind: str) -> None:
        """An event about no message of ours."""
        at = self.created_at(number)
        event = make_event(
            (kind, 0, 0.5),
            message_id=message_id(at, self._chance),
            recipient=self._number(),
            tag="their-own-42",
            after=at,
        )
        if event.type in INBOUND_TYPES:
            said = "STOP" if number % 2 else "Thanks!"
            event = replace(event, reply=Reply(sender=self._number(), text=said, members=(event.recipient,)))
        rows["events"].append(event_row(next(self._event_pks), event, None))
        if event.type not in INBOUND_TYPES:
            rows["message_ids"].append(message_id_row(event.message_id, None, answered=False, at=at))

    def _numbers(self, number: int) -> list[str]:
        """One to five different recipients."""
        numbers = [self._number() for _ in range(self._chance.randrange(5))]
        if self._is_retired(number):
            return [RETIRED_NUMBER, *numbers]
        return [FREQUENT_NUMBER if self._chance.random() < 0.1 else self._number(), *numbers]

    def _number(self) -> str:
        """A recipient; all are equally frequent, and their messages far apart in time."""
        return number_at(next(self._recipients) % self.different_numbers)

    @property
    def different_numbers(self) -> int:
        return self.messages * 3 // PER_NUMBER

    def _sender(self, number: int) -> str:
        if self._is_retired(number):
            return RETIRED_SENDER
        different = min(SENDERS, self.messages // PLENTY)
        return FREQUENT_SENDER if self._chance.random() < 0.1 else f"+1984{number % different:07d}"

    def _is_retired(self, number: int) -> bool:
        return number < max(PLENTY, self.messages // 100)


def number_at(place: int) -> str:
    return f"+1919{place:07d}"


def reference_of(number: int) -> str | None:
    """The reference: of a campaign, its own, or none."""
    if number % 5 == 0:
        return f"campaign-{number // 5 // PER_CAMPAIGN}"
    return None if number % 7 == 0 else f"order-{number}"


def message_id(at: datetime, chance: random.Random) -> str:
    """A message id as Bandwidth makes them: milliseconds, then random characters."""
    return f"{int(at.timestamp() * 1000)}{chance.getrandbits(64):016x}"


def make_event(said: Said, *, message_id: str, recipient: str, tag: str, after: datetime) -> Event:
    """An event some seconds after an instant, with a payload as long as that of a real event."""
    kind, code, seconds = said
    at = after + timedelta(seconds=seconds)
    event_type, time = f"message-{kind}", times.rfc3339(at)
    description = "rejected-unallocated-number" if code else "Message delivered to handset."
    payload = (
        f'{{"type": "{event_type}", "time": "{time}", "description": "{description}", "to": "{recipient}", '
        f'"errorCode": {code}, "message": {{"id": "{message_id}", "time": "{time}", "to": ["{recipient}"], '
        '"from": "+12005557100", "text": "", "applicationId": "93de2206-9669-4e07-948d-329f4b722ee2", '
        f'"owner": "+12005557100", "direction": "out", "segmentCount": 1, "tag": "{tag}"}}}}'
    )
    return Event(
        type=event_type,
        message_id=message_id,
        recipient=recipient,
        error_code=code,
        occurred_at=at,
        tag=tag,
        description=description,
        payload=payload,
    )
