"""Checks the end of a torture by comparing only what was sent with what is stored."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from receiver.core.events import INBOUND_TYPES, Event, Identity, earliest
from receiver.database.database import Database
from tests.soak.torture.client import Delivery
from tests.soak.torture.stream import Sent, Told
from tests.support import oracle
from tests.support.stored import view

Row = Mapping[str, Any]
Key = Identity | str
"""An event's identity, or the text of an unreadable element."""


@dataclass(frozen=True)
class Stored:
    """What the support views show."""

    events: Sequence[Row]
    unreadable: Sequence[Row]
    recipients: Sequence[Row]


@dataclass
class Expected:
    """The deliveries under one key, counted."""

    told: list[Told] = field(default_factory=list)
    acknowledged: int = 0
    possible: int = 0

    @property
    def event(self) -> Event:
        """The event with the earliest time of all its deliveries, which is what must be stored in the end."""
        events = [each for each in self.told if isinstance(each, Event)]
        return replace(events[0], occurred_at=reduce(earliest, (each.occurred_at for each in events)))


@dataclass
class Findings:
    """What is wrong, in sentences; both lists are empty if nothing is."""

    lost: list[str] = field(default_factory=list)
    """What was acknowledged and is not stored, or not as often."""
    wrong: list[str] = field(default_factory=list)


def read_stored(database: Database) -> Stored:
    return Stored(*(view(database, f"support_{name}") for name in ("events", "unreadable", "recipients")))


def check(messages: Sequence[Sent], deliveries: Iterable[Delivery], stored: Stored) -> Findings:
    """Compares. Everything must have been acknowledged before, so that what must be stored is known exactly."""
    expected = _expected(deliveries)
    findings = Findings()
    _check_rows(expected, stored, findings)
    events = {key: each.event for key, each in expected.items() if isinstance(each.told[0], Event)}
    ours = {sent.message_id: sent for sent in messages}
    linked = _linked(events.values(), ours)
    for row in stored.events:
        if event := events.get(key_of(row)):
            findings.wrong += _wrong_columns(row, event, ours.get(event.message_id), linked)
    findings.wrong += _wrong_outcomes(messages, linked, stored.recipients)
    return findings


def _expected(deliveries: Iterable[Delivery]) -> dict[Key, Expected]:
    found: defaultdict[Key, Expected] = defaultdict(Expected)
    for delivery in deliveries:
        if delivery.possible:
            for told in delivery.callback.told:
                expected = found[key_told(told)]
                expected.told.append(told)
                expected.acknowledged += delivery.acknowledged
                expected.possible += delivery.possible
    return found


def key_told(told: Told) -> Key:
    """The key under which the element must be stored."""
    return told.identity if isinstance(told, Event) else told.payload


def key_of(row: Row) -> Key:
    """The key under which the row is stored."""
    if "sha256" in row:
        return str(row["payload"])
    return (row["message_id"], row["recipient"], row["type"], row["error_code"] or 0)


def _check_rows(expected: Mapping[Key, Expected], stored: Stored, findings: Findings) -> None:
    """Each key is stored once, counted between its acknowledgements and its attempts, and nothing else is stored."""
    rows = [*stored.events, *stored.unreadable]
    times = Counter(key_of(row) for row in rows)
    findings.wrong += [f"stored {number} times: {key}" for key, number in times.items() if number > 1]
    findings.lost += [
        f"acknowledged {each.acknowledged} times and not stored: {key}"
        for key, each in expected.items()
        if each.acknowledged and key not in times
    ]
    for row in rows:
        key, deliveries = key_of(row), row["deliveries"]
        if (sent := expected.get(key)) is None:
            findings.wrong.append(f"stored and never sent: {key}")
        elif deliveries < sent.acknowledged:
            findings.lost.append(f"acknowledged {sent.acknowledged} times and counted {deliveries}: {key}")
        elif deliveries > sent.possible:
            findings.wrong.append(f"sent at most {sent.possible} times and counted {deliveries}: {key}")
        elif row["payload"] not in {told.payload for told in sent.told}:
            findings.wrong.append(f"stored with another payload than any that was sent: {key}")


Linked = Mapping[str, Sequence[Event]]
"""The events of each message, by the message's tag."""


def _linked(events: Iterable[Event], ours: Mapping[str, Sent]) -> Linked:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.message_id in ours and event.type not in INBOUND_TYPES:
            found[ours[event.message_id].tag].append(event)
    return found


def _wrong_columns(row: Row, event: Event, sent: Sent | None, linked: Linked) -> Iterator[str]:
    """An event is linked to the message of its message id, whatever tag it carries."""
    own = [each for each in linked[sent.tag] if each.recipient == event.recipient] if sent else []
    must = {
        "occurred_at": event.occurred_at,
        "tag": sent.tag if sent else None,
        "disposition": oracle.disposition(event, linked=own, recipients=sent.to if sent else ()),
    }
    yield from (
        f"{name} {row[name]} instead of {value}: {key_of(row)}" for name, value in must.items() if row[name] != value
    )


def _wrong_outcomes(messages: Sequence[Sent], linked: Linked, recipients: Sequence[Row]) -> Iterator[str]:
    """Every recipient shows the outcome that the tests' own rules compute from its events."""
    shown = {(row["tag"], row["recipient"]): row for row in recipients}
    if len(shown) != len(recipients):
        yield "a recipient is stored twice"
    for sent in messages:
        for number in sent.to:
            row = shown.pop((sent.tag, number), None)
            outcome = _outcome(number, linked.get(sent.tag, ()))
            found = row and {name: row[name] for name in outcome}
            if found != outcome:
                yield f"{sent.tag} {number} shows {found} instead of {outcome}"
    yield from (f"{tag} {number} was never sent to" for tag, number in shown)


def _outcome(number: str, linked: Sequence[Event]) -> dict[str, Any]:
    own = [each for each in linked if each.recipient == number]
    winner, status = oracle.winner(own), oracle.status(own)
    receipts = any(each.type == "message-sending" for each in linked)
    return {
        "status": status,
        "error_code": (winner and winner.error_code) or None,
        "occurred_at": winner and winner.occurred_at,
        "invalid_recipient": oracle.invalid_recipient(own),
        "confirmed_by": ("carrier" if receipts else "bandwidth") if status == "delivered" else None,
    }
