"""The figures of `make bench`: medians, aims, the tables that it prints, and the chart."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

CONNECTIONS = (1, 8, 32, 128)
DELAYS = (0.0, 0.0005, 0.002)
"""Seconds that the network between service and database takes in each direction."""

RECEIVING, UNKNOWN, LOGGING = "receiving", "all message ids unknown", "log and metrics"

US, QUIET, VIEW, EMPTY = "receiver", "receiver without log and metrics", "receiver, Flask view", "Flask, empty view"
ASYNC, ALIKE, ORM = "FastAPI + asyncpg", "FastAPI + asyncpg, our statement", "Flask + ORM"
PGBENCH, SQLITE, ONE_WRITER = "pgbench, single event", "receiver on SQLite", "one SQLite writer"
BEFORE = "receiver at "
"""What the name of another revision begins with."""

AIMS: dict[tuple[str, str], dict[int, float]] = {
    (US, ASYNC): {1: 0.8, 8: 1, 32: 1.5, 128: 2.3},
    (US, ALIKE): {1: 1, 8: 1.2, 32: 1.8, 128: 3},
    (US, PGBENCH): {1: 0.7, 8: 0.85, 32: 1.7, 128: 3.5},
    (US, ORM): {1: 5, 8: 6, 32: 12, 128: 22},
    (VIEW, ORM): {32: 6, 128: 9},
}
"""The least ratio of the first one's rate to the second one's, by the number of connections."""

LEAST_ON_SQLITE, LEAST_UNKNOWN, MOST_FOR_NOTES = 0.9, 1.0, 0.05

Figures = dict[tuple[str, str, int], dict[str, float]]
"""The median of each figure over the rounds, by part, contestant and connections."""


@dataclass(frozen=True)
class Aim:
    """What is aimed at, and what was reached."""

    sentence: str
    limit: float
    reached: float
    at_most: bool = False
    """Whether the limit is the greatest allowed, not the least."""
    is_share: bool = False
    """Whether these are parts of 1, written in percent."""

    @property
    def is_met(self) -> bool:
        return self.reached <= self.limit if self.at_most else self.reached >= self.limit

    @property
    def written(self) -> str:
        """What was reached."""
        return f"{self.reached:.1%}" if self.is_share else f"{self.reached:.2f}"

    @property
    def written_limit(self) -> str:
        limit = f"{self.limit:.0%}" if self.is_share else f"{self.limit:g}"
        return f"at {'most' if self.at_most else 'least'} {limit}"


def network(delay: float) -> str:
    """The name of the part whose network takes so many seconds in each direction."""
    return f"network of {delay * 1000:g} ms"


def medians(measured: Iterable[Mapping[str, Any]]) -> Figures:
    grouped: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for each in measured:
        figures = {name: value for name, value in each.items() if isinstance(value, int | float)}
        grouped.setdefault((each["part"], each["name"], each["connections"]), []).append(figures)
    return {key: {name: median(one[name] for one in rows) for name in rows[0]} for key, rows in grouped.items()}


def aims(found: Figures) -> list[Aim]:
    """Returns every aim whose contestants were measured."""
    reached = [
        Aim(f"{one} / {other}, {_count(number)}", least, _rate(found, one, number) / _rate(found, other, number))
        for (one, other), limits in AIMS.items()
        for number, least in limits.items()
        if _are_measured(found, (one, number), (other, number))
    ]
    if _are_measured(found, (US, 8), (ASYNC, 8)):
        ratio = found[RECEIVING, US, 8]["p99"] / found[RECEIVING, ASYNC, 8]["p99"]
        reached.append(Aim(f"p99 of {US} / of {ASYNC}, 8 connections", 1, ratio, at_most=True))
    if _are_measured(found, (SQLITE, 32), (ONE_WRITER, 1)):
        ratio = _rate(found, SQLITE, 32) / _rate(found, ONE_WRITER, 1)
        reached.append(Aim(f"{SQLITE} / {ONE_WRITER}, 32 connections", LEAST_ON_SQLITE, ratio))
    if (LOGGING, QUIET, 8) in found:
        share = 1 - found[LOGGING, US, 8]["rate"] / found[LOGGING, QUIET, 8]["rate"]
        reached.append(
            Aim("share of log and metrics, 8 connections", MOST_FOR_NOTES, share, at_most=True, is_share=True)
        )
    for part, name, number in found:
        if part == UNKNOWN and name.startswith(BEFORE):
            ratio = found[UNKNOWN, US, number]["rate"] / found[part, name, number]["rate"]
            reached.append(Aim(f"{UNKNOWN}: {US} / {name}, {_count(number)}", LEAST_UNKNOWN, ratio))
    return reached


def _count(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"


def _are_measured(found: Figures, *wanted: tuple[str, int]) -> bool:
    return all((RECEIVING, *each) in found for each in wanted)


def _rate(found: Figures, name: str, connections: int) -> float:
    return found[RECEIVING, name, connections]["rate"]


def view_limit(found: Figures, connections: int) -> float:
    """How many times the ORM's rate a Flask view would reach that costs no more than an empty one, on all cores, with
    the CPU time that the load generator and the database take for the service's."""
    ours = found[RECEIVING, VIEW, connections]
    load = (ours["app_cpu"] + ours["database_cpu"]) * ours["load_share"] / (1 - ours["load_share"])
    seconds = found[RECEIVING, EMPTY, connections]["app_cpu"] + ours["database_cpu"] + load
    return (os.cpu_count() or 1) * 10_000 / seconds / _rate(found, ORM, connections)


def show(content: Mapping[str, Any]) -> None:
    """Prints all tables to the terminal."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    found = medians(content["measured"])
    for part in dict.fromkeys(key[0] for key in found):
        console.print(_figures(found, part))
    if content["sends"]:
        console.print(_sends(content["sends"]))
    for profile in content["profiles"]:
        console.print(_profile(profile))
    table = Table("aim", "limit", "reached", title="Aims", title_justify="left")
    for aim in aims(found):
        colour = "green" if aim.is_met else "red"
        table.add_row(aim.sentence, aim.written_limit, f"[{colour}]{aim.written}[/]")
    for number in CONNECTIONS:
        if _are_measured(found, (VIEW, number), (EMPTY, number), (ORM, number)):
            limit = f"{view_limit(found, number):.2f}"
            table.add_row(f"limit of any Flask view / {ORM}, {_count(number)}", "", limit, style="dim")
    if table.row_count:
        console.print(table)


COLUMNS = {
    "events/s": ("rate", ",.0f"),
    "p50 ms": ("p50", ".1f"),
    "p95": ("p95", ".1f"),
    "p99": ("p99", ".1f"),
    "CPU s app": ("app_cpu", ".2f"),
    "database": ("database_cpu", ".2f"),
    "load": ("load_share", ".0%"),
    "round trips": ("round_trips", ".2f"),
    "not 2xx": ("not_stored", ".0f"),
}
"""The columns of the table of a part: what they hold, and how it is written. CPU seconds are those of 10,000 events."""


def _figures(found: Figures, part: str) -> Table:
    table = Table(title=f"{part}, medians", title_justify="left")
    table.add_column("connections", justify="right")
    table.add_column("contestant")
    for heading in (*COLUMNS, f"{US} / it"):
        table.add_column(heading, justify="right")
    of_part = {key[1:]: figures for key, figures in found.items() if key[0] == part}
    for number in sorted({number for _, number in of_part}):
        for name in (name for name, its in of_part if its == number):
            figures = of_part[name, number]
            cells = [format(figures[key], how) if key in figures else "" for key, how in COLUMNS.values()]
            ours = of_part.get((US, number))
            aim = AIMS.get((US, name), {}).get(number, 0)
            ratio = "" if ours is None or name == US else _verdict(ours["rate"] / figures["rate"], least=aim)
            table.add_row(str(number), name, *cells, ratio)
        table.add_section()
    return table


def _verdict(ratio: float, *, least: float) -> str:
    """The ratio, coloured if there is an aim."""
    return f"[{'green' if ratio >= least else 'red'}]{ratio:.2f}[/] ({least:g})" if least else f"{ratio:.2f}"


def _sends(sends: Iterable[Mapping[str, float]]) -> Table:
    table = Table(title="Messages sent synchronously, one after the other", title_justify="left")
    for heading in ("network, ms each way", "round trips per send", "ms", "a bare request, ms"):
        table.add_column(heading, justify="right")
    for each in sends:
        cells = (f"{each['round_trips']:.2f}", f"{each['ms']:.1f}", f"{each['bare_ms']:.1f}")
        table.add_row(f"{each['delay'] * 1000:g}", *cells)
    return table


def _profile(profile: Mapping[str, Any]) -> Table:
    title = f"The service's processor time, {_count(profile['connections'])}: the ten heaviest lines"
    table = Table("line", "share", title=title, title_justify="left", caption=summary(profile))
    for line, share in profile["lines"].items():
        table.add_row(line, f"{share:.1%}")
    return table


def summary(profile: Mapping[str, Any]) -> str:
    """Where the processor time goes, in one line."""
    return ", ".join(f"{area} {share:.0%}" for area, share in profile["areas"].items() if share >= 0.01)


COLOURS = {US: "#1b6ca8", ALIKE: "#e0a030", ASYNC: "#f0cf8c", PGBENCH: "#888888", VIEW: "#6fb1e0", ORM: "#c0504d"}


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Draws the chart: each contestant's rate as a multiple of the ORM's, and how long a response took."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same figures make the same file, whose text stays text.
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    found = medians(content["measured"])
    figure, (rates, times) = pyplot.subplots(2, 1, figsize=(9, 7.5), layout="constrained")
    width = 0.8 / len(COLOURS)
    for place, (name, colour) in enumerate(COLOURS.items()):
        measured = [number for number in CONNECTIONS if _are_measured(found, (name, number))]
        where = [CONNECTIONS.index(number) + (place - len(COLOURS) / 2 + 0.5) * width for number in measured]
        ratios = [_rate(found, name, each) / _rate(found, ORM, each) for each in measured]
        bars = rates.bar(where, ratios, width * 0.92, label=name, color=colour)
        rates.bar_label(bars, [f"{each:.1f}" for each in ratios], fontsize=7)
        if name != PGBENCH:
            its = [found[RECEIVING, name, each] for each in measured]
            times.bar(where, [each["p50"] for each in its], width * 0.92, color=colour)
            times.scatter(where, [each["p99"] for each in its], color=colour, marker="_", s=110, zorder=3)
    rates.set_title(f"events stored, as multiples of {ORM}", loc="left")
    times.set_title("milliseconds to the response: the median, and as a line above it the 99th of 100", loc="left")
    for axes in (rates, times):
        axes.set_xticks(range(len(CONNECTIONS)), [_count(each) for each in CONNECTIONS])
        axes.spines[["top", "right"]].set_visible(False)
    times.set_yscale("log")
    times.yaxis.set_major_formatter("{x:g}")
    rates.legend(frameon=False, loc="upper left")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
