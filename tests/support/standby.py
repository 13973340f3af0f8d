"""A PostgreSQL with synchronous replication that loses its standby, and a session that cancels the waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.postgres import PATIENCE, PostgresServer

CANCEL = """
    SELECT count(pg_{how}_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid <> pg_backend_pid()
"""


class Primary(PostgresServer):
    """A server without a standby, which it does not wait for until `lose_standby()`."""

    def lose_standby(self) -> None:
        """Makes every commit from now on wait for a standby that never connects."""
        self._require_standby("nobody")
        with self.connect() as probe, self.cancelling():
            notices: list[Any] = []
            probe.add_notice_handler(notices.append)
            while not notices:  # until the server has read its new setting
                probe.execute("SELECT pg_logical_emit_message(true, 'probe', '')")

    def find_standby(self) -> None:
        """Confirms every commit that waits; from now on none waits."""
        self._require_standby("")

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        connection = super().connect(database)
        connection.execute("SET synchronous_commit = on")
        return connection

    def _require_standby(self, names: str) -> None:
        self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.execute("SELECT pg_reload_conf()")

    @contextmanager
    def cancelling(self, *, most: int | None = None, how: str = "cancel") -> Iterator[None]:
        """Ends every wait for the standby as soon as it begins; after ``most`` waits the standby is back."""
        ended = threading.Event()

        def run() -> None:
            found = 0
            with self.connect() as connection:
                while not ended.wait(0.002):
                    found += connection.execute(CANCEL.format(how=how).encode()).fetchall()[0][0]
                    if most is not None and found >= most:
                        self.find_standby()
                        return

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(PATIENCE)
