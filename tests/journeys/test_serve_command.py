"""`receiver serve` as an operator sees it: starting, stopping, and the requests in progress meanwhile."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from sqlalchemy import text

from receiver.database.database import Database
from tests.support.builders import ALICE, BOB, make_element
from tests.support.loop import looping, select
from tests.support.postgres import free_port
from tests.support.processes import Api, Child, environment, invoke, run, serving, wait_for, working

PROJECT = Path(__file__).parents[2]

SECONDS = 15.0
"""The limit for "within seconds", on a machine that is busy with other tests."""


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_newer_database_is_a_warning_and_the_service_starts(tmp_path: Path, database_url: str) -> None:
    with Database(database_url) as database:
        database.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = 'the-future'")))

    with serving(tmp_path, environment(database_url)) as (child, api):
        assert "newer than this program" in child.output
        assert "newer" in api.get("/health/ready")["warning"]
        assert api.callback(make_element(tag="nobody's")).json()["unlinked"] == 1


@pytest.mark.parametrize("command", ["serve", "simulate"])
def test_a_port_that_is_taken_is_reported_in_a_sentence(tmp_path: Path, sqlite_url: str, command: str) -> None:
    with taken_port() as port:
        ended = run(command, "--port", str(port), environment=environment(sqlite_url), folder=tmp_path)

    assert ended.returncode not in (0, None)
    assert str(port) in ended.stderr


@pytest.mark.parametrize("host", ["..", "nowhere.invalid", "192.0.2.1"])
def test_a_host_that_cannot_be_listened_on_is_reported_in_a_sentence(sqlite_url: str, host: str) -> None:
    ended = invoke("serve", "--host", host, environment=environment(sqlite_url))
    assert ended.exit_code == 1
    assert f"Cannot listen on {host}:8080: " in ended.stderr


@pytest.mark.parametrize("command", ["serve", "simulate"])
def test_a_port_that_no_machine_has_is_reported_in_a_sentence(sqlite_url: str, command: str) -> None:
    result = invoke(command, "--port", "99999", environment=environment(sqlite_url))

    assert result.exit_code == 2
    assert "99999" in result.stderr


# SIGTERM ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database_url", "how"),
    [
        ("sqlite", signal.SIGTERM),
        ("postgresql", signal.SIGTERM),
        ("sqlite", signal.SIGHUP),
        ("postgresql", signal.SIGQUIT),
    ],
    indirect=["database_url"],
)
def test_what_was_answered_before_a_signal_took_effect_is_stored(
    tmp_path: Path, database_url: str, how: signal.Signals
) -> None:
    with ThreadPoolExecutor(5) as threads, looping(tmp_path, database_url) as loop:
        loop.simulator.switch(request="slow", slowSeconds=1)
        posting = [threads.submit(_post_until_refused, loop.api.url, client) for client in range(4)]
        wait_for(lambda: loop.sql("SELECT 1 FROM events"), "the first events")
        sending = threads.submit(loop.api.send, ALICE, BOB)
        wait_for(loop.simulator.messages, "a request that waits for Bandwidth")

        assert loop.server.end(how, grace=SECONDS) == 0

        assert not loop.server.left_behind()
        assert sending.result().status_code == 202
        assert loop.sql("SELECT tag, send_status FROM support_messages") == [
            (sending.result().json()["tag"], "accepted")
        ]
        answered = {number for client in posting for number in client.result()}
        stored = {number for (number,) in loop.sql("SELECT message_id FROM support_unlinked")}
        assert answered
        assert answered <= stored
        assert "Traceback" not in loop.server.output


def _post_until_refused(url: str, client: int) -> list[str]:
    """Posts events until the connection is refused; the message ids of those with response 200."""
    answered = []
    with Api(url) as api:
        for number in itertools.count():
            message_id = f"{client}-{number}"
            try:
                answer = api.callback(make_element(message_id=message_id))
            except requests.ConnectionError:
                return answered
            assert answer.status_code == 200
            answered.append(message_id)
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("database_url", "how"),
    [("sqlite", signal.SIGINT), ("postgresql", signal.SIGHUP), ("sqlite", signal.SIGQUIT)],
    indirect=["database_url"],
)
def test_a_signal_of_the_terminal_which_reaches_every_process_ends_the_service_too(
    tmp_path: Path, database_url: str, how: signal.Signals
) -> None:
    """A request in progress still gets its response."""
    with ThreadPoolExecutor(1) as threads, looping(tmp_path, database_url) as loop:
        loop.simulator.switch(request="slow", slowSeconds=1)
        sending = threads.submit(loop.api.send, ALICE)
        wait_for(loop.simulator.messages, "a request that waits for Bandwidth")

        os.killpg(loop.server.process.pid, how)

        assert loop.server.process.wait(SECONDS) == 0
        assert not loop.server.left_behind()
        assert sending.result().status_code == 202


def test_what_nohup_started_outlives_its_terminal(tmp_path: Path, sqlite_url: str) -> None:
    settings = environment(sqlite_url)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; children inherit it
    try:
        with serving(tmp_path, settings) as (child, api), working(tmp_path, settings) as worker:
            os.killpg(child.process.pid, signal.SIGHUP)
            worker.process.send_signal(signal.SIGHUP)
            processes = psutil.Process(child.process.pid).children()

            assert api.callback(make_element()).status_code == 200
            assert psutil.Process(child.process.pid).children() == processes
            assert worker.end(grace=SECONDS) == child.end(grace=SECONDS) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_clients_that_never_finish_their_request_do_not_hold_up_a_sigterm(tmp_path: Path, sqlite_url: str) -> None:
    beginning = b"POST /callbacks/bandwidth HTTP/1.1\r\nHost: localhost\r\n"
    credentials = b"Authorization: Basic YmFuZHdpZHRoOmNhbGxiYWNrOnBhc3N3b3Jk\r\n"
    unfinished = (b"", beginning, beginning + credentials + b"Content-Length: 100\r\n\r\n[")
    with serving(tmp_path, environment(sqlite_url)) as (child, api):
        address = ("127.0.0.1", int(api.url.rpartition(":")[2]))
        sockets = [socket.create_connection(address) for _ in unfinished]
        try:
            for connection, sent in zip(sockets, unfinished, strict=True):
                connection.sendall(sent)
            assert api.is_ready()  # what was sent before has arrived by now
            assert child.end(grace=SECONDS) == 0
        finally:
            for connection in sockets:
                connection.close()


def test_a_sigterm_while_the_service_starts_ends_it_too(tmp_path: Path, sqlite_url: str) -> None:
    with Child("serve", "--port", str(free_port()), environment=environment(sqlite_url), folder=tmp_path) as child:
        process = psutil.Process(child.process.pid)
        wait_for(process.children, "the process that will answer requests")

        child.end(grace=SECONDS)

        assert not child.left_behind()


@pytest.mark.parametrize("option", [[], ["--access-log"]])
def test_requests_are_logged_only_if_that_is_asked_for(tmp_path: Path, sqlite_url: str, option: list[str]) -> None:
    with serving(tmp_path, environment(sqlite_url), *option) as (child, api):
        assert api.get("/messages", to="+19195550101") == {"messages": [], "nextCursor": None}
        assert child.end(grace=SECONDS) == 0
        assert ('"event":"request","method":"GET","path":"/messages","status":200' in child.output) == bool(option)
        assert "9195550101" not in child.output


def test_a_process_that_dies_is_replaced(tmp_path: Path, sqlite_url: str) -> None:
    with serving(tmp_path, environment(sqlite_url)) as (child, api):
        (worker,) = psutil.Process(child.process.pid).children()
        worker.kill()
        wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker's end")

        child.wait_until(api.is_ready, "the service to be ready again")

        assert api.callback(make_element()).json()["recorded"] == 1
    assert select(sqlite_url, "SELECT count(*) FROM events") == [(1,)]


def test_a_process_that_dies_again_at_once_ends_the_service_so_that_somebody_notices(
    tmp_path: Path, sqlite_url: str
) -> None:
    with serving(tmp_path, environment(sqlite_url)) as (child, _):
        server = psutil.Process(child.process.pid)
        (first,) = server.children()
        first.kill()
        successors = child.wait_until(lambda: [each for each in server.children() if each != first], "its successor")
        successors[0].kill()
        assert child.process.wait(30) == 1
        assert not child.left_behind()


# wsgi.py ---------------------------------------------------------------------------------------------------------


def _import_wsgi(settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = "import wsgi; print(wsgi.app.test_client().get('/health/ready').get_json()['status'])"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_any_wsgi_server_finds_the_application(sqlite_url: str) -> None:
    ended = _import_wsgi(environment(sqlite_url))

    assert (ended.returncode, ended.stdout) == (0, "ready\n")


def test_a_wsgi_server_gets_every_wrong_setting(sqlite_url: str) -> None:
    ended = _import_wsgi(environment(sqlite_url, api_keys=(), bandwidth_account_id=None) | {"READ_ONLY_API_KEYS": ""})

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    named: list[Any] = [line.partition(":")[0] for line in ended.stderr.splitlines()[1:]]
    assert named == ["API_KEYS", "BANDWIDTH_ACCOUNT_ID"]


@pytest.mark.parametrize("streams", [">/dev/full 2>/dev/full", "<&- >&- 2>&-", ">/dev/full 2>&-"])
def test_a_disk_that_is_full_and_streams_that_are_closed_keep_no_server_from_starting(
    tmp_path: Path, sqlite_url: str, streams: str
) -> None:
    port = free_port()
    command = f"exec {sys.executable} -m receiver.cli serve --port {port} {streams}"
    server = subprocess.Popen(["sh", "-c", command], env=environment(sqlite_url), cwd=tmp_path, start_new_session=True)
    try:
        with Api(f"http://127.0.0.1:{port}") as api:
            wait_for(lambda: server.poll() is not None or api.is_ready(), "the server")
            assert [api.callback(make_element()).status_code for _ in range(3)] == [200] * 3
        server.terminate()
        server.wait(SECONDS)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)


def test_what_cannot_be_written_is_reported_in_a_sentence(tmp_path: Path, sqlite_url: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "receiver.cli", "config"],
            env=environment(sqlite_url),
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    said = "Input or output failed: No space left on device.\n"
    assert (ended.returncode, ended.stderr) == (3, said)
