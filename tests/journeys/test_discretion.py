"""Sends values that no log may contain down every path; then searches all that every process printed."""

from __future__ import annotations

import base64
import json
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from sqlalchemy import make_url

from receiver import VERSION
from receiver.settings import ApiKey, Credential
from tests.support.builders import make_element
from tests.support.loop import select
from tests.support.processes import Api, Child, environment, run, serving, wait_for
from tests.support.service import OUTAGES, outage

TEXT, MEDIA = "zq-text, öffentlich nicht", "https://zq-host.example/p.jpg?token=zq-media-token"
REFERENCE, IDEMPOTENCY, PAYLOAD, HEADER = "zq-reference", "zq-idempotency", "zq-payload", "zq-header"
WRITE_KEY, READ_KEY, WRONG_KEY = "zq-write-key", "zq-read-key", "zq-wrong-key"
CALLBACK_PASSWORD, BANDWIDTH_SECRET = "zq-callback", "zq-bandwidth"
TOKEN = "zq-token-head.zq-token-body.zq-token-signature"
NUMBERS = ["+12025550143", "+442079460958", "+12025550171"]
BUGGED = "+12025550199"
"""A message to this number meets a bug in the client, and its events one in the view."""

PLAIN = ["zq-", "Bearer ", "Basic "]
"""The beginning of every such value except numbers, and the form of credentials."""

BUGS = ("tests.journeys.bugs", {"number": BUGGED, "quoted": f"{TEXT}\n{NUMBERS[0]}"})
"""Two bugs that every process here has, which quote all their values."""


class Parrot(BaseHTTPRequestHandler):
    """A Bandwidth whose responses repeat the request wherever they can."""

    fates: ClassVar[deque[str]] = deque()
    token_fates: ClassVar[deque[str]] = deque()

    def do_POST(self) -> None:
        if self.path.endswith("/oauth2/token"):
            self._give_token()
            return
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fate, said = (self.fates.popleft() if self.fates else "202"), json.dumps(asked, ensure_ascii=True)
        if fate == "400":
            errors = [{"fieldName": name, "description": f"'{value}' is wrong"} for name, value in asked.items()]
            self._say(400, {"type": f"wrong {asked['to'][0]}", "description": said, "fieldErrors": errors})
        elif fate == "malformed":
            self.wfile.write(f"HTTP/1.1 502 {asked['to'][0]}\r\n{said}\r\n : {said}\r\n\r\n{said}".encode())
        elif fate == "401":
            said = f"{self.headers['Authorization']} is not known"
            self._say(401, {"type": said, "description": said})
        elif fate == "202":
            self._say(202, {"id": "1795300147488parrot", "segmentCount": 1} | asked)

    def _give_token(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = f"{self.headers['Authorization']} {form} {BANDWIDTH_SECRET} {TOKEN}"
        if self.token_fates and self.token_fates.popleft() == "401":
            self._say(401, {"error": said, "error_description": said, "type": said, "description": said})
        else:
            self._say(200, {"access_token": TOKEN, "token_type": said, "scope": said, "expires_in": 3600})

    def do_GET(self) -> None:
        self._say(400, {"type": "bad-request", "description": self.path})

    def _say(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def parrot() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Parrot) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api/v2"
        server.shutdown()


def settings(database_url: str, api_url: str) -> dict[str, str]:
    return environment(
        database_url,
        bandwidth_api_url=api_url,
        bandwidth_client_secret=BANDWIDTH_SECRET,
        api_keys=(ApiKey("shop", WRITE_KEY),),
        read_only_api_keys=(ApiKey("desk", READ_KEY),),
        callback_credentials=(Credential("bandwidth", CALLBACK_PASSWORD),),
        log_level="debug",
    )


def ask(api: Api, method: str, path: str, *, key: str = WRITE_KEY, **options: Any) -> int:
    headers = options.pop("headers", {}) | {"Authorization": f"Bearer {key}"}
    return api.call(method, path, auth=None, headers=headers, **options).status_code


def send(api: Api, *to: str, **headers: str) -> int:
    content = {"to": list(to), "text": TEXT, "media": [MEDIA], "reference": REFERENCE}
    return ask(api, "POST", "/messages", json=content, headers=headers)


def send_everything(api: Api, tag_of: Any) -> None:
    Parrot.token_fates.append("401")
    assert send(api, NUMBERS[0]) == 502
    wait_for(lambda: send(api, NUMBERS[0]) == 202, "a token")
    Parrot.fates.append("401")
    assert send(api, NUMBERS[0]) == 502
    Parrot.fates.extend(["202", "400", "malformed", "dropped"])
    answers = [send(api, *NUMBERS, **{"Idempotency-Key": IDEMPOTENCY}) for _ in range(2)]
    answers += [send(api, NUMBERS[0]) for _ in range(3)] + [send(api, BUGGED)]
    assert answers == [202, 202, 422, 504, 504, 504]
    assert send(api, NUMBERS[0], Prefer="respond-async") == 202
    assert send(api, BUGGED, Prefer="respond-async") == 202
    assert send(api, NUMBERS[0], "zq-number") == 422
    assert send(api, NUMBERS[0], **{"Idempotency-Key": IDEMPOTENCY}) == 422
    assert ask(api, "POST", "/messages", data=f'{{"zq-payload": {NUMBERS[0]}'.encode()) == 400
    assert ask(api, "POST", "/messages", json={NUMBERS[0]: PAYLOAD}) == 422
    assert ask(api, "POST", "/messages", json={}, key=READ_KEY) == 403
    assert ask(api, "GET", "/messages", key=WRONG_KEY) == 401
    tag = tag_of()
    for path in (f"?to={NUMBERS[0]}", f"?to=%2B{NUMBERS[0][1:]}", f"?zq-filter={NUMBERS[0]}", f"/{NUMBERS[0]}", ""):
        ask(api, "GET", f"/messages{path}")
    assert ask(api, "GET", f"/messages/{tag}/events") == 500
    assert ask(api, "DELETE", f"/messages/{tag}") == 409
    assert ask(api, "GET", f"/nowhere/{NUMBERS[0]}/%2B{NUMBERS[1][1:]}") == 404


def call_back_everything(api: Api, tag: str) -> None:
    credentials = ("bandwidth", CALLBACK_PASSWORD)

    def post(body: Any, auth: Any = credentials) -> int:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return api.call("POST", "/callbacks/bandwidth", data=content, auth=auth).status_code

    def about(kind: str, number: str = NUMBERS[0], **more: Any) -> Any:
        element = make_element(kind, number, tag=tag, description=f"{PAYLOAD} {number}", **more)
        element["message"] |= {"text": TEXT, "media": [MEDIA], "to": NUMBERS, "from": NUMBERS[2]}
        return element

    for elements in (
        [about("delivered"), about("failed", errorCode=4720)],
        [about("delivered")] * 3,
        [about("sending"), about("sending", NUMBERS[1]), about("sending", "zq-number")],
        [about(f"of-{NUMBERS[0]}")] * 2,
        [make_element(tag=f"zq-{NUMBERS[0]}", message_id="another")] * 2,
        [make_element(message_id=f"id\n{number}") for number in NUMBERS] * 2,
        [make_element(message_id=NUMBERS[0][1:])] * 2,
        [PAYLOAD, {"type": PAYLOAD, "to": NUMBERS[0]}, {"type": 7, "message": about("read")}],
        [make_element("received", NUMBERS[0], message_id="inbound", text=TEXT)] * 2,
    ):
        assert post(elements) == 200
    assert post(f'[{{"{PAYLOAD}": "{NUMBERS[0]}'.encode()) == 400
    assert post(PAYLOAD) == 400
    assert [post([], auth) for auth in (None, ("bandwidth", WRONG_KEY), (NUMBERS[0], "x"))] == [401] * 3


def shout(api: Api) -> None:
    """Sends bytes that are hardly HTTP."""
    number = NUMBERS[0].encode()
    for lines in (
        b"GET /messages?to=%s&zq-query HTTP/1.1\r\nAuthorization: Bearer zq-\xff\r\nX: \xff zq-header %s"
        % (number, number),
        b"POST /messages HTTP/1.1\r\nAuthorization: Basic zq-header\r\nContent-Length: zq-header",
        b"POST /callbacks/bandwidth HTTP/1.1\r\nContent-Length: %s\r\nX: zq-header" % number,
        b"zq-header %s" % number,
        b"GET /%s zq-header" % number,
        b"zq-%s /messages HTTP/1.1" % number,
        b"zq-%s /messages HTTP/1.1\r\nAuthorization: Bearer %s\r\nContent-Length: 9999999"
        % (number, WRITE_KEY.encode()),
    ):
        address = urlsplit(api.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(lines + b"\r\nHost: zq-host\r\nConnection: close\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass


def forms(value: str) -> list[str]:
    """A value as base64 at each of its three alignments, without the characters that its neighbours share."""
    shifted = (base64.b64encode(b"x" * shift + value.encode())[(0, 2, 3)[shift] :] for shift in range(3))
    return [text.rstrip(b"=")[:-1].decode() for text in shifted]


def assert_discreet(printed: str, *secrets_too: str, numbers: bool = True) -> None:
    """Asserts that there is no secret and no traceback; with ``numbers``, no number and no text of a message either."""
    digits = [number[1:] for number in (*NUMBERS, BUGGED)] if numbers else []
    secrets = [CALLBACK_PASSWORD, BANDWIDTH_SECRET, TOKEN, WRITE_KEY, READ_KEY, WRONG_KEY, *secrets_too]
    texts = [TEXT, REFERENCE, IDEMPOTENCY, PAYLOAD, HEADER] if numbers else []
    wanted = [*secrets, *(PLAIN if numbers else []), *digits, *digits_in_pieces(digits)]
    wanted += [form for value in (*secrets, *texts, *digits) for form in forms(value)]
    found = [(value, line) for line in printed.splitlines() for value in wanted if value in line]
    assert not found, found[:5]
    assert "Traceback" not in printed


def digits_in_pieces(digits: list[str]) -> list[str]:
    """The last seven digits alone would do to call a neighbour."""
    return [each[-7:] for each in digits]


def lines_of(child: Child) -> list[Any]:
    """Asserts that all the process printed is lines of JSON."""
    return [json.loads(line) for line in child.output.splitlines()]


@OUTAGES
def test_no_process_prints_a_secret_a_number_or_a_text(
    tmp_path: Path, database_url: str, kind: str, request: pytest.FixtureRequest
) -> None:
    def tag_of() -> str:
        return str(select(database_url, "SELECT min(tag) FROM messages")[0][0])

    with parrot() as api_url:
        given = settings(database_url, api_url)
        with serving(tmp_path, given, "--access-log", before=BUGS) as (server, api):
            send_everything(api, tag_of)
            call_back_everything(api, tag_of())
            shout(api)
            with Child("worker", environment=given, folder=tmp_path, before=BUGS) as worker:
                worker.wait_until(lambda: worker.output.count('"event":"send"') == 2, "two messages sent")
                with outage(database_url, kind, request):
                    assert send(api, NUMBERS[0]) == 503
                    worker.wait_until(lambda: "database unavailable" in worker.output, "the outage")
                assert worker.end() == 0
            assert server.end() == 0
        ended = [
            run(*arguments, environment=given, folder=tmp_path, before=BUGS)
            for arguments in (
                ("config",),
                ("doctor", "--json"),
                ("find", tag_of()),
                ("reconcile",),
                ("send", "--to", NUMBERS[0], "--text", TEXT, "--media", MEDIA, "--reference", REFERENCE),
                ("resolve", tag_of(), "--as", "refused", "--reason", PAYLOAD, "--by", "me"),
                ("cancel", tag_of()),
            )
        ]
    password = make_url(database_url).password or WRITE_KEY
    for each in ended:  # what it was asked to show is on stdout
        assert_discreet(each.stderr, password)
        assert_discreet(each.stdout, password, numbers=False)
    for child in (server, worker):
        assert_discreet(child.output, password)
        assert_discreet("\n".join(map(str, lines_of(child))), password)
    errors = select(database_url, "SELECT error_type || error_description FROM messages WHERE error_status = 401")
    assert errors
    assert "zq-" not in str(errors)
    for child, start in ((server, "server starting"), (worker, "worker starting")):
        first, second = lines_of(child)[:2]
        assert (first["event"], second["event"]) == ("settings", start)
        assert first["version"] == second["version"] == VERSION
        assert {"DATABASE_URL", "BANDWIDTH_ACCOUNT_ID", "API_KEYS"} <= set(first["settings"])
    events = {line["event"] for child in (server, worker) for line in lines_of(child)}
    assert {"callback", "send", "request", "event repeated", "late event"} <= events
    assert {"token fetched", "token not fetched"} <= events
    assert {"internal error", "database unavailable"} <= events


def test_the_search_finds_what_it_looks_for() -> None:
    for leak in ("to=%2B12025550143", "…5550143", base64.b64encode(f"bandwidth:{CALLBACK_PASSWORD}".encode()).decode()):
        with pytest.raises(AssertionError):
            assert_discreet(f"a line with {leak} in it")
    assert_discreet("a recipient …0143")


@pytest.mark.parametrize("command", ["serve", "worker", "config"])
def test_wrong_settings_are_named_and_not_quoted(tmp_path: Path, sqlite_url: str, command: str) -> None:
    given = settings(sqlite_url, "ftp://zq-host:zq-port/+12025550143")
    given |= {"CALLBACK_CREDENTIALS": CALLBACK_PASSWORD, "API_KEYS": f"{WRITE_KEY}:", "LOG_LEVEL": WRONG_KEY}
    given |= {"DATABASE_URL": "mysql://zq-user:zq-password@zq-host/"}

    ended = run(command, environment=given, folder=tmp_path, from_command_line=True)

    assert ended.returncode == 2
    assert {"DATABASE_URL", "LOG_LEVEL", "API_KEYS"} <= {line.partition(":")[0] for line in ended.stderr.splitlines()}
    assert_discreet(ended.stdout + ended.stderr)
