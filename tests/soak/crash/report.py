"""The report of a crash test: what was done and what was checked, in figures."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.benchmarks.tables import new_table
from tests.soak.crash.doom import Point

if TYPE_CHECKING:
    from tests.soak.crash.crash import Result

SHOWN = 10
"""How many findings of each kind are printed in full."""


def show(results: Sequence[Result]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    columns: dict[str, list[Result]] = {}
    for each in results:
        columns.setdefault(f"{each.engine}, {each.who.__name__.lower()}", []).append(each)
    console.print(_kills(columns), _figures(columns))
    for each in results:
        found = each.findings
        for finding in [*found.twice[:SHOWN], *found.forgotten[:SHOWN], *found.wrong[:SHOWN]]:
            console.print(f"{each.engine}, seed {each.seed}: {finding}", markup=False, style="red")


def _kills(columns: dict[str, list[Result]]) -> Table:
    table = new_table("Kills", "where", *columns)
    kills = [Counter(life.point for each in results for life in each.lives) for results in columns.values()]
    for point in Point:
        table.add_row(point, *(str(each[point]) for each in kills))
    return table


def _figures(columns: dict[str, list[Result]]) -> Table:
    table = new_table("Figures", "what", *columns)
    figures = [list(_sums(results)) for results in columns.values()]
    for (what, _), *numbers in zip(figures[0], *figures, strict=True):
        table.add_row(what, *(f"{number:,}" for _, number in numbers))
    return table


def _sums(results: Sequence[Result]) -> Iterator[tuple[str, int]]:
    statuses, reconciled = (
        sum((outcome.statuses for outcome in outcomes), Counter())
        for outcomes in ([each.outcome for each in results], [each.reconciled for each in results])
    )
    yield f"rounds, seeds {results[0].seed} to {results[-1].seed}", len(results)
    yield "kills", sum(len(each.lives) for each in results)
    yield "messages asked for", sum(len(each.outcome.asked) for each in results)
    yield "messages stored", statuses.total()
    yield "accepted at Bandwidth", sum(each.outcome.record.total() for each in results)
    yield "submitting when their sender was killed", sum(len(each.outcome.caught) for each in results)
    for status in ("accepted", "unknown", "refused"):
        yield f"  at the end: {status}", statuses[status]
    yield "  unknown after `reconcile`", reconciled["unknown"]
    yield "sent twice", sum(len(each.findings.twice) for each in results)
    yield "forgotten", sum(len(each.findings.forgotten) for each in results)
    yield "wrong", sum(len(each.findings.wrong) for each in results)
    yield "errors of the program in the senders' logs", sum(each.faults for each in results)
    yield (
        "rounds that `recompute --check` found clean",
        sum("0 differences" in each.recomputed for each in results),
    )
