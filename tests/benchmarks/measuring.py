"""How long queries take, how PostgreSQL answers them, and what the tables and their indexes take up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event

from receiver.errors import StorageUnavailable
from receiver.storage.database import Database
from tests.benchmarks.queries import Ask
from tests.postgres import Server

ROUNDS, ROUNDS_IF_SLOW, SLOW_MS = 21, 3, 500.0
"""More than ten: from then on psycopg has prepared a statement, and PostgreSQL may use one plan for all its values."""


@dataclass(frozen=True)
class Timing:
    """The median of a query, and how many rows it found."""

    ms: float
    rows: int


def timings(
    subjects: Sequence[tuple[Database, Mapping[str, Ask]]], *, advance: Callable[[], object]
) -> list[dict[str, Timing]]:
    """All queries of all subjects in turn, again and again: what disturbs the machine disturbs all alike."""
    taken: list[dict[str, list[Timing]]] = [{name: [] for name in queries} for _, queries in subjects]
    for number in range(ROUNDS):
        for name in subjects[0][1]:
            for (database, queries), runs in zip(subjects, taken, strict=True):
                if number < ROUNDS_IF_SLOW or _median(runs[name]).ms < SLOW_MS:
                    runs[name].append(_run(database, queries[name]))
        advance()
    return [{name: _median(runs) for name, runs in by_name.items()} for by_name in taken]


def _run(database: Database, ask: Ask) -> Timing:
    started, rows = time.perf_counter(), 0
    with suppress(StorageUnavailable):  # the database ended it after BUSY_SECONDS
        rows = ask(database)
    return Timing((time.perf_counter() - started) * 1000, rows)


def _median(runs: Sequence[Timing]) -> Timing:
    return sorted(runs, key=lambda run: run.ms)[len(runs) // 2]


@dataclass(frozen=True)
class Plan:
    """How PostgreSQL answered one statement."""

    text: str

    @property
    def pages(self) -> int:
        """Read for it, from the cache or not."""
        buffers = re.search(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", self.text)
        return sum(int(count or 0) for count in buffers.groups()) if buffers else 0

    @property
    def seq_scans(self) -> list[str]:
        """The tables that were read from one end to the other."""
        return [table for table in re.findall(r"Seq Scan on (\w+)", self.text) if table != "error_codes"]


def explain(database: Database, ask: Ask) -> list[Plan]:
    """One plan per statement of the query."""
    with _statements(database) as statements, suppress(StorageUnavailable):
        ask(database)
    plans = []
    with database.engine.connect() as connection:
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
            plans.append(Plan("\n".join([statement, *(f"    {line}" for (line,) in rows)])))
    return plans


@contextmanager
def _statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """What is executed meanwhile, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def table_sizes(server: Server, database: str) -> dict[str, dict[str, int]]:
    """By table: its rows, and all its bytes on disk, indexes and long values included."""
    tables = server.execute("SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables", database)
    return {
        table: {"rows": server.execute(f"SELECT count(*) FROM {table}", database)[0][0], "bytes": size}
        for table, size in tables
        if table in ("messages", "recipients", "message_ids", "events")
    }


def index_sizes(server: Server, database: str) -> dict[str, int]:
    """Bytes by index."""
    sizes = "SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes ORDER BY relname, 2 DESC"
    return dict(server.execute(sizes, database))


def index_scans(server: Server, database: str) -> dict[str, int]:
    """How often each index was used since the statistics were reset."""
    return dict(server.execute("SELECT indexrelname, idx_scan FROM pg_stat_user_indexes", database))
