"""The checks of the crash test find what is wrong: each is shown an example."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.soak.crash.checking import Asked, Findings, Outcome, check


def row(name: str, send_status: str, **changes: Any) -> dict[str, Any]:
    return {"tag": f"tag-{name}", "reference": name, "send_status": send_status} | changes


SOUND = Outcome(
    asked=[
        *(Asked(reference=name, is_silent=False, is_promised=True) for name in ("sent", "refused", "told")),
        *(Asked(reference=name, is_silent=True) for name in ("silent", "lost", "never stored")),
        Asked(reference="asked twice", is_silent=False, times=2),
    ],
    rows=[
        row("sent", "accepted"),
        row("refused", "refused"),
        row("told", "accepted"),
        row("silent", "unknown"),
        row("lost", "unknown"),
        *(row("asked twice", "accepted", tag=tag) for tag in ("tag-first", "tag-second")),
    ],
    record=Counter(["tag-sent", "tag-told", "tag-silent", "tag-first", "tag-second"]),
    caught={"tag-told", "tag-silent", "tag-lost"},
    refusals=1,
)
"""The facts of a round without a finding."""


def with_status(name: str, send_status: str) -> Outcome:
    rows = [each | {"send_status": send_status} if each["reference"] == name else dict(each) for each in SOUND.rows]
    return replace(SOUND, rows=rows)


def without_row(name: str) -> Outcome:
    return replace(SOUND, rows=[each for each in SOUND.rows if each["reference"] != name])


def answered(name: str, status: int) -> Outcome:
    asked = [replace(each, answer=status) if each.reference == name else each for each in SOUND.asked]
    return replace(SOUND, asked=asked)


def recorded(*tags: str) -> Outcome:
    return replace(SOUND, record=SOUND.record + Counter(tags))


def lacking(tag: str) -> Outcome:
    return replace(SOUND, record=SOUND.record - Counter([tag]))


TWICE: dict[str, tuple[Outcome, str]] = {
    "a tag accepted twice": (recorded("tag-sent"), "tag-sent was accepted 2 times"),
    "another message for the same key": (
        replace(recorded("tag-other"), rows=[*SOUND.rows, row("sent", "accepted", tag="tag-other")]),
        "sent was asked for 1 times and accepted 2 times",
    ),
}
FORGOTTEN = {
    "what was promised is gone": (replace(without_row("refused"), refusals=0), "refused was promised"),
    "queued for ever": (with_status("silent", "queued"), "is queued for ever"),
    "submitting for ever": (with_status("silent", "submitting"), "is submitting for ever"),
    "given up before it was sent": (
        replace(with_status("lost", "unknown"), caught=SOUND.caught - {"tag-lost"}),
        "was never sent, though no sender was killed with it",
    ),
    "refused, though nobody refused it": (replace(SOUND, refusals=0), "1 are refused, and Bandwidth refused 0"),
}
WRONG = {
    "accepted, and not in the record": (lacking("tag-sent"), "sent (tag-sent) is accepted, and"),
    "refused, and in the record": (recorded("tag-refused"), "is refused, and Bandwidth's record says otherwise"),
    "unknown, though its sender lived": (with_status("sent", "unknown"), "unknown, though no sender was killed"),
    "unknown, though events came": (with_status("told", "unknown"), "though events told that it was accepted"),
    "unknown, though Bandwidth's records tell": (
        replace(SOUND, is_reconciled=True),
        "unknown, though Bandwidth's records tell that it was accepted",
    ),
    "answered 202, and not in the record": (answered("lost", 202), "lost was answered 202, and"),
    "answered 504, though its sender lived": (answered("sent", 504), "sent was answered 504, though"),
    "accepted, and stored by nobody": (recorded("tag-invented"), "tag-invented was accepted and is not stored"),
}


def test_nothing_is_found_where_all_is_well() -> None:
    assert check(SOUND) == Findings()


CASES = {
    name: (kind, *case)
    for kind, cases in {"twice": TWICE, "forgotten": FORGOTTEN, "wrong": WRONG}.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize(("kind", "outcome", "words"), CASES.values(), ids=CASES)
def test_each_kind_of_damage_is_found(kind: str, outcome: Outcome, words: str) -> None:
    findings: list[str] = getattr(check(outcome), kind)

    assert any(words in each for each in findings), check(outcome)
