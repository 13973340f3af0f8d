"""Does a long history make the service slow? Prints tables; writes scale.json, scale.png, explain.txt to build/bench.

    python -m tests.benchmarks.scale [--messages 1000000]

Two databases on one PostgreSQL, one with a short and one with a long history, are measured in turn, so that only their
length can make a difference: the rate of ingest, aimed at 0.9 of the short one's at least, and the time of every query,
aimed at twice the short one's at most. Speed is shown, never asserted.

Events come about recent messages, so that rate counts; events about messages of all times show the worst that could
be. The cache is warm: both databases fit into the memory of the operating system, and every query is asked often.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from receiver import log
from receiver.core import times
from receiver.database.database import Database
from receiver.database.schema import upgrade
from tests.benchmarks import chart, ingest, tables
from tests.benchmarks.filling import fill
from tests.benchmarks.history import History
from tests.benchmarks.measuring import (
    ROUNDS,
    Plan,
    explain,
    index_scans,
    index_sizes,
    log_position,
    table_sizes,
    timings,
    unless_interrupted,
)
from tests.benchmarks.queries import Ask, queries
from tests.support.postgres import PostgresServer, Server

SHORT_MESSAGES = 1000
INGEST_ROUNDS = 7
EVENTS = {"recent messages": ingest.recent, "messages of all times": ingest.scattered}

SERVER_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
"""More than PostgreSQL's defaults, which are for the smallest machines; the long history is several times larger."""

BUILD = Path("build/bench")


@dataclass(frozen=True)
class Subject:
    """A database under test, with its history and queries."""

    name: str
    database: Database
    history: History
    queries: dict[str, Ask]


def main() -> None:
    log.silence()  # what runs in this process would say a line for every message here
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="of the long history (default: %(default)s)")
    messages = parser.parse_args().messages
    end = times.now()
    with PostgresServer() as server, _progress() as progress:
        for name, value in SERVER_SETTINGS.items():
            server.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        server.restart()
        with (
            _subject(server, "short", History(SHORT_MESSAGES, end=end), progress) as short,
            _subject(server, "long", History(messages, end=end), progress) as long,
        ):
            result, plans = _measure(server, short, long, progress)
    _write(result, plans)
    _show(result)


@contextmanager
def _subject(server: Server, name: str, history: History, progress: Progress) -> Iterator[Subject]:
    url = server.create_database(f"history_{name}")
    upgrade(url)
    task = progress.add_task(f"fill the {name} history", total=history.messages)
    fill(url, history, advance=lambda messages: progress.advance(task, messages))
    with Database(url) as database:
        yield Subject(name, database, history, queries(database, history))


def _measure(
    server: Server, short: Subject, long: Subject, progress: Progress
) -> tuple[dict[str, Any], dict[str, list[Plan]]]:
    """Measures everything; returns the figures and the plans of the queries of the long history."""
    name = f"history_{long.name}"
    tables_before, index_bytes = table_sizes(server, name), index_sizes(server, name)
    server.execute("SELECT pg_stat_reset()", name)
    task = progress.add_task("ask the queries", total=ROUNDS)
    asked = timings([(each.database, each.queries) for each in (short, long)], advance=lambda: progress.advance(task))
    plans = {
        name: explain(long.database, ask, is_cut_off=asked[1][name].is_cut_off) for name, ask in long.queries.items()
    }
    scans_of_queries = index_scans(server, long.database)
    ingested = _ingest(server, short, long, progress)
    scans = index_scans(server, long.database)
    result = {
        "messages": {each.name: each.history.messages for each in (short, long)},
        "ingest": ingested,
        "queries": {
            query: {
                **{each.name: asdict(timing[query]) for each, timing in zip((short, long), asked, strict=True)},
                "pages": sum(plan.pages for plan in found),
                "seq_scans": sorted({table for plan in found for table in plan.seq_scans}),
            }
            for query, found in plans.items()
        },
        "tables": tables_before,
        "indexes": {
            index: {
                "bytes": size,
                "queries": scans_of_queries[index],
                "ingest": scans[index] - scans_of_queries[index],
            }
            for index, size in index_bytes.items()
        },
    }
    return result, plans


def _ingest(
    server: Server, short: Subject, long: Subject, progress: Progress
) -> dict[str, dict[str, dict[str, float]]]:
    """The median rates by kind of events and by history; the rounds of both histories take turns."""
    task = progress.add_task("store events", total=INGEST_ROUNDS * len(EVENTS) * 2)
    taken: dict[str, dict[str, list[dict[str, float]]]] = {kind: {short.name: [], long.name: []} for kind in EVENTS}
    for _ in range(INGEST_ROUNDS):
        for kind, make in EVENTS.items():
            for each in (short, long):
                taken[kind][each.name].append(unless_interrupted(partial(_store, server, each, make)))
                progress.advance(task)
    return {
        kind: {
            name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in each.items()
        }
        for kind, each in taken.items()
    }


def _store(server: Server, subject: Subject, make: ingest.Make) -> dict[str, float]:
    """Events per second, and bytes of write-ahead log per event, which checkpoints increase."""
    events, logged = make(subject.database, subject.history), log_position(server)
    rate = ingest.events_per_second(subject.database, events)
    return {"rate": rate, "log": (log_position(server) - logged) / len(events)}


def _write(result: Mapping[str, Any], plans: Mapping[str, Sequence[Plan]]) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "scale.json").write_text(json.dumps(result, indent=2))
    texts = ["\n".join([f"== {name}", *(plan.text for plan in found)]) for name, found in plans.items()]
    (BUILD / "explain.txt").write_text("\n\n".join(texts))
    chart.draw(result, BUILD / "scale.png")


def _show(result: Mapping[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(tables.of_queries(result["queries"]), tables.of_ingest(result["ingest"]))
    console.print(tables.of_tables(result["tables"]), tables.of_indexes(result["indexes"]))


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


if __name__ == "__main__":
    main()
