"""The checks of the torture find what is wrong: each is shown an example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.bandwidth.callbacks import parse
from receiver.core.events import Event
from receiver.database.database import Database
from receiver.database.schema import upgrade
from tests.soak.torture.checking import Findings, check, read_stored
from tests.soak.torture.client import Delivery
from tests.soak.torture.sending import is_recorded, store_messages
from tests.soak.torture.stream import Stream
from tests.support.stored import deliver

Rows = list[dict[str, Any]]


class Case:
    """A stream that was acknowledged once, whole, and what the program stored of it."""

    def __init__(self, path: Path) -> None:
        self.stream = Stream(seed=7, per_second=300, seconds=2)
        self.deliveries = [Delivery(each, attempts=1, possible=1, acknowledged=1) for each in self.stream.callbacks]
        url = f"sqlite:///{path}"
        upgrade(url)
        with Database(url) as database:
            keys = store_messages(database, self.stream.messages)
            deliver(database, *(each for delivery in self.deliveries for each in parse(delivery.callback.body)))
            assert all(map(is_recorded, [database] * len(keys), self.stream.messages, keys))
            self.stored = read_stored(database)

    def check(self, **changed: Rows) -> Findings:
        return check(self.stream.messages, self.deliveries, replace(self.stored, **changed))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case") / "receiver.sqlite3")


def test_the_stream_says_what_the_program_reads_in_it(case: Case) -> None:
    for callback in case.stream.callbacks:
        for read, told in zip(parse(callback.body), callback.told, strict=True):
            assert (read if isinstance(told, Event) else replace(read, reason="")) == told


def test_the_same_seed_makes_the_same_stream_and_another_one_another(case: Case) -> None:
    same, other = (Stream(seed=seed, per_second=300, seconds=2) for seed in (7, 8))

    assert (same.messages, same.callbacks) == (case.stream.messages, case.stream.callbacks)
    assert other.callbacks != case.stream.callbacks


def test_the_stream_has_every_oddity(case: Case) -> None:
    callbacks, stored = case.stream.callbacks, case.stored
    assert {callback.body[:1] for callback in callbacks} == {b"[", b"{"}
    assert {len(callback.told) for callback in callbacks} >= {1, 5}
    assert len({callback.body for callback in callbacks}) < len(callbacks)
    assert {len(sent.to) for sent in case.stream.messages} == set(range(1, 11))
    assert any(sent.answered_at for sent in case.stream.messages)
    assert {row["linked_by"] for row in stored.events} == {"tag", "messageId", None}
    assert {row["event_tag"] for row in stored.events} > {None, "somebody's"}
    assert len(stored.unreadable) > 1
    assert {row["disposition"] for row in stored.events} == {
        *("inbound", "unlinked", "unrecognized", "unexpected_recipient"),
        *("extraneous", "conflicting", "superseded", "applied"),
    }
    assert {row["status"] for row in stored.recipients} == {"sending", "unconfirmed", "delivered", "failed"}


def test_nothing_is_found_in_what_the_program_stored(case: Case) -> None:
    assert case.check() == Findings()


def change(column: str, value: Any) -> Callable[[Rows], None]:
    """Sets the column to ``value`` in the first row with another value."""

    def changed(rows: Rows) -> None:
        row = next(row for row in rows if row[column] not in (value, None))
        row[column] = value

    return changed


def later(rows: Rows) -> None:
    row = next(row for row in rows if row["occurred_at"])
    row["occurred_at"] += timedelta(milliseconds=1)


def remove(rows: Rows) -> None:
    del rows[-1]


def double(rows: Rows) -> None:
    rows.append(rows[-1])


LOST = {
    "an event is gone": ("events", remove, "not stored"),
    "an event is counted too rarely": ("events", change("deliveries", 0), "counted 0"),
    "an unreadable element is gone": ("unreadable", remove, "not stored"),
    "an unreadable element is counted too rarely": ("unreadable", change("deliveries", 0), "counted 0"),
}
WRONG = {
    "an event is stored twice": ("events", double, "stored 2 times"),
    "an event is counted too often": ("events", change("deliveries", 99), "counted 99"),
    "an event has another payload": ("events", change("payload", "{}"), "another payload"),
    "an event has another time": ("events", later, "occurred_at"),
    "an event is linked to another message": ("events", change("tag", "another"), "tag another"),
    "an event is not linked": ("events", change("tag", None), "tag None"),
    "an event is something else to its recipient": ("events", change("disposition", "lost"), "disposition lost"),
    "an unreadable element is stored twice": ("unreadable", double, "stored 2 times"),
    "a status is another": ("recipients", change("status", "not_sent"), "not_sent"),
    "a code is another": ("recipients", change("error_code", 1), "'error_code': 1"),
    "an outcome has another time": ("recipients", later, "instead of"),
    "an outcome is confirmed by somebody else": ("recipients", change("confirmed_by", "us"), "'us'"),
    "a recipient is gone": ("recipients", remove, "shows None"),
    "a recipient is stored twice": ("recipients", double, "stored twice"),
    "a recipient is somebody else": ("recipients", change("recipient", "+1"), "was never sent to"),
}


@pytest.mark.parametrize(("table", "harm", "words"), LOST.values(), ids=LOST)
def test_what_is_lost_is_found(case: Case, table: str, harm: Callable[[Rows], None], words: str) -> None:
    findings = harmed(case, table, harm)

    assert len(findings.lost) == 1
    assert words in findings.lost[0]


@pytest.mark.parametrize(("table", "harm", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(case: Case, table: str, harm: Callable[[Rows], None], words: str) -> None:
    findings = harmed(case, table, harm)

    assert findings.lost == []
    assert any(words in found for found in findings.wrong)


@pytest.mark.parametrize("table", ["events", "unreadable"])
def test_what_nobody_sent_is_found(case: Case, table: str) -> None:
    def invent(rows: Rows) -> None:
        rows.append(rows[-1] | {"message_id": "invented", "payload": "{}"})

    assert any("never sent" in found for found in harmed(case, table, invent).wrong)


def harmed(case: Case, table: str, harm: Callable[[Rows], None]) -> Findings:
    rows = [dict(row) for row in getattr(case.stored, table)]
    harm(rows)
    return case.check(**{table: rows})


def test_what_was_answered_otherwise_may_be_stored_or_not(case: Case) -> None:
    """A callback with two attempts and no acknowledgement: it may or may not be stored."""
    place = next(place for place, each in enumerate(case.deliveries) if each.callback.told[0].payload in once(case))
    deliveries = [*case.deliveries]
    deliveries[place] = replace(deliveries[place], attempts=2, possible=2, acknowledged=0)
    payload = deliveries[place].callback.told[0].payload
    for times in (0, 1, 2, 3):
        rows = [row | {"deliveries": times} if row["payload"] == payload else row for row in case.stored.unreadable]
        stored = replace(case.stored, unreadable=[row for row in rows if row["deliveries"]])
        found = check(case.stream.messages, deliveries, stored)
        assert (found == Findings()) == (times <= 2)


def once(case: Case) -> set[str]:
    """Unreadable elements that came once, each in a callback of its own."""
    return {row["payload"] for row in case.stored.unreadable if row["deliveries"] == 1}
