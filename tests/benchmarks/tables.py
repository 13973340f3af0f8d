"""The results of the benchmark, as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

LEAST_RATE, MOST_TIME = 0.9, 2.0
"""What is aimed at: the rate of ingest and the time of a query with a long history, by those with a short one."""


def of_ingest(rates: Mapping[str, Mapping[str, float]]) -> Table:
    table = _table("Ingest", "events about", "short: events/s", "long: events/s", "ratio", f">= {LEAST_RATE}")
    for kind, rate in rates.items():
        ratio = rate["long"] / rate["short"]
        table.add_row(
            kind, f"{rate['short']:,.0f}", f"{rate['long']:,.0f}", f"{ratio:.2f}", _verdict(ratio >= LEAST_RATE)
        )
    return table


def of_queries(queries: Mapping[str, Mapping[str, Any]]) -> Table:
    title = "Queries, medians"
    table = _table(title, "query", "short: ms", "long: ms", "ratio", f"<= {MOST_TIME:g}", "rows", "pages, read whole")
    for name, each in queries.items():
        short, long = each["short"], each["long"]
        ratio = long["ms"] / short["ms"]
        numbers = [f"{short['ms']:.2f}", f"{long['ms']:.2f}", f"{ratio:.2f}", _verdict(ratio <= MOST_TIME)]
        pages = f"{each['pages']:,} [red]{' '.join(each['seq_scans'])}"
        table.add_row(name, *numbers, f"{short['rows']} / {long['rows']}", pages)
    return table


def of_tables(tables: Mapping[str, Mapping[str, int]]) -> Table:
    table = _table("On disk, long history, with indexes", "table", "rows", "MB", "bytes/row")
    for name, each in tables.items():
        table.add_row(name, f"{each['rows']:,}", _megabytes(each["bytes"]), f"{each['bytes'] / each['rows']:.0f}")
    return table


def of_indexes(indexes: Mapping[str, Mapping[str, int]]) -> Table:
    table = _table("Indexes of the long history", "index", "MB", "scans by queries", "scans by ingest")
    for name, each in indexes.items():
        unused = not each["queries"] and not each["ingest"]
        table.add_row(
            f"[red]{name}" if unused else name, _megabytes(each["bytes"]), str(each["queries"]), str(each["ingest"])
        )
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _verdict(reached: bool) -> str:
    return "[green]yes" if reached else "[red]no"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f}"
