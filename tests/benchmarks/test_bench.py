"""The benchmark reports correctly what was acknowledged, what was lost, and what pgbench runs."""

import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path

import pytest

from receiver.bandwidth import callbacks
from receiver.database.database import Database
from tests.benchmarks import document, load, one_writer, pgbench, profile, quiet, report
from tests.benchmarks.bench import as_row
from tests.benchmarks.load import Load
from tests.benchmarks.proxy import delaying
from tests.benchmarks.truth import problem
from tests.benchmarks.workload import Identity, Store, identity_of, make_events, make_one, make_request
from tests.support.builders import make_body
from tests.support.postgres import PostgresServer, Server
from tests.support.stored import deliver

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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A database with the messages of the benchmark, in an SQLite file."""
    store = Store(f"sqlite:///{tmp_path / 'bench.sqlite3'}", plain=False)
    store.reset()
    return store


def receive(store: Store, *elements: dict[str, object]) -> list[Identity]:
    """Stores these elements as the service does; returns the identities of their events."""
    with Database(store.url) as database:
        deliver(database, *callbacks.parse(make_body(*elements)))
    return [identity_of(each) for each in elements]


def execute(store: Store, statement: str) -> None:
    with closing(sqlite3.connect(store.url.removeprefix("sqlite:///"))) as file, file:
        file.execute(statement)


def test_a_store_is_as_it_should_be_if_every_recipient_shows_the_fold_of_all_events(store: Store) -> None:
    events = make_events(200)
    assert len({identity_of(each) for each in events}) == 196
    assert len({each["to"] for each in events}) == 192

    assert problem(store, receive(store, *events)) is None
    assert problem(store, receive(store, *make_events(50, known=False))) is None


def test_an_event_that_was_answered_more_often_than_stored_or_counted_is_a_problem(store: Store) -> None:
    one, other = make_events(2)
    acknowledged = receive(store, one, one)
    assert problem(store, acknowledged) is None
    assert "1 events were answered" in str(problem(store, [*acknowledged, identity_of(one)]))
    assert "1 events were answered" in str(problem(store, [identity_of(other)]))


@pytest.mark.parametrize(
    "mistake",
    ["status = 'failed'", "standing = x'00'", "event_pk = NULL", "error_code = 4720", "invalid_recipient = 1"],
)
def test_a_recipient_that_does_not_show_the_fold_of_its_events_is_a_problem(store: Store, mistake: str) -> None:
    (identity,) = receive(store, make_one(5, 1, "delivered"))
    execute(store, f"UPDATE recipients SET {mistake} WHERE recipient = '{identity[1]}'")

    assert f"{identity[1]} of message" in str(problem(store, [identity]))


def test_pgbench_runs_the_statement_that_stores_one_event(postgres_server: Server, tmp_path: Path) -> None:
    if not isinstance(postgres_server, PostgresServer):
        pytest.skip("pgbench is that of the private server")
    store = Store(postgres_server.create_database("for_pgbench"), plain=False)
    try:
        script = pgbench.make_script()
        assert "-c statement_timeout=5s" in script.options
        store.reset()

        pgbench.run(postgres_server, "for_pgbench", script, "-t", "3", folder=tmp_path, clients=1)

        query = "SELECT count(*), count(e.message_pk), count(r.event_pk) FROM events e LEFT JOIN recipients r"
        (rows,) = store.rows(f"{query} ON r.event_pk = e.pk")
        assert rows[:2] == (3, 3)
        assert rows[2] >= 1
    finally:
        postgres_server.drop_database("for_pgbench")


def test_the_one_writer_on_sqlite_stores_what_it_counts(store: Store) -> None:
    rows = [as_row(make_one(0, position, "delivered")) for position in range(3)]
    assert one_writer.rate(store.url.removeprefix("sqlite:///"), rows, warm_up=0, seconds=5) > 0
    assert store.rows("SELECT count(*), sum(deliveries) FROM events") == [(3, 3)]


def test_a_statement_and_its_response_are_one_round_trip_that_waits_for_the_network_both_ways() -> None:
    with (
        answering([b"half", b"whole"]) as (port, _),
        delaying(port, seconds=0.02) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port)) as client,
    ):
        started = time.monotonic()
        for number in (1, 2):
            client.sendall(b"a statement")
            client.recv(100)
            assert proxy.round_trips == number
        assert time.monotonic() - started >= 4 * 0.02


def test_the_service_whose_log_and_metrics_are_replaced_still_has_these_functions() -> None:
    assert all(hasattr(import_module(module), name) for module, name in quiet.SILENCED)


def test_a_sample_belongs_to_the_innermost_code_that_is_somebodys() -> None:
    stacks = {
        ("run (asyncio/runners.py:1)", "_log_stored (receiver/web/callbacks.py:9)", "info (structlog/base.py:3)"): 30,
        ("run (asyncio/runners.py:1)", "receive (receiver/web/callbacks.py:7)", "encode (json/encoder.py:2)"): 10,
    }
    found = profile.summarize(stacks, total=80, connections=8)

    assert found.areas == {profile.OUTSIDE: 0.5, "log": 0.375, "view": 0.125}
    assert found.lines["info (structlog/base.py:3)"] == 0.375


def test_an_aim_is_met_on_its_own_side_of_the_limit() -> None:
    rates = {report.US: 100.0, report.ASYNC: 90.0, report.QUIET: 110.0}
    part = dict.fromkeys((report.US, report.ASYNC), report.RECEIVING)
    measured = [
        {"part": part.get(name, ""), "name": name, "connections": 8, "rate": rate, "p99": 1 / rate}
        for name, rate in rates.items()
    ]
    found = {aim.sentence: aim.is_met for aim in report.aims(report.medians(measured))}

    assert found == {
        "receiver / FastAPI + asyncpg, 8 connections": True,
        "p99 of receiver / of FastAPI + asyncpg, 8 connections": True,
    }


def test_the_page_of_speed_has_room_for_the_figures_and_nothing_else_changes() -> None:
    page = (document.DOCS / "speed.md").read_text()
    replaced = document.replace(document.replace(page, "old"), "new")

    assert f"{document.BEGIN}\nnew\n{document.END}" in replaced
    assert document.replace(replaced, "old") == document.replace(page, "old")
    with pytest.raises(ValueError, match="end of the figures"):
        document.replace(page.replace(document.END, ""), "new")
