"""Measures how long queries take, with which plans, and the size of tables and indexes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import event

from receiver.database.database import Database
from receiver.database.engine import BUSY_SECONDS
from receiver.errors import StorageUnavailable
from tests.benchmarks.queries import MOST, Ask
from tests.support.postgres import Server
from tests.support.processes import wait_for

ROUNDS, ROUNDS_IF_SLOW, SLOW_MS = 21, 3, 500.0
"""More than ten: from then on psycopg has prepared a statement, and PostgreSQL may use one plan for all its values."""


ATTEMPTS = 3

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """The median time of a query, and the number of rows it found."""

    ms: float
    rows: int
    is_cut_off: bool = False
    """Whether the service's own limit ended it, again and again; ``ms`` is that limit then."""


def timings(
    subjects: Sequence[tuple[Database, Mapping[str, Ask]]], *, advance: Callable[[], object]
) -> list[dict[str, Timing]]:
    """All queries of all subjects in turn, again and again: what disturbs the machine disturbs all alike.

    All are asked for as many rows as all of them have, so that only the way to the rows can differ. A query that is cut
    off is not asked again.
    """
    first = [{name: _run(database, ask, MOST) for name, ask in queries.items()} for database, queries in subjects]
    taken = [{name: [timing] if timing.is_cut_off else [] for name, timing in each.items()} for each in first]
    for number in range(ROUNDS):
        for name in subjects[0][1]:
            most = min((each[name].rows for each in first if not each[name].is_cut_off), default=0) or MOST
            for (database, queries), runs in zip(subjects, taken, strict=True):
                if _is_worth_a_run(runs[name], number):
                    runs[name].append(_run(database, queries[name], most))
        advance()
    return [{name: _median(runs) for name, runs in by_name.items()} for by_name in taken]


def unless_interrupted(measure: Callable[[], Result]) -> Result:
    """Calls ``measure``, again if the database did not respond, since a stalled machine spoils a measurement."""
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            return measure()
        except StorageUnavailable:
            if not attempts_left:
                raise
    raise AssertionError("unreachable")


def _is_worth_a_run(runs: Sequence[Timing], number: int) -> bool:
    if runs and runs[0].is_cut_off:
        return False
    return number < ROUNDS_IF_SLOW or _median(runs).ms < SLOW_MS


def _run(database: Database, ask: Ask, most: int) -> Timing:
    try:
        return unless_interrupted(partial(_time, database, ask, most))
    except StorageUnavailable:
        return Timing(BUSY_SECONDS * 1000, 0, is_cut_off=True)


def _time(database: Database, ask: Ask, most: int) -> Timing:
    started = time.perf_counter()
    rows = ask(database, most)
    return Timing((time.perf_counter() - started) * 1000, rows)


def _median(runs: Sequence[Timing]) -> Timing:
    return sorted(runs, key=lambda run: run.ms)[len(runs) // 2]


@dataclass(frozen=True)
class Plan:
    """The plan of one statement, as PostgreSQL executed it."""

    text: str

    @property
    def pages(self) -> int:
        """Blocks read, from the cache or from disk."""
        buffers = re.search(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", self.text)
        return sum(int(count or 0) for count in buffers.groups()) if buffers else 0

    @property
    def seq_scans(self) -> list[str]:
        """The tables that were scanned from end to end."""
        return [table for table in re.findall(r"Seq Scan on (\w+)", self.text) if table != "error_codes"]


def explain(database: Database, ask: Ask, *, is_cut_off: bool) -> list[Plan]:
    """One plan for each statement of the query, made on its own connection, under the same settings.

    The plan of a query that is cut off is not executed, so its pages are not counted.
    """
    how = "" if is_cut_off else "(ANALYZE, BUFFERS) "
    plans: list[Plan] = []

    def note(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT") and "set_config" not in statement:
            rows = connection.exec_driver_sql(f"EXPLAIN {how}{statement}", parameters)
            plans.append(Plan("\n".join([statement, *(f"    {line}" for (line,) in rows)])))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        with suppress(StorageUnavailable):
            ask(database, MOST)
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return plans


def table_sizes(server: Server, database: str) -> dict[str, dict[str, int]]:
    """By table: its rows, its bytes on disk with indexes and long values, and the bytes of its indexes."""
    sizes = "SELECT relname, pg_total_relation_size(relid), pg_indexes_size(relid) FROM pg_stat_user_tables"
    return {
        table: {"rows": _count(server, database, table), "bytes": size, "index_bytes": index_size}
        for table, size, index_size in server.execute(f"{sizes} ORDER BY 2 DESC", database)
        if table in ("messages", "recipients", "message_ids", "events")
    }


def _count(server: Server, database: str, table: str) -> int:
    return int(server.execute(f"SELECT count(*) FROM {table}", database)[0][0])


def index_sizes(server: Server, database: str) -> dict[str, int]:
    """The bytes of each index."""
    sizes = "SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes ORDER BY relname, 2 DESC"
    return dict(server.execute(sizes, database))


def index_scans(server: Server, database: Database) -> dict[str, int]:
    """How often each index was used since the last reset; a connection reports all it did when it ends."""
    database.engine.dispose()
    name = database.engine.url.database
    others = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
    wait_for(lambda: not server.execute(others), "the end of the connections whose use of indexes is counted")
    return dict(server.execute("SELECT indexrelname, idx_scan FROM pg_stat_user_indexes", str(name)))


def log_position(server: Server) -> int:
    """The bytes that PostgreSQL has written to its write-ahead log so far, for all databases."""
    return int(server.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0])
