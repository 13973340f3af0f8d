"""Checks the end of a round against what Bandwidth accepted, what is stored and which senders were killed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
FINAL = ("accepted", "refused", "unknown")


@dataclass(kw_only=True)
class Asked:
    """A message that a client wanted to send, under a reference of its own."""

    reference: str
    is_silent: bool
    """Whether no event shows that it was accepted. Then Bandwidth's records do, if it was requested once."""
    times: int = 1
    """How often it was requested as a new message: without a key the service cannot recognise a repeat."""
    is_promised: bool = False
    """Whether a response confirmed that it is queued or sent."""
    answer: int | None = None
    """The status of the service's last response, for a synchronous send."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The facts of a round."""

    asked: Sequence[Asked]
    rows: Sequence[Row]
    """The rows of support_messages."""
    record: Counter[str]
    """How often Bandwidth accepted each tag, by its own record."""
    caught: Collection[str]
    """The tags that were submitting when their sender was killed."""
    refusals: int
    """How many requests Bandwidth answered with a refusal."""
    is_reconciled: bool = False
    """Whether `receiver reconcile` has asked Bandwidth for its records."""

    @property
    def statuses(self) -> Counter[str]:
        """The number of messages by send status."""
        return Counter(row["send_status"] for row in self.rows)

    @property
    def silent(self) -> set[str]:
        """The references of messages that may have been accepted although no response and no event says so."""
        return {
            each.reference for each in self.asked if each.is_silent and not (self.is_reconciled and each.times == 1)
        }


@dataclass
class Findings:
    """What is wrong, in sentences; all three lists are empty if nothing is."""

    twice: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.twice + other.twice, self.forgotten + other.forgotten, self.wrong + other.wrong)


def check(outcome: Outcome) -> Findings:
    return Findings([*_twice(outcome)], [*_forgotten(outcome)], [*_wrong(outcome)])


def _twice(outcome: Outcome) -> Iterator[str]:
    yield from (f"{tag} was accepted {times} times" for tag, times in outcome.record.items() if times > 1)
    accepted = Counter(row["reference"] for row in outcome.rows for _ in range(outcome.record[row["tag"]]))
    for each in outcome.asked:
        if accepted[each.reference] > each.times:
            yield f"{each.reference} was asked for {each.times} times and accepted {accepted[each.reference]} times"


def _forgotten(outcome: Outcome) -> Iterator[str]:
    stored = {row["reference"] for row in outcome.rows}
    for each in outcome.asked:
        if each.is_promised and each.reference not in stored:
            yield f"{each.reference} was promised and is not stored"
    for row in outcome.rows:
        if row["send_status"] not in FINAL:
            yield f"{_name(row)} is {row['send_status']} for ever"
        elif not outcome.record[row["tag"]] and row["send_status"] != "refused" and row["tag"] not in outcome.caught:
            yield f"{_name(row)} is {row['send_status']} and was never sent, though no sender was killed with it"
    if outcome.statuses["refused"] > outcome.refusals:
        yield f"{outcome.statuses['refused']} are refused, and Bandwidth refused {outcome.refusals}"


def _wrong(outcome: Outcome) -> Iterator[str]:
    yield from _wrong_answers(outcome)
    yield from (f"{tag} was accepted and is not stored" for tag in outcome.record.keys() - _tags(outcome.rows))
    for row in outcome.rows:
        status, is_accepted = row["send_status"], outcome.record[row["tag"]] > 0
        if status in ("accepted", "refused") and (status == "accepted") != is_accepted:
            yield f"{_name(row)} is {status}, and Bandwidth's record says otherwise"
        elif status == "unknown" and row["tag"] not in outcome.caught:
            yield f"{_name(row)} is unknown, though no sender was killed with it"
        elif status == "unknown" and is_accepted and row["reference"] not in outcome.silent:
            told = "Bandwidth's records tell" if outcome.is_reconciled else "events told"
            yield f"{_name(row)} is unknown, though {told} that it was accepted"


def _wrong_answers(outcome: Outcome) -> Iterator[str]:
    tags: defaultdict[str, set[str]] = defaultdict(set)
    for row in outcome.rows:
        tags[row["reference"]].add(row["tag"])
    for each in outcome.asked:
        if each.answer == 202 and tags[each.reference].isdisjoint(outcome.record):
            yield f"{each.reference} was answered 202, and Bandwidth's record says otherwise"
        elif each.answer == 504 and tags[each.reference].isdisjoint(outcome.caught):
            yield f"{each.reference} was answered 504, though no sender was killed with it"


def _tags(rows: Sequence[Row]) -> set[str]:
    return {row["tag"] for row in rows}


def _name(row: Row) -> str:
    return f"{row['reference']} ({row['tag']})"
