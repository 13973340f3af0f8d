"""The report of a torture: what was done and what was checked, in figures."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.benchmarks.tables import new_table

if TYPE_CHECKING:
    from tests.soak.torture.nemesis import Injected
    from tests.soak.torture.torture import Result

SHOWN = 10
"""How many findings of each kind are printed in full."""


def sentence(injected: Injected) -> str:
    after = injected.recovered_after
    return f"{injected.name}: {injected.did}; " + ("NOT RECOVERED" if after is None else f"recovered in {after:.1f} s")


def show(results: Iterable[Result]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    for result in results:
        console.print(_faults(result), _figures(result))
        for finding in [*result.findings.lost[:SHOWN], *result.findings.wrong[:SHOWN]]:
            console.print(finding, markup=False, style="red")


def _faults(result: Result) -> Table:
    table = new_table(
        f"{result.engine}: faults, seed {result.plan.seed}", "fault", "times", "recovered, median s", "longest"
    )
    by_name: defaultdict[str, list[float | None]] = defaultdict(list)
    for each in result.injected:
        by_name[each.name].append(each.recovered_after)
    for name, seconds in sorted(by_name.items()):
        known = [each for each in seconds if each is not None]
        times = (f"{median(known):.1f}", f"{max(known):.1f}") if len(known) == len(seconds) else ("[red]NOT[/]", "")
        table.add_row(name, str(len(seconds)), *times)
    return table


def _figures(result: Result) -> Table:
    table = new_table(f"{result.engine}: figures", "what", "number")
    for what, number in figures(result):
        table.add_row(what, number if isinstance(number, str) else f"{number:,}")
    return table


def figures(result: Result) -> Iterator[tuple[str, int | str]]:
    sent = result.deliveries
    yield "callbacks sent", len(sent)
    yield "events and other elements in them", sum(len(each.callback.told) for each in sent)
    yield "attempts", sum(each.attempts for each in sent)
    for said, times in sorted(result.answers.items()):
        yield f"  ended: {said}", times
    yield "faults injected", len(result.injected)
    yield "callbacks acknowledged", sum(each.acknowledged > 0 for each in sent)
    yield "not acknowledged at the end", result.unacknowledged
    yield "different ones stored", result.stored
    yield "lost", len(result.findings.lost)
    yield "wrong", len(result.findings.wrong)
    yield "errors of the program in the servers' logs", result.faults
    yield "receiver recompute --check", result.recomputed
