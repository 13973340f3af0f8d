"""The benchmark reports correctly what was acknowledged, what was lost, and what pgbench runs."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from receiver.database.database import Database
from tests.benchmarks import load, one_writer, pgbench
from tests.benchmarks.bench import as_row
from tests.benchmarks.load import Load
from tests.benchmarks.workload import Store, identity_of, make_events, make_one, make_request, problem
from tests.support.postgres import PostgresServer, Server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def answering(answers: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """A server of one connection at a time that gives these answers in turn; an empty one hangs up. Its port, and what
    it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        while request := connection.recv(65536):
                            asked.append(request)
                            answer = answers[(len(asked) - 1) % len(answers)]
                            if not answer:
                                break
                            connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], asked


def test_only_what_was_answered_2xx_counts_as_answered_and_every_request_is_sent_once() -> None:
    requests = [make_request(each) for each in make_events(9)]
    with answering([OK, BUSY, b""]) as (port, asked):
        outcome = Load(port, requests).run(connections=1, warm_up=0, seconds=5)

    assert asked == requests
    assert outcome.answered == [0, 3, 6]
    assert outcome.refused == Counter({503: 3})
    assert outcome.dropped == 3
    assert outcome.measured == len(outcome.latencies) == 3


def test_a_request_that_is_never_answered_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "GRACE", 0.2)
    requests = [make_request(each) for each in make_events(9)]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = Load(silent.getsockname()[1], requests).run(connections=2, warm_up=0, seconds=0.1)

    assert outcome.unanswered == 2
    assert outcome.answered == []


def test_an_event_that_was_answered_and_is_not_stored_or_stored_twice_is_a_problem() -> None:
    one, other = (identity_of(each) for each in make_events(2))
    assert problem([one, one], Counter([one, other])) is None
    assert "not stored" in (problem([one, other], Counter([one])) or "")
    assert "more than once" in (problem([one], Counter([one, one])) or "")


def test_pgbench_runs_the_statements_that_store_one_event(postgres_server: Server, tmp_path: Path) -> None:
    if not isinstance(postgres_server, PostgresServer):
        pytest.skip("pgbench is that of the private server")
    store = Store(postgres_server.create_database("for_pgbench"), plain=False)
    try:
        store.reset()
        with Database(store.url) as database:
            script = pgbench.capture(database)
        assert "-c statement_timeout=5s" in script.options
        store.reset()

        pgbench.run(postgres_server, "for_pgbench", script, folder=tmp_path, clients=1, count=3)

        query = "SELECT count(*), count(e.message_pk), count(r.event_pk) FROM events e LEFT JOIN recipients r"
        (rows,) = postgres_server.execute(f"{query} ON r.event_pk = e.pk", "for_pgbench")
        assert rows[:2] == (3, 3)
        assert rows[2] >= 1
    finally:
        postgres_server.drop_database("for_pgbench")


def test_the_one_writer_on_sqlite_stores_what_it_counts(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'one.sqlite3'}", plain=False)
    store.reset()
    rows = [as_row(make_one(0, position)) for position in range(3)]
    assert one_writer.rate(str(tmp_path / "one.sqlite3"), rows, warm_up=0, seconds=5) > 0
    assert set(store.count().values()) == {1}
    assert len(store.count()) == 3
