"""The torture in short: every fault once, on each engine, while a thin stream goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.torture import report
from tests.soak.torture.checking import Findings
from tests.soak.torture.faults import ON_EITHER, STALLED
from tests.soak.torture.nemesis import Injected
from tests.soak.torture.torture import Plan, torture

PLAN = Plan(seed=20_261_121, seconds=20, per_second=60, longest=0.5)
OWN = {
    "sqlite": {"another process holds the write lock"},
    "postgresql": {
        *("PostgreSQL restarted (fast)", "PostgreSQL restarted (immediate)", "PostgreSQL killed", "PostgreSQL paused"),
        "idle connections cut",
    },
}


@pytest.mark.parametrize("engine", OWN)
def test_nothing_is_lost_and_nothing_is_wrong_whatever_happens(engine: str, tmp_path: Path) -> None:
    told: list[Injected] = []

    result = torture(engine, PLAN, tmp_path, told=told.append)

    print("\n".join(map(report.sentence, told)))  # noqa: T201 - pytest shows it if the test failed
    report.show([result])
    assert (result.findings, result.unacknowledged, result.faults) == (Findings(), 0, 0)
    assert [each for each in told if each.recovered_after is None] == []
    assert result.is_good, result.recomputed
    assert {each.name for each in told} == OWN[engine] | set(ON_EITHER)
    answers = result.answers
    assert answers["408 to half a body"] >= STALLED
    assert answers["503 Too many callbacks are waiting; try again."] > 0
    assert answers["503 The database did not respond; try again."] > 0
    assert answers["401 with a challenge"] > 0
    assert sum(each.acknowledged for each in result.deliveries) > 500
