"""Prints the figures of `make bench` as tables and draws them as a chart."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.benchmarks.bench import Measurement

Medians = dict[tuple[str, int], dict[str, float]]
"""The median of each figure over the rounds, by contestant and connections."""

US, FLASK, ORM, ASYNC = "receiver", "receiver, Flask view", "Flask + ORM", "FastAPI + asyncpg"
EMPTY = "Flask, empty view"
PGBENCH, SQLITE, ONE_WRITER = "pgbench, single event", "receiver on SQLite", "one SQLite writer"


def medians(found: Sequence[Measurement]) -> Medians:
    grouped: dict[tuple[str, int], list[dict[str, float]]] = {}
    for each in found:
        figures = {name: value for name, value in asdict(each).items() if isinstance(value, int | float)}
        grouped.setdefault((each.name, each.connections), []).append(figures)
    return {key: {name: median(one[name] for one in rows) for name in rows[0]} for key, rows in grouped.items()}


def show(found: Medians) -> None:
    """Prints both tables to the terminal."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(_figures(found))
    table = Table("aim", "at least", "reached", title="Aims", title_justify="left")
    for aim, least, reached in aims(found):
        met = reached >= least
        table.add_row(aim, f"{least:g}", f"[{'green' if met else 'red'}]{reached:.2f}[/]")
    for connections in (32, 128):
        limit = flask_limit(found, connections)
        table.add_row(f"limit of any Flask view here, {connections} connections", "", f"{limit:.2f}", style="dim")
    console.print(table)


def _figures(found: Medians) -> Table:
    table = Table(title="Events stored over HTTP, medians", title_justify="left")
    for heading in ("connections", "contestant"):
        table.add_column(heading)
    numbers = ("events/s", "x ORM", "x pgbench", "p50 ms", "p95", "p99", "CPU s app", "database", "load", "not 2xx")
    for heading in numbers:
        table.add_column(heading, justify="right")
    for connections in sorted({key[1] for key in found if key[0] == ORM}):
        orm, single = found[ORM, connections]["rate"], found[PGBENCH, connections]["rate"]
        for (name, number), figures in found.items():
            if number == connections and name not in (SQLITE, ONE_WRITER):
                ratios = f"{figures['rate'] / orm:.1f}", f"{figures['rate'] / single:.2f}"
                table.add_row(str(connections), name, f"{figures['rate']:,.0f}", *ratios, *_rest(figures))
        table.add_section()
    for name, number in ((SQLITE, 32), (ONE_WRITER, 1)):
        table.add_row(str(number), name, f"{found[name, number]['rate']:,.0f}", "", "", *_rest(found[name, number]))
    return table


def _rest(figures: dict[str, float]) -> list[str]:
    times = [f"{figures[name]:.1f}" if name in figures else "" for name in ("p50", "p95", "p99")]
    cpu = [f"{figures[name]:.2f}" if name in figures else "" for name in ("app_cpu", "database_cpu")]
    load = [f"{figures['load_share']:.0%}", f"{figures['not_stored']:.0f}"] if "load_share" in figures else ["", ""]
    return [*times, *cpu, *load]


def aims(found: Medians) -> list[tuple[str, float, float]]:
    """The aims: a sentence, the least ratio, and the ratio that was measured."""

    def ratio(one: str, other: str, connections: int) -> float:
        return found[one, connections]["rate"] / found[other, connections]["rate"]

    return [
        ("Flask view against Flask + ORM, 32 connections", 12, ratio(FLASK, ORM, 32)),
        ("Flask view against Flask + ORM, 128 connections", 14, ratio(FLASK, ORM, 128)),
        ("as served against Flask + ORM, 128 connections", 20, ratio(US, ORM, 128)),
        ("as served against pgbench, 32 connections", 1, ratio(US, PGBENCH, 32)),
        ("as served against pgbench, 128 connections", 1, ratio(US, PGBENCH, 128)),
        (
            "50 times pgbench's mean latency at 8 against p99 as served at 128",
            1,
            50 * found[PGBENCH, 8]["mean"] / found[US, 128]["p99"],
        ),
        ("SQLite against one writer", 0.8, found[SQLITE, 32]["rate"] / found[ONE_WRITER, 1]["rate"]),
    ]


def flask_limit(found: Medians, connections: int) -> float:
    """How many times the ORM's rate a Flask view would reach that costs no more than an empty one, on all cores, with
    the CPU time that the load generator and the database take for the service's."""
    ours = found[FLASK, connections]
    load = (ours["app_cpu"] + ours["database_cpu"]) * ours["load_share"] / (1 - ours["load_share"])
    seconds = found[EMPTY, connections]["app_cpu"] + ours["database_cpu"] + load
    return (os.cpu_count() or 1) * 10_000 / seconds / found[ORM, connections]["rate"]


COLOURS = {US: "#1b6ca8", FLASK: "#6fb1e0", PGBENCH: "#444444", ASYNC: "#e0a030", ORM: "#c0504d"}


def draw(found: Medians, path: Path) -> None:
    """Draws the chart: each contestant's rate as a multiple of the ORM's, and how long a response took."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    connections = sorted({key[1] for key in found if key[0] == ORM})
    figure, (rates, times) = pyplot.subplots(1, 2, figsize=(13, 5), layout="constrained")
    for place, (name, colour) in enumerate(COLOURS.items()):
        where = [number + (place - 2) * 0.16 for number in range(len(connections))]
        ratios = [found[name, each]["rate"] / found[ORM, each]["rate"] for each in connections]
        bars = rates.bar(where, ratios, 0.15, label=name, color=colour)
        rates.bar_label(bars, [f"{each:.1f}" for each in ratios], fontsize=8)
        if name != PGBENCH:
            times.bar(where, [found[name, each]["p50"] for each in connections], 0.15, color=colour)
            tails = [found[name, each]["p99"] for each in connections]
            times.scatter(where, tails, color=colour, marker="_", s=120, zorder=3)
    for axes, title in (
        (rates, "events stored, as multiples of Flask + ORM"),
        (times, "milliseconds: p50, and p99 as a line"),
    ):
        axes.set_title(title)
        axes.set_xticks(range(len(connections)), [f"{each} connections" for each in connections])
        axes.spines[["top", "right"]].set_visible(False)
    times.set_yscale("log")
    rates.legend(frameon=False)
    figure.savefig(path, dpi=130)
