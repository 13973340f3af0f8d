"""Metrics across processes: any process reports the right sum, with those that were killed."""

from __future__ import annotations

import base64
import http.client
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import requests

from receiver import VERSION
from receiver.metrics import FOLDER
from tests.support.builders import API_KEY, CALLBACK_AUTH, make_element
from tests.support.locks import locked
from tests.support.loop import looping
from tests.support.postgres import free_port
from tests.support.processes import PATIENCE, Api, Child, environment, run, serving, wait_for, working
from tests.support.prometheus import counted

CLIENTS, SCRAPES = 16, 12


def post(url: str, number: int) -> int:
    """One callback as Bandwidth makes it, each time over a connection of its own: bare, then with credentials."""
    path, body = f"{url}/callbacks/bandwidth", [make_element(message_id=f"id-{number}")]
    assert requests.post(path, json=body, timeout=PATIENCE).status_code == 401
    return requests.post(path, json=body, auth=CALLBACK_AUTH, timeout=PATIENCE).status_code


def scrape(url: str) -> dict[tuple[str, ...], float]:
    """The metrics of one of the processes; a new connection each time makes it a random one."""
    answer = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {API_KEY}"}, timeout=PATIENCE)
    assert answer.status_code == 200
    return counted(answer.text)


def expect(url: str, *, callbacks: int, events: int) -> None:
    """A process writes its counts a few times a second, so the others may see them a little later."""
    wait_for(
        lambda: all(scrape(url).get(("callbacks_total", "200")) == callbacks for _ in range(SCRAPES)), "the counts"
    )
    for found in (scrape(url) for _ in range(SCRAPES)):
        assert found["callbacks_total", "200"] == found["callbacks_total", "401"] == callbacks
        assert found["events_total", "unlinked", "message-delivered"] == events
        assert found["event_lag_seconds_count",] == events
        assert found.get(("duplicate_events_total",), 0) == callbacks - events
        assert 1 <= found["commit_elements_count",] == found["commit_seconds_count",] <= callbacks


def post_all(url: str, numbers: range) -> None:
    with ThreadPoolExecutor(CLIENTS) as threads:
        assert set(threads.map(lambda number: post(url, number), numbers)) == {200}


def workers(server: Child) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def folder_of(process: psutil.Process) -> Path:
    """The folder in which that process shares its counters."""
    found = re.search(r"(/\S*/receiver-metrics-\w+)/counter_\d+\.db", Path(f"/proc/{process.pid}/maps").read_text())
    assert found is not None
    return Path(found[1])


def test_any_of_two_processes_tells_what_both_counted_and_one_that_was_killed(
    tmp_path: Path, postgres_url: str
) -> None:
    with serving(tmp_path, environment(postgres_url), "--workers", "2") as (server, api):
        post_all(api.url, range(120))
        expect(api.url, callbacks=120, events=120)
        answered = {process.pid: counts_of(process) for process in workers(server)}
        assert len(answered) == 2
        assert all(answered.values()), "one process answered everything: nothing was shown"

        victim, survivor = workers(server)
        victim.kill()
        wait_for(lambda: len({each.pid for each in workers(server)} - {victim.pid}) == 2, "its successor")
        wait_for(lambda: _have_counters(server, folder_of(survivor)), "the successor to count")
        expect(api.url, callbacks=120, events=120)
        post_all(api.url, range(80, 160))
        expect(api.url, callbacks=200, events=160)

        folder = folder_of(survivor)
        assert server.end() == 0
    assert not folder.exists()


def waiting(url: str) -> int:
    answer = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {API_KEY}"}, timeout=PATIENCE)
    return int(float(re.findall(r"^receiver_waiting_callbacks (\S+)$", answer.text, re.MULTILINE)[0]))


def test_callbacks_wait_until_they_are_stored_and_no_longer_than_their_process_lives(
    tmp_path: Path, postgres_url: str
) -> None:
    with (
        serving(tmp_path, environment(postgres_url), "--workers", "1") as (server, api),
        ThreadPoolExecutor(1) as client,
    ):
        with locked(postgres_url, "LOCK TABLE events IN EXCLUSIVE MODE"):
            asked = client.submit(post, api.url, 1)
            wait_for(lambda: waiting(api.url) == 1, "the callback to wait")
        assert asked.result() == 200
        wait_for(lambda: waiting(api.url) == 0, "nothing to wait any more")

        [victim] = workers(server)
        with locked(postgres_url, "LOCK TABLE events IN EXCLUSIVE MODE"):
            asked = client.submit(post, api.url, 2)
            wait_for(lambda: waiting(api.url) == 1, "the other to wait")
            victim.kill()
            wait_for(lambda: victim.pid not in {each.pid for each in workers(server)} and api.is_ready(), "the next")
            assert waiting(api.url) == 0
        assert isinstance(asked.exception(), requests.ConnectionError)


def test_every_answer_to_a_callback_is_counted(tmp_path: Path, sqlite_url: str) -> None:
    settings = environment(sqlite_url, max_body_bytes=1000)
    with serving(tmp_path, settings, "--body-seconds", "1") as (_, api):
        path = f"{api.url}/callbacks/bandwidth"
        answers = [
            requests.post(path, data=body, auth=CALLBACK_AUTH, timeout=PATIENCE).status_code
            for body in (b"[]", b"{", b" " * 1001)
        ]
        assert answers == [200, 400, 413]
        assert _stall(api.url) == 408
        found = {series: value for series, value in scrape(api.url).items() if series[0] == "callbacks_total"}
    assert found == {("callbacks_total", str(status)): 1 for status in (*answers, 408)}


def _stall(url: str) -> int:
    """The response to a callback whose body never arrives."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    with closing(connection):
        connection.putrequest("POST", "/callbacks/bandwidth")
        credentials = base64.b64encode(":".join(CALLBACK_AUTH).encode()).decode()
        connection.putheader("Authorization", f"Basic {credentials}")
        connection.putheader("Content-Length", "10")
        connection.endheaders()
        return connection.getresponse().status


def counts_of(process: psutil.Process) -> int:
    """How many bytes of its counters differ from those of a new process."""
    file = folder_of(process) / f"counter_{process.pid}.db"
    return sum(byte != 0 for byte in file.read_bytes()) if file.exists() else 0


def _have_counters(server: Child, folder: Path) -> bool:
    return all((folder / f"histogram_{each.pid}.db").exists() for each in workers(server))


def test_what_a_killed_server_leaves_is_removed_by_the_next_and_what_a_living_one_uses_is_not(
    tmp_path: Path, sqlite_url: str
) -> None:
    settings = environment(sqlite_url)
    with serving(tmp_path, settings) as (killed, _), serving(tmp_path, settings) as (living, _):
        left, used = (folder_of(workers(each)[0]) for each in (killed, living))
        killed.kill()
        assert left.exists()
        with serving(tmp_path, settings):
            assert not left.exists()
            assert used.exists()


def test_a_worker_tells_what_it_sent_and_for_how_long_bandwidth_took(tmp_path: Path, sqlite_url: str) -> None:
    port = free_port()
    with looping(tmp_path, sqlite_url) as running:
        running.queue(20)
        with running.workers(1, "--metrics", str(port)):
            running.wait_for_states(accepted=20)
            answer = wait_for(lambda: _metrics_of_worker(port), "all of them to be counted")
    assert answer["bandwidth_seconds_count", "2xx"] == 20


def _metrics_of_worker(port: int) -> dict[tuple[str, ...], float] | None:
    found = counted(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE).text)
    return found if found.get(("sends_total", "", "accepted")) == 20 else None


def test_what_strangers_do_to_the_port_of_a_worker_leaves_no_traceback(tmp_path: Path, sqlite_url: str) -> None:
    port = free_port()
    with working(tmp_path, environment(sqlite_url), "--metrics", str(port)) as worker:
        for sent in (b"GET /metr", b"GET /metrics HTTP/1.1\r\n\r\n", b"\xff +12025550143\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(sent)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        accept = {"Accept": "application/openmetrics-text; version=1.0.0; escaping=+12025550143"}
        answer = requests.get(f"http://127.0.0.1:{port}/metrics", headers=accept, timeout=PATIENCE)
        assert answer.status_code == 200
        assert f'receiver_build_info{{version="{VERSION}"}} 1.0' in answer.text
        assert worker.end() == 0
        assert "Traceback" not in worker.output
        assert "2025550143" not in worker.output


def test_a_process_that_was_killed_before_it_counted_spoils_no_sum(tmp_path: Path, sqlite_url: str) -> None:
    with serving(tmp_path, environment(sqlite_url)) as (server, api):
        (folder_of(workers(server)[0]) / "counter_1.db").touch()
        post_all(api.url, range(1))
        expect(api.url, callbacks=1, events=1)


@pytest.mark.parametrize("place", ["", "nowhere"])
def test_a_command_leaves_the_folder_of_another_server_alone(tmp_path: Path, sqlite_url: str, place: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    settings = environment(sqlite_url) | {FOLDER: str(shared / place)}
    assert run("config", environment=settings, folder=tmp_path).returncode == 0
    with serving(tmp_path, settings) as (_, api):
        post_all(api.url, range(1))
        expect(api.url, callbacks=1, events=1)
    assert list(shared.iterdir()) == []


def test_a_folder_that_is_not_there_is_reported_in_a_sentence(sqlite_url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import wsgi"],
        env=environment(sqlite_url) | {FOLDER: "/no/such/folder"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    sentence = (
        "Cannot store metrics in /no/such/folder, named by PROMETHEUS_MULTIPROC_DIR: No such file or directory.\n"
    )
    assert ended.stderr == sentence


@pytest.mark.parametrize(
    ("address", "code"), [("nine", 2), ("0", 2), ("127.0.0.1:99999", 2), ("192.0.2.1:9100", 1), ("..:9100", 1)]
)
def test_an_address_that_cannot_be_listened_on_is_reported_in_a_sentence(
    tmp_path: Path, sqlite_url: str, address: str, code: int
) -> None:
    ended = run("worker", "--metrics", address, environment=environment(sqlite_url), folder=tmp_path)
    assert ended.returncode == code
    assert ("HOST" if code == 2 else f"Cannot listen on {address}") in ended.stderr


@pytest.fixture
def another_server(tmp_path: Path, postgres_url: str) -> Iterator[str]:
    """`wsgi:app` in two processes that share a folder, as docs/operations.md says."""
    port, shared = free_port(), tmp_path / "shared"
    shared.mkdir()
    settings = environment(postgres_url) | {"PROMETHEUS_MULTIPROC_DIR": str(shared)}
    options = ["--interface", "wsgi", "--workers", "2", "--blocking-threads", "8", "--no-ws", "--port", str(port)]
    command = [sys.executable, "-m", "granian", *options, "wsgi:app"]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=settings, cwd=Path(__file__).parents[2], stdout=log, stderr=log)
        try:
            with Api(f"http://127.0.0.1:{port}") as api:
                wait_for(api.is_ready, "the server")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE)


def test_another_wsgi_server_with_a_folder_of_its_own_tells_the_sum_too(another_server: str) -> None:
    post_all(another_server, range(100))
    expect(another_server, callbacks=100, events=100)
