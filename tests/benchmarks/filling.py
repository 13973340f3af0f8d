"""Fills a PostgreSQL database with months of traffic, by COPY."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from tests.benchmarks.history import History
from tests.benchmarks.rows import Row

PER_COPY = 2000
"""The number of messages in one COPY."""


def fill(url: str, history: History, *, advance: Callable[[int], object] = lambda messages: None) -> None:
    """Fills an empty, migrated database and vacuums it; ``advance`` is called with the size of every portion."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # ten million foreign keys are not looked up
        for start in range(0, history.messages, PER_COPY):
            numbers = range(start, min(start + PER_COPY, history.messages))
            with connection.transaction():
                for table, rows in history.rows(numbers).items():
                    _copy(connection, table, rows)
            advance(len(numbers))
        for table in ("messages", "events"):
            highest = f"SELECT setval(pg_get_serial_sequence('{table}', 'pk'), max(pk)) FROM {table}"
            connection.execute(highest.encode())
        connection.execute("VACUUM (ANALYZE)")


def _copy(connection: psycopg.Connection[Any], table: str, rows: Sequence[Row]) -> None:
    if rows:
        statement = f"COPY {table} ({', '.join(rows[0])}) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(tuple(row.values()))
