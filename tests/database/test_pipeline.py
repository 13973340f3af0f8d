"""One statement in one round trip: durable when it returns, and every way in which it can fail."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import text

from receiver.database.database import Database
from receiver.database.pipeline import Pipeline, StatementRefused
from receiver.errors import StorageUnavailable
from tests.support.locks import PATIENCE, locked, onlooker, threads
from tests.support.log_lines import Lines
from tests.support.pgbouncer import pooling
from tests.support.postgres import PostgresServer, free_port

TABLE = "CREATE TABLE IF NOT EXISTS noted (word text PRIMARY KEY, times integer NOT NULL)"
NOTE = """
INSERT INTO noted SELECT word, 1 FROM jsonb_array_elements_text($1::jsonb) AS word
ON CONFLICT (word) DO UPDATE SET times = noted.times + 1 RETURNING times::text
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this test alone, which may be stopped."""
    with PostgresServer(fsync=False) as server:
        server.create_database("piped")
        server.execute(TABLE, "piped")
        yield server


@pytest.fixture
def database(server: PostgresServer) -> Iterator[Database]:
    server.execute("TRUNCATE noted", "piped")
    with Database(server.url("piped"), connections=1) as database:
        yield database


@pytest.fixture
def pipeline(database: Database) -> Iterator[Pipeline]:
    with Pipeline(database, NOTE) as pipeline:
        yield pipeline


def note(pipeline: Pipeline, word: str) -> int:
    """How often the word is noted now."""
    return int(pipeline.run(f'["{word}"]'.encode()))


def noted(server: PostgresServer, word: str) -> int | None:
    """How often the word is noted, as another session sees it."""
    rows = server.execute(f"SELECT times FROM noted WHERE word = '{word}'", "piped")
    return rows[0][0] if rows else None


def test_what_it_returns_is_durable(server: PostgresServer, pipeline: Pipeline) -> None:
    for times in range(1, 8):  # new, found direct, prepared, and again
        assert note(pipeline, "durable") == times
        assert noted(server, "durable") == times


def test_its_statements_are_prepared_and_its_settings_last_for_one_transaction(database: Database) -> None:
    names = "current_setting('statement_timeout') || current_setting('lock_timeout')"
    with Pipeline(database, f"SELECT {names} || current_setting('plan_cache_mode')") as pipeline:
        assert {pipeline.run() for _ in range(4)} == {b"5s5sforce_generic_plan"}

    with database.engine.connect() as connection:
        outside = connection.execute(text("SELECT current_setting('plan_cache_mode')")).scalar_one()
        prepared = connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
    assert outside == "force_custom_plan"  # that of a transaction that reads
    assert prepared == 2


def test_it_shares_its_connection_with_transactions(database: Database, pipeline: Pipeline) -> None:
    pids = set()
    for _ in range(4):
        note(pipeline, "shared")
        pipeline.release()
        pids.add(database.write(lambda session: session.execute(text("SELECT pg_backend_pid()")).scalar_one()))
    assert len(pids) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "WITH stored AS (INSERT INTO noted VALUES ('half', 1) RETURNING times) SELECT 1 / (times - 1) FROM stored",
        "WITH stored AS (INSERT INTO noted VALUES ('half', 1), ('half', 2) RETURNING times) SELECT times FROM stored",
        "INSERT INTO noted VALUES ('half', NULL) RETURNING times",
        "SELECT colour FROM noted",
        "SELECT 'x'::integer",
    ],
)
def test_what_is_refused_stores_nothing_and_does_no_harm_to_the_next(
    server: PostgresServer, database: Database, pipeline: Pipeline, sql: str, logged: Lines
) -> None:
    for _ in range(4):
        with Pipeline(database, sql) as refused, pytest.raises(StatementRefused):
            refused.run()
    assert noted(server, "half") is None
    assert note(pipeline, "whole") == 1
    assert logged == []


def test_a_victim_of_a_deadlock_is_refused(server: PostgresServer, database: Database, pipeline: Pipeline) -> None:
    for word in ("one", "two"):
        note(pipeline, word)
    url = server.url("piped")
    held = ("SET deadlock_timeout = '60s'", "SELECT 1 FROM noted WHERE word = 'two' FOR UPDATE")
    with threads() as pool, onlooker(url) as watching, locked(url, *held) as other:
        ours = pool.submit(pipeline.run, b'["one", "two"]')
        watching.wait_for(1)
        other.execute(text("SELECT 1 FROM noted WHERE word = 'one' FOR UPDATE"))  # waits until ours is ended
        with pytest.raises(StatementRefused, match="40P01"):
            ours.result(PATIENCE)
    assert (noted(server, "one"), noted(server, "two")) == (1, 1)


def test_a_lock_that_is_not_given_up_is_unavailable_within_ten_seconds(
    server: PostgresServer, pipeline: Pipeline
) -> None:
    note(pipeline, "locked")
    began = time.monotonic()
    with locked(server.url("piped"), "SELECT 1 FROM noted FOR UPDATE"), pytest.raises(StorageUnavailable) as raised:
        note(pipeline, "locked")
    assert time.monotonic() - began < 10
    assert "timeout" in raised.value.reason
    assert note(pipeline, "locked") == 2


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stopped_server_is_one_outage_and_a_restart_between_two_runs_none(
    server: PostgresServer, pipeline: Pipeline, mode: Any, logged: Lines
) -> None:
    note(pipeline, mode)
    server.restart(mode)
    assert note(pipeline, mode) == 2
    assert logged == []

    server.stop(mode)
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            note(pipeline, mode)
    server.start()
    assert note(pipeline, mode) == 3
    assert [line["event"] for line in logged] == ["database unavailable"]


def test_a_server_that_freezes_is_unavailable_within_ten_seconds(server: PostgresServer, pipeline: Pipeline) -> None:
    note(pipeline, "frozen")
    server.pause()
    began = time.monotonic()
    try:
        for _ in range(2):  # the connection that was open, and a new one
            with pytest.raises(StorageUnavailable):
                note(pipeline, "frozen")
    finally:
        server.resume()
    assert time.monotonic() - began < 15
    assert note(pipeline, "frozen") in (2, 3)  # the first may have been stored after all


def test_a_session_that_ends_before_its_commit_stored_nothing(server: PostgresServer, pipeline: Pipeline) -> None:
    note(pipeline, "gate")
    url = server.url("piped")
    with (
        threads() as pool,
        onlooker(url) as watching,
        locked(url, "SELECT 1 FROM noted WHERE word = 'gate' FOR UPDATE"),
    ):
        ours: Future[bytes] = pool.submit(pipeline.run, b'["before", "gate"]')
        watching.wait_for(1)
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with pytest.raises(StorageUnavailable):
            ours.result(PATIENCE)
    assert noted(server, "before") is None
    assert note(pipeline, "before") == 1


class Line:
    """A line to the server that can lose what comes back from it, or what goes to it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", free_port()))
        self.port = self._listening.getsockname()[1]
        self.loses_requests = self.loses_responses = False

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._server.port))
            for source, target, loses in (
                (client, server, lambda: self.loses_requests),
                (server, client, lambda: self.loses_responses),
            ):
                threading.Thread(target=self._pass, args=(source, target, loses), daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, loses: Callable[[], bool]) -> None:
        try:
            while (piece := source.recv(2**16)) and not loses():
                target.sendall(piece)
            time.sleep(0.2)  # the server may finish
        except OSError:
            pass
        for each in (source, target):
            each.close()


@contextmanager
def line_to(server: PostgresServer) -> Iterator[tuple[Line, str]]:
    """A line, and the URL of the database through it."""
    line = Line(server)
    thread = threading.Thread(target=line.run, daemon=True)
    thread.start()
    parts = urlsplit(server.url("piped"))
    yield line, parts._replace(netloc=parts.netloc.replace(str(server.port), str(line.port))).geturl()
    line.close()
    thread.join(PATIENCE)


def test_a_request_that_is_lost_stored_nothing_and_a_lost_response_is_no_success(server: PostgresServer) -> None:
    with line_to(server) as (line, url), Database(url) as database, Pipeline(database, NOTE) as pipeline:
        for lost, stored in (("loses_requests", None), ("loses_responses", 1)):
            note(pipeline, "warm")
            note(pipeline, "warm")
            setattr(line, lost, True)
            with pytest.raises(StorageUnavailable):
                note(pipeline, lost)
            setattr(line, lost, False)
            assert noted(server, lost) == stored
            assert note(pipeline, lost) == (stored or 0) + 1


def test_prepared_statements_that_are_gone_are_refused_once(database: Database, pipeline: Pipeline) -> None:
    for _ in range(3):
        note(pipeline, "gone")
    pipeline.release()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("DEALLOCATE ALL")

    with pytest.raises(StatementRefused, match="26000"):
        note(pipeline, "gone")

    assert [note(pipeline, "gone") for _ in range(3)] == [4, 5, 6]


def test_a_schema_that_changes_beside_it_is_not_noticed(server: PostgresServer, pipeline: Pipeline) -> None:
    for times, change in enumerate(
        ("ADD COLUMN colour text", "ALTER COLUMN times TYPE bigint", "DROP COLUMN colour"), 1
    ):
        for _ in range(3):
            note(pipeline, "altered")
        server.execute(f"ALTER TABLE noted {change}", "piped")
        assert note(pipeline, "altered") == 4 * times


def test_a_result_whose_type_changes_is_refused_once(server: PostgresServer, database: Database) -> None:
    server.execute("INSERT INTO noted VALUES ('typed', 1)", "piped")
    pipeline = Pipeline(database, "SELECT max(times) FROM noted")
    for type_ in ("bigint", "integer"):
        server.execute(f"ALTER TABLE noted ALTER COLUMN times TYPE {type_}", "piped")
        found = []
        for _ in range(4):
            try:
                found.append(pipeline.run())
            except StatementRefused as error:
                found.append(str(error).encode())
        assert found.count(b"1") >= 3
        assert set(found) <= {b"1", b"0A000"}
    pipeline.release()


def test_a_large_parameter_arrives_whole(database: Database) -> None:
    with Pipeline(database, "SELECT length($1)") as pipeline:
        assert [pipeline.run(b"x" * 2**24) for _ in range(3)] == [b"%d" % 2**24] * 3


def test_a_server_that_was_read_only_for_a_while_is_written_to_again(
    server: PostgresServer, database: Database, pipeline: Pipeline
) -> None:
    server.execute("ALTER DATABASE piped SET default_transaction_read_only = on")
    pipeline.release()
    database.engine.dispose()
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="did not respond"):
            note(pipeline, "read only")
    with psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("ALTER DATABASE piped RESET default_transaction_read_only")

    assert note(pipeline, "read only") == 1


def test_behind_a_pooler_nothing_is_prepared(server: PostgresServer) -> None:
    """Clients share sessions there, so a prepared statement would be missing or another client's."""
    with ExitStack() as stack:
        url = stack.enter_context(pooling(server.url("piped"), default_pool_size=1))
        one, other = (stack.enter_context(Database(url, connections=1)) for _ in range(2))
        noting = stack.enter_context(Pipeline(one, NOTE))
        counting = stack.enter_context(Pipeline(other, "SELECT count(*) FROM pg_prepared_statements"))
        for times in range(1, 6):
            assert note(noting, "pooled") == times
            assert counting.run() == b"0"


def test_a_pooler_that_was_restarted_is_not_noticed(server: PostgresServer) -> None:
    port = free_port()
    with ExitStack() as stack:
        with pooling(server.url("piped"), port=port) as url:
            database = stack.enter_context(Database(url, connections=1))
            pipeline = stack.enter_context(Pipeline(database, NOTE))
            assert note(pipeline, "restarted") == 1
        with pooling(server.url("piped"), port=port):
            assert note(pipeline, "restarted") == 2
