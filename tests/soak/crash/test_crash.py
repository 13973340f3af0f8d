"""The crash test in short: every point once, on each engine, for workers and for servers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.soak.crash import report
from tests.soak.crash.crash import crash
from tests.soak.crash.rounds import Senders, Servers, Workers

SEED = 20_261_126


@pytest.mark.parametrize("who", [Workers, Servers])
def test_nothing_is_sent_twice_or_forgotten_wherever_a_sender_is_killed(
    who: type[Senders], database_url: str, tmp_path: Path
) -> None:
    result = crash(who, database_url, tmp_path, seed=SEED, times=1, told=lambda _: None)

    report.show([result])  # pytest shows it if the test failed
    assert result.is_good, (result.findings, result.recomputed, result.faults)
    assert Counter(life.point for life in result.lives) == dict.fromkeys(who.points, 1)
    assert len(result.outcome.caught) > 10
    # With so few kills, every message that Bandwidth accepted may be known already.
    assert result.outcome.statuses["unknown"] >= result.reconciled.statuses["unknown"] > 0
