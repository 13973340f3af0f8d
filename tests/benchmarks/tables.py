"""Prints the results of `make bench-scale` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

LEAST_RATE, MOST_TIME = 0.9, 2.0
"""The aims: rate of ingest and time of a query with a long history, as ratios of those with a short one."""


BY_NATURE = {
    "support_recipients by sender": "looks up the sender of one recipient after the other",
    "support_overdue by sender": "looks up the sender of every open recipient",
    "support_overdue by frequent sender": "looks up the sender of every open recipient",
    "support_extraneous (newest)": "looks at all events until so many are extraneous",
    "support_conflicting (newest)": "looks at all events until so many contradict another",
    "support_conflicting by day": "looks at all events of the day until so many contradict another",
    "support_conflicting by frequent recipient": "looks at all events about a tenth of all messages",
    "support_failures (newest)": "counts all failures of those days",
    "support_opt_outs (newest)": "looks at every keyword that anybody ever wrote",
    "support_opt_outs by day": "looks at every keyword that anybody ever wrote",
    "support_conversations (newest)": "composes every row, with its group's members, before it sorts them",
    "support_conversations by day": "reads the messages from end to end",
}
"""Queries that have more to read in a longer history, and why."""


def time_ratio(query: Mapping[str, Any]) -> float:
    """The time with a long history, as a ratio of that with a short one."""
    return float(query["long"]["ms"] / query["short"]["ms"])


def rate_ratio(kind: Mapping[str, Any]) -> float:
    """The rate of ingest with a long history, as a ratio of that with a short one."""
    return float(kind["long"]["rate"] / kind["short"]["rate"])


def of_ingest(kinds: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Prints the write-ahead log per event: it costs the time if events are about messages of all ages."""
    columns = ("short: events/s", "long: events/s", "ratio", f">= {LEAST_RATE}", "short: log bytes/event", "long")
    table = new_table("Ingest", "events about", *columns)
    for kind, each in kinds.items():
        ratio, reached = rate_ratio(each), _verdict(rate_ratio(each) >= LEAST_RATE)
        rates, logs = [[f"{each[name][key]:,.0f}" for name in ("short", "long")] for key in ("rate", "log")]
        table.add_row(kind, *rates, f"{ratio:.2f}", reached, *logs)
    return table


def of_queries(queries: Mapping[str, Mapping[str, Any]]) -> Table:
    within = sum(time_ratio(each) <= MOST_TIME for each in queries.values())
    title = f"Queries, medians: {within} of {len(queries)} within {MOST_TIME:g} times"
    table = new_table(
        title, "query", "short: ms", "long: ms", "ratio", f"<= {MOST_TIME:g}", "rows", "pages, read whole"
    )
    for name, each in queries.items():
        ratio = time_ratio(each)
        numbers = [f"{each['short']['ms']:.2f}", f"{each['long']['ms']:.2f}", f"{ratio:.2f}"]
        if each["long"]["is_cut_off"]:
            numbers[1:] = [f"cut off after {each['long']['ms']:.0f}", f"> {ratio:.0f}"]
        why = f" [red]{BY_NATURE.get(name, '')}" if ratio > MOST_TIME else ""
        pages = f"{each['pages']:,} [red]{' '.join(each['seq_scans'])}"
        rows = f"{each['short']['rows']} / {each['long']['rows']}"
        table.add_row(name + why, *numbers, _verdict(ratio <= MOST_TIME), rows, pages)
    return table


def of_tables(tables: Mapping[str, Mapping[str, int]]) -> Table:
    """Prints the bytes per event: its own row, and its share of what else is stored about its message."""
    table = new_table("On disk, long history", "table", "rows", "MB", "bytes/row", "of them indexes")
    for name, each in tables.items():
        per_row, of_indexes = each["bytes"] / each["rows"], each["index_bytes"] / each["rows"]
        table.add_row(name, f"{each['rows']:,}", _megabytes(each["bytes"]), f"{per_row:.0f}", f"{of_indexes:.0f}")
    total = {key: sum(each[key] for each in tables.values()) for key in ("bytes", "index_bytes")}
    per_event = [f"{size / tables['events']['rows']:.0f}" for size in total.values()]
    table.add_row("all, by event", "", _megabytes(total["bytes"]), *per_event, style="bold")
    return table


def of_indexes(indexes: Mapping[str, Mapping[str, int]]) -> Table:
    table = new_table("Indexes of the long history", "index", "MB", "scans by queries", "scans by ingest")
    for name, each in indexes.items():
        unused = not each["queries"] and not each["ingest"]
        table.add_row(
            f"[red]{name}" if unused else name, _megabytes(each["bytes"]), str(each["queries"]), str(each["ingest"])
        )
    return table


def new_table(title: str, first: str, *others: str) -> Table:
    """An empty table; all columns but the first hold numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _verdict(reached: bool) -> str:
    return "[green]yes" if reached else "[red]no"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f}"
