"""The server's own handling of callbacks: it responds as Flask does, and no client can hold it up."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from threading import Thread

import psycopg
import pytest
import requests
import sqlalchemy
from werkzeug.serving import make_server

from receiver.database.schema import upgrade
from receiver.web.front import LONG
from receiver.web.views import HEADERS
from tests.samples import callbacks
from tests.support.builders import ALICE, API_KEY, BEARER, BOB, CALLBACK_AUTH, make_body, make_element
from tests.support.locks import onlooker
from tests.support.loop import select
from tests.support.postgres import free_port
from tests.support.processes import PATIENCE, Api, Child, environment, serving, simulating, wait_for
from tests.support.service import CALLBACKS, Service

BASIC = "Basic " + base64.b64encode(":".join(CALLBACK_AUTH).encode()).decode()
BODY_SECONDS = 1
LONGEST = 2 * LONG

ELEMENT = make_element("delivered", ALICE)
ODD_BODIES = {
    "empty": b"",
    "an empty array": b"[]",
    "not JSON": b"[",
    "a text": b'"text"',
    "NaN": b"[NaN]",
    "invalid UTF-8": b'["\xff"]',
    "a raw line end": b'["\n"]',
    "a bad byte beside an event": make_body(ELEMENT | {"description": "?"}, ELEMENT).replace(b"?", b"\xed\xa0\x80\n"),
    "odd codes": make_body(
        *(make_element("sent", BOB, errorCode=code) for code in ("", "none", 4404.0, 104_404, False))
    ),
    "a byte order mark": b"\xef\xbb\xbf" + make_body(ELEMENT),
    "a lone surrogate": b'[{"type": "\\ud800", "message": {"id": "x"}}]',
    "a huge number": b'[{"type": "a", "message": {"id": "x"}, "errorCode": ' + b"9" * 5000 + b"}]",
    "deep": b"[" * 9000 + b"]" * 9000,
    "neighbours of rubbish": make_body(ELEMENT, {"type": 7}, make_element("failed", BOB, errorCode=4720)),
    "repeats": make_body(ELEMENT, ELEMENT),
    "as long as allowed": make_body(ELEMENT).ljust(LONGEST),
    "too long": make_body(ELEMENT).ljust(LONGEST + 1),
}
CORPUS = {path.stem: path.read_bytes() for path in callbacks()} | ODD_BODIES


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Child, Api]]:
    folder = tmp_path_factory.mktemp("front")
    url = f"sqlite:///{folder / 'receiver.sqlite3'}"
    upgrade(url)
    options = ("--body-seconds", str(BODY_SECONDS), "--threads", "4")
    with serving(folder, environment(url, max_body_bytes=LONGEST), *options) as (child, api):
        yield child, api
        assert "Traceback" not in child.output


@pytest.fixture
def service(sqlite_url: str) -> Iterator[Service]:
    with Service(sqlite_url, max_body_bytes=LONGEST) as service:
        yield service


def connect(api: Api, request: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=30)
    connection.sendall(request)
    return connection


def head(path: str = CALLBACKS, *lines: str, authorization: str = BASIC) -> bytes:
    fields = ["Host: receiver", f"Authorization: {authorization}", *lines]
    return "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""]).encode()


def status_of(connection: socket.socket) -> int:
    """The status of the next answer."""
    with closing(connection), connection.makefile("rb") as answer:
        return int(answer.readline().split()[1])


KEPT = ("Content-Type", "WWW-Authenticate", "Retry-After", "Allow", *HEADERS)


def test_the_whole_corpus_is_answered_as_flask_answers_it(server: tuple[Child, Api], service: Service) -> None:
    """Sends each body twice with credentials, once without and once with wrong ones."""
    _, api = server
    for name, body in CORPUS.items():
        for auth in (CALLBACK_AUTH, CALLBACK_AUTH, None, ("bandwidth", "wrong")):
            answer = api.call("POST", CALLBACKS, data=body, auth=auth)
            expected = service.post_callback(body, auth=auth)

            assert (answer.status_code, answer.json()) == (expected.status_code, expected.get_json()), (name, auth)
            for field in KEPT:
                assert answer.headers.get(field) == expected.headers.get(field), (name, auth, field)
            assert answer.headers.items() >= HEADERS.items(), (name, auth)


def test_latin_1_is_read_where_it_is_declared(server: tuple[Child, Api]) -> None:
    child, api = server
    element = make_element(message_id="latin-1", description="José")
    body = make_body(element).decode().replace("\\u00e9", "\u00e9").encode("latin-1")
    declared = {"Content-Type": 'application/json; charset="iso-8859-1"'}

    assert api.call("POST", CALLBACKS, data=body, auth=CALLBACK_AUTH, headers=declared).json()["recorded"] == 1

    assert b"Jos\xe9" in body
    assert select(child.environment["DATABASE_URL"], "SELECT description FROM events WHERE message_id = 'latin-1'") == [
        ("José",)
    ]


TARGETS = {
    CALLBACKS: 200,
    f"/{CALLBACKS}": 200,
    f"///{CALLBACKS}": 200,
    f"{CALLBACKS}?": 200,
    f"{CALLBACKS}?a=//b&c=%2F": 200,
    f"/{CALLBACKS}?a": 200,
    f"http://receiver.example{CALLBACKS}": 200,
    f"http://receiver.example/{CALLBACKS}": 200,
    f"https://receiver.example{CALLBACKS}?a": 200,
    "/callbacks%2Fbandwidth": 200,
    "/callbacks%2fbandwidth": 200,
    "/%2Fcallbacks/bandwidth": 200,
    "/%2f%2Fcallbacks%2Fbandwidth": 200,
    "/c%61llbacks/bandwidth": 200,
    f"{CALLBACKS}/": 404,
    f"{CALLBACKS}//": 404,
    f"{CALLBACKS}%2F": 404,
    "/callbacks//bandwidth": 404,
    "/callbacks%2F%2Fbandwidth": 404,
    f"/.{CALLBACKS}": 404,
    f"/x/..{CALLBACKS}": 404,
    "/callbacks/./bandwidth": 404,
    "/callbacks/x/../bandwidth": 404,
    "/callbacks/%2e/bandwidth": 404,
    f"{CALLBACKS};a=b": 404,
    f"{CALLBACKS}%3Fa": 404,
    f"{CALLBACKS}%20": 404,
    f"{CALLBACKS}%00": 404,
    f"{CALLBACKS}%FF": 404,
    f"{CALLBACKS}.json": 404,
    "/callbacks%252Fbandwidth": 404,
    "/callbacks%5Cbandwidth": 404,
    "/Callbacks/bandwidth": 404,
    "/CALLBACKS/BANDWIDTH": 404,
    "/callbacks": 404,
    "//": 405,
}
"""The status of a POST to each target."""


@pytest.fixture
def plain_wsgi(service: Service) -> Iterator[Api]:
    """Runs the same application through Flask alone, on Werkzeug's server."""
    running = make_server("127.0.0.1", 0, service.app, threaded=True)
    thread = Thread(target=running.serve_forever)
    thread.start()
    yield Api(f"http://127.0.0.1:{running.server_port}")
    running.shutdown()
    thread.join()


@pytest.mark.parametrize("body_comes", ["Content-Length", "Transfer-Encoding"])
def test_every_target_has_one_answer_on_every_server_and_whoever_is_challenged_can_store(
    server: tuple[Child, Api], plain_wsgi: Api, body_comes: str
) -> None:
    body = make_body(make_element("read", BOB, message_id=body_comes))
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    rest = chunked if body_comes == "Transfer-Encoding" else b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    for target, expected in TARGETS.items():
        for api in (server[1], plain_wsgi):
            with_credentials, bare = (
                status_of(connect(api, f"POST {target} HTTP/1.1\r\nHost: receiver\r\n{line}".encode() + rest))
                for line in (f"Authorization: {BASIC}\r\n", "")
            )
            assert (with_credentials, bare) == (expected, 401 if expected == 200 else expected), (target, api.url)


@pytest.mark.parametrize(
    ("method", "status"), [("POST", 200), ("post", 200), ("Post", 200), ("PUT", 405), ("GET", 405)]
)
def test_every_method_has_one_answer_on_every_server(
    server: tuple[Child, Api], plain_wsgi: Api, method: str, status: int
) -> None:
    body = make_body(make_element("read", BOB, message_id=method))
    for api in (server[1], plain_wsgi):
        request = head().replace(b"POST", method.encode(), 1)[:-2] + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        assert status_of(connect(api, request)) == status, api.url


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_body_is_the_same_however_it_comes(server: tuple[Child, Api], coding: str) -> None:
    _, api = server
    body = make_body(make_element("sent", ALICE, message_id=coding))
    pieces = iter([body[:10], body[10:]]) if coding == "chunked" else body
    assert api.call("POST", CALLBACKS, data=pieces, auth=CALLBACK_AUTH).json()["recorded"] == 1


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        (CALLBACKS, BASIC, 413),
        (CALLBACKS, "Basic nonsense", 401),
        ("/messages", f"Bearer {API_KEY}", 413),
        ("/messages", "Bearer nonsense", 401),
    ],
)
def test_a_body_over_the_limit_is_refused_before_any_of_it_is_sent(
    server: tuple[Child, Api], path: str, authorization: str, status: int
) -> None:
    _, api = server
    request = head(path, f"Content-Length: {LONGEST + 1}", authorization=authorization)
    assert status_of(connect(api, request)) == status


def test_a_body_with_two_lengths_is_not_longer_than_the_longer_of_them(server: tuple[Child, Api]) -> None:
    _, api = server
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (LONGEST + 1, b" " * (LONGEST + 1))
    request = head(CALLBACKS, "Content-Length: 5", "Transfer-Encoding: chunked") + chunked
    assert status_of(connect(api, request)) in (400, 413)


def test_a_chunked_body_that_is_too_long_is_refused_before_it_ends(server: tuple[Child, Api]) -> None:
    _, api = server
    endless = b"%x\r\n%b\r\n" % (LONGEST + 1, b" " * (LONGEST + 1))
    assert status_of(connect(api, head(CALLBACKS, "Transfer-Encoding: chunked") + endless)) == 413


@pytest.mark.parametrize("coding", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_callbacks_that_stall_are_given_up_and_stop_nobody(server: tuple[Child, Api], coding: str) -> None:
    _, api = server
    with ExitStack() as stack:
        stalled = [stack.enter_context(connect(api, head(CALLBACKS, coding) + b"3\r\n[{}")) for _ in range(100)]
        begun = time.monotonic()
        assert api.callback(make_element("sent", BOB)).status_code == 200
        assert api.is_ready()
        assert time.monotonic() - begun < BODY_SECONDS
        assert {status_of(each) for each in stalled} == {408}


def test_requests_of_the_application_that_stall_are_given_up_and_take_no_thread(server: tuple[Child, Api]) -> None:
    """Of which there are four."""
    _, api = server
    request = head("/messages", "Content-Length: 1000", authorization=f"Bearer {API_KEY}") + b"{"
    with ExitStack() as stack:
        stalled = [stack.enter_context(connect(api, request)) for _ in range(20)]
        assert api.is_ready()
        assert api.callback(make_element("sent", BOB)).status_code == 200
        assert {status_of(each) for each in stalled} == {408}


def test_many_requests_at_once_are_all_answered(server: tuple[Child, Api]) -> None:
    """Many more than there are threads; the message is wrong, so that nothing is sent."""
    _, api = server
    request = head("/messages", "Content-Length: 2", authorization=f"Bearer {API_KEY}") + b"{}"
    with ExitStack() as stack:
        asked = [stack.enter_context(connect(api, request)) for _ in range(64)]
        assert {status_of(each) for each in asked} == {422}


@pytest.mark.parametrize(("path", "authorization"), [(CALLBACKS, BASIC), ("/messages", f"Bearer {API_KEY}")])
@pytest.mark.parametrize("leaves", [True, False], ids=["the sender leaves", "the sender waits for the answer"])
def test_a_body_that_ends_too_early_is_not_taken_for_a_whole_one(
    server: tuple[Child, Api], path: str, authorization: str, *, leaves: bool
) -> None:
    child, api = server
    body = make_body(make_element("sent", ALICE, message_id="cut short"))
    sender = connect(api, head(path, f"Content-Length: {len(body) + 100}", authorization=authorization) + body)
    if leaves:
        sender.close()
    else:
        sender.shutdown(socket.SHUT_WR)
        assert status_of(sender) == 400
    assert api.callback(make_element("sent", BOB)).status_code == 200

    url = child.environment["DATABASE_URL"]
    assert select(url, "SELECT count(*) FROM events WHERE message_id = 'cut short'") == [(0,)]
    assert "Traceback" not in child.output


def test_while_a_very_long_callback_is_parsed_all_others_are_answered(tmp_path: Path, sqlite_url: str) -> None:
    body = b"[" + b"1," * 300_000 + b"1]"
    with serving(tmp_path, environment(sqlite_url)) as (_, api), ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        long = pool.submit(api.call, "POST", CALLBACKS, data=body, auth=CALLBACK_AUTH)
        answered = 0
        while not long.done():
            asked = time.monotonic()
            assert api.is_ready()
            assert time.monotonic() - asked < 2
            answered += 1
        assert time.monotonic() - begun < 10
        assert answered > 2
        assert long.result().status_code in (200, 503)


def test_everybody_is_answered_whichever_thread_has_the_answer(server: tuple[Child, Api]) -> None:
    """Bodies of LONG bytes are judged by a thread of their own, all others by the committer's."""
    _, api = server
    bodies = [b"{" * LONG, make_body(make_element("sent", ALICE))] * 4
    with ThreadPoolExecutor(len(bodies)) as pool:
        statuses = list(pool.map(lambda body: {_post(api, body) for _ in range(15)}, bodies))
    assert statuses == [{400}, {200}] * 4


def _post(api: Api, body: bytes) -> int:
    return status_of(connect(api, head(CALLBACKS, f"Content-Length: {len(body)}") + body))


def test_other_requests_reach_flask_as_they_were_sent(server: tuple[Child, Api]) -> None:
    _, api = server
    assert api.call("GET", "/messages", params={"to": "+19195550101", "reference": "a b&c"}).status_code == 200
    assert api.call("GET", CALLBACKS).headers["Allow"] == "POST"
    assert api.call("GET", "/messages/%C3%A9/..%2f?x=%FF").status_code == 404
    assert api.call("POST", "/messages", data="{").status_code == 400
    answer = requests.head(f"{api.url}/health/live", timeout=30)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("key", ["k\xff", "\xc3\xa9"], ids=["Latin-1", "UTF-8"])
def test_a_key_that_is_not_ascii_is_refused_and_not_overlooked(server: tuple[Child, Api], key: str) -> None:
    _, api = server
    answer = api.send(ALICE, headers={"Idempotency-Key": key})

    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["Idempotency-Key"])


def test_while_bandwidth_hangs_everything_but_sending_is_answered(tmp_path: Path, sqlite_url: str) -> None:
    with simulating(tmp_path) as simulator, ThreadPoolExecutor(3) as pool:
        settings = environment(sqlite_url, bandwidth_api_url=simulator.api_url, bandwidth_read_timeout=30.0)
        with serving(tmp_path, settings, "--threads", "2") as (_, api):
            simulator.switch(accident={"at": "request-read", "do": "hold"})
            asked = [pool.submit(api.send, ALICE) for _ in range(3)]
            simulator.wait_held(2)

            assert len(api.get("/messages", sendStatus="submitting")["messages"]) == 2
            assert api.is_ready()

            simulator.switch()
            assert [each.result().status_code for each in asked] == [202] * 3


@contextmanager
def held_up(url: str, api: Api) -> Iterator[None]:
    """Holds the row that every further event of this body needs, so that callbacks wait behind it."""
    assert api.callback(make_element("sent", ALICE)).status_code == 200
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as holder:
        holder.execute(sqlalchemy.text("SELECT 1 FROM events FOR UPDATE"))
        yield


def test_requests_beyond_the_limit_get_a_503_at_once(tmp_path: Path, postgres_url: str) -> None:
    """Of five callbacks of 4,000,000 bytes four may wait."""
    body = make_body(make_element("sent", ALICE)).ljust(4_000_000)
    with serving(tmp_path, environment(postgres_url), "--workers", "1") as (_, api), ThreadPoolExecutor(5) as pool:
        with held_up(postgres_url, api):
            asked = [pool.submit(api.call, "POST", CALLBACKS, data=body, auth=CALLBACK_AUTH) for _ in range(5)]
            refused = next(as_completed(asked)).result()
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert sorted(each.result().status_code for each in asked) == [200] * 4 + [503]


def test_a_sigterm_finishes_what_was_taken(tmp_path: Path, postgres_url: str) -> None:
    body = make_body(make_element("sent", ALICE))
    request = head(CALLBACKS, f"Content-Length: {len(body)}") + body
    with serving(tmp_path, environment(postgres_url), "--workers", "1") as (child, api), ExitStack() as stack:
        with held_up(postgres_url, api):
            taken = [stack.enter_context(connect(api, request)) for _ in range(50)]
            wait_for(lambda: select(postgres_url, WAITING_FOR_LOCKS), "the committer to wait")
            assert api.is_ready()  # what was sent before has arrived by now
            child.process.send_signal(signal.SIGTERM)
        assert [status_of(each) for each in taken] == [200] * 50
        assert child.process.wait(30) == 0
    assert select(postgres_url, "SELECT deliveries FROM events") == [(51,)]


WAITING_FOR_LOCKS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_processes_whose_parent_was_killed_end_by_themselves(tmp_path: Path, postgres_url: str) -> None:
    with serving(tmp_path, environment(postgres_url)) as (child, _):
        assert len(child.left_behind()) == 3
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
        wait_for(lambda: not child.left_behind(), "the workers to end")


WITHOUT_PARENT = """
from receiver.cli import main, serve

make_front = serve.make_front
serve.make_front = lambda **options: make_front(**options | {"parent": 0})
main()
"""


def test_a_process_whose_parent_is_gone_before_it_listens_ends_too(tmp_path: Path, sqlite_url: str) -> None:
    """Then so does this server, whose processes all believe that it is gone."""
    upgrade(sqlite_url)
    command = [sys.executable, "-c", WITHOUT_PARENT, "serve", "--port", str(free_port())]
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        server = subprocess.Popen(
            command, env=environment(sqlite_url), cwd=tmp_path, stderr=stderr, start_new_session=True
        )
    try:
        server.wait(PATIENCE)
        assert "server starting" in log.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def test_whether_it_lives_is_reported_while_all_who_ask_the_database_wait_for_it(
    tmp_path: Path, postgres_url: str
) -> None:
    """Otherwise a supervisor would restart the service in vain, and interrupt its callbacks."""
    with ExitStack() as stack:
        options = ("--workers", "1", "--threads", "2")
        _, api = stack.enter_context(serving(tmp_path, environment(postgres_url), *options))
        others = stack.enter_context(ThreadPoolExecutor(10))
        looking = stack.enter_context(onlooker(postgres_url))
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as lock:
            lock.execute("LOCK TABLE messages")
            asked = [others.submit(requests.get, f"{api.url}/messages", headers=BEARER, timeout=60) for _ in range(10)]
            looking.wait_for(sessions=2)
            assert api.call("GET", "/health/live").status_code == 200
            assert not any(each.done() for each in asked)
        assert {each.result().status_code for each in asked} == {200}
