"""Draws the results of `make bench-scale` as a chart: every ratio as a dot beside its aim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.tables import LEAST_RATE, MOST_TIME, rate_ratio, time_ratio

REACHED, MISSED = "#1b6ca8", "#c0504d"


def draw(result: Mapping[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rates = {f"events about {kind}": rate_ratio(each) for kind, each in result["ingest"].items()}
    times = {name: time_ratio(each) for name, each in result["queries"].items()}
    heights = [len(rates) + 1, len(times) + 1]
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(10, sum(heights) * 0.17), height_ratios=heights, layout="constrained"
    )
    messages = f"{result['messages']['long']:,} messages against {result['messages']['short']:,}"
    _dots(above, rates, f"rate of ingest, {messages}: at least {LEAST_RATE:g}")
    above.axvspan(LEAST_RATE, 10, color=REACHED, alpha=0.08)
    above.set_xlim(min(0.5, *rates.values()) - 0.05, max(1.5, *rates.values()))
    _dots(below, times, f"time of a query, {messages}: at most {MOST_TIME:g}")
    below.axvspan(0.01, MOST_TIME, color=REACHED, alpha=0.08)
    below.set_xscale("log", base=2)
    below.set_xlim(min(0.5, *times.values()) / 1.1, max(4.0, *times.values()) * 1.1)
    below.xaxis.set_major_formatter("{x:g}")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _dots(axes: Any, ratios: Mapping[str, float], title: str) -> None:
    """Draws a dot for each ratio on a line of its own, the first on top."""
    reached = [ratio >= LEAST_RATE if "ingest" in title else ratio <= MOST_TIME for ratio in ratios.values()]
    axes.scatter(ratios.values(), range(len(ratios)), s=22, color=[REACHED if each else MISSED for each in reached])
    axes.set_yticks(range(len(ratios)), ratios, fontsize=8)
    axes.set_ylim(len(ratios) - 0.5, -0.5)
    axes.grid(axis="y", alpha=0.3)
    axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
