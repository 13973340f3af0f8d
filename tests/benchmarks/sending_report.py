"""Prints the figures of sending as tables and draws them as a chart."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.claiming import Claims

BARE = "requests.post to the same simulator"
WITH_TOKEN, WITH_PASSWORD = "a token", "a password"
MOST_ADDED, LEAST_UNDER_WAY, MOST_OFF, MOST_FOR_TOKEN = 2.5, 15 / 16, 0.02, 1.02
"""What is aimed at: the time that is added to a bare request, by that request's; the part of the threads at work; how
far the pace may be off; what a call with a token that is held takes, by that of one with a password."""


@dataclass(frozen=True)
class InFlight:
    """How many requests a worker kept under way, on average over time."""

    database: str
    threads: int
    mean: float

    @property
    def part(self) -> float:
        return self.mean / self.threads


@dataclass(frozen=True)
class Pace:
    """Units (recipients x segments) that went out, by the simulator's record."""

    rate: float
    """The configured rate, in units per second."""
    seconds: float
    reached: float
    """The measured rate, in units per second."""
    most: int
    """The most units within any second."""


@dataclass(frozen=True)
class Result:
    cost: dict[str, float]
    """Milliseconds of one message, by contestant."""
    round_trips: float
    """Round trips to PostgreSQL for one message that is sent synchronously, as a proxy counts them."""
    credentials: dict[str, float]
    """Milliseconds of the gateway's call alone, by its credentials."""
    in_flight: Sequence[InFlight]
    claims: Sequence[Claims]
    pace: Pace

    def added(self, name: str) -> float:
        """The time added to a bare request, as a ratio of that request's time."""
        return (self.cost[name] - self.cost[BARE]) / self.cost[BARE]

    @property
    def token(self) -> float:
        """The time of a call with a token, as a ratio of that with a password."""
        return self.credentials[WITH_TOKEN] / self.credentials[WITH_PASSWORD]


def show(result: Result) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("one message", "ms", "added", f"aim: at most {MOST_ADDED:g}", title="Cost", title_justify="left")
    for name, taken in result.cost.items():
        added = "" if name == BARE else _verdict(result.added(name), met=result.added(name) <= MOST_ADDED)
        table.add_row(name, f"{taken:.2f}", "" if name == BARE else f"{taken - result.cost[BARE]:.2f}", added)
    console.print(table)
    console.print(f"round trips to PostgreSQL for each message: {result.round_trips:g}")
    verdict = _verdict(result.token, met=result.token <= MOST_FOR_TOKEN)
    console.print(f"a token beside a password: {verdict} (aim: at most {MOST_FOR_TOKEN:g})")
    heading = f"aim: at least {LEAST_UNDER_WAY:.3f}"
    table = Table("database", "threads", "under way", heading, title="Requests under way", title_justify="left")
    for each in result.in_flight:
        verdict = _verdict(each.part, met=each.part >= LEAST_UNDER_WAY)
        table.add_row(each.database, str(each.threads), f"{each.mean:.2f}", verdict)
    console.print(table)
    columns = ("sent", "queued", "first claims, ms", "last claims, ms", "of the short queue's")
    table = Table(*columns, title="Claims of 8 messages, medians", title_justify="left")
    for each in result.claims:
        ratio = f"{each.last / result.claims[0].last:.2f}"
        table.add_row(f"{each.sent:,}", f"{each.queued:,}", f"{each.first:.2f}", f"{each.last:.2f}", ratio)
    console.print(table)
    pace = result.pace
    table = Table("set", "reached", "aim: within 0.02", "most within a second", title="Pace", title_justify="left")
    ratio = pace.reached / pace.rate
    verdict = _verdict(ratio, met=abs(ratio - 1) <= MOST_OFF)
    table.add_row(f"{pace.rate:g}/s over {pace.seconds:g} s", f"{pace.reached:.2f}/s", verdict, str(pace.most))
    console.print(table)


def _verdict(ratio: float, *, met: bool) -> str:
    return f"[{'green' if met else 'red'}]{ratio:.3f}[/]"


def draw(result: Result, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (cost, under_way, claims) = pyplot.subplots(1, 3, figsize=(14, 4), layout="constrained")
    names = [name for name in result.cost if name != BARE]
    cost.barh(names, [result.added(name) for name in names], color="#1b6ca8")
    cost.axvline(MOST_ADDED, color="#c0504d", linestyle=":")
    cost.set_title("time added to a bare request, in its times", fontsize=10, loc="left")
    for name in dict.fromkeys(each.database for each in result.in_flight):
        some = [each for each in result.in_flight if each.database == name]
        under_way.plot([each.threads for each in some], [each.part for each in some], marker="o", label=name)
    under_way.axhline(LEAST_UNDER_WAY, color="#c0504d", linestyle=":")
    under_way.set_ylim(0, 1.05)
    under_way.set_title("part of the threads with a request under way", fontsize=10, loc="left")
    under_way.legend(frameon=False)
    labels = [f"{each.sent:,} sent,\n{each.queued:,} queued" for each in result.claims]
    claims.bar(labels, [each.last for each in result.claims], color="#1b6ca8")
    claims.set_title("milliseconds for a claim of 8", fontsize=10, loc="left")
    for axes in (cost, under_way, claims):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
