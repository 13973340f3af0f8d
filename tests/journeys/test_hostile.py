"""Whatever the callback endpoint is sent: it responds, never with 500, loses nothing, and keeps no memory."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.samples import callbacks
from tests.support.builders import ALICE, CALLBACK_AUTH, make_body, make_element
from tests.support.loop import select
from tests.support.processes import Api, Child, environment, serving, wait_for

BASIC = b"Authorization: Basic " + base64.b64encode(":".join(CALLBACK_AUTH).encode())
STATUSES = {200, 400, 401, 404, 405, 408, 413, 414, 431}
"""The responses to hostile requests; "" is a connection closed on a request that is not HTTP."""

ODD: list[Any] = [None, True, -1, 0.5, 10**30, "", "x" * 5000, "\x00", "\ud800", [], {}, [[]], {"id": {}}, "4720", "٤"]
RAW = [
    b"",
    b"\xff\xfe",
    b"[" * 100_000 + b"]" * 100_000,
    b'[{"type": "\xc0\x80", "message": {"id": "x"}}]',
    b'[{"type": "a", "message": {"id": "x"}, "errorCode": ' + b"9" * 100_000 + b"}]",
    b"[NaN, Infinity]",
    b'[{"type": "a", "type": "b", "message": {"id": "twice", "id": "twice"}}]',
    gzip.compress(make_body(make_element())),
    b"[]".ljust(2_000_000),
]
HEADS = [
    b"POST /callbacks/bandwidth HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n" + BASIC + b"\r\n\r\n[]"
    for line in (
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Content-Length: -1",
        b"Content-Length: 1e3",
        b"Transfer-Encoding: gzip, chunked",
        b"X: " + b"y" * 600_000,
        b"\r\n".join(b"X-%d: y" % number for number in range(500)),
        b"Bad header",
        b"Expect: nonsense\r\nContent-Length: 2",
    )
] + [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"post /callbacks/bandwidth HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST http://a/callbacks/bandwidth HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST //callbacks//bandwidth HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 1000,
]
STRANGERS = [
    b"Basic",
    b"Basic :",
    b"Basic " + base64.b64encode(b":"),
    b"Basic " + base64.b64encode(b"bandwidth:"),
    b"Basic " + base64.b64encode(b":password"),
    b"Basic " + base64.b64encode(b"x" * 50_000),
    b"Basic \xff\xfe",
    b"Bearer an-api-key",
]


def mutated(chance: random.Random, element: Any) -> Any:
    """The element with one part dropped, doubled, retyped or nested."""
    changed = copy.deepcopy(element)
    for _ in range(chance.randint(1, 3)):
        holder = changed
        while isinstance(holder, dict) and holder and chance.random() < 0.5:
            inner = chance.choice(list(holder.values()))
            holder = inner if isinstance(inner, dict) else holder
        if not isinstance(holder, dict) or not holder:
            return chance.choice(ODD)
        name = chance.choice(list(holder))
        match chance.randrange(4):
            case 0:
                del holder[name]
            case 1:
                holder[name] = [holder[name]]
            case 2:
                holder[name + chance.choice(["", "X"])] = {name: holder[name]}
            case _:
                holder[name] = chance.choice(ODD)
    return changed


def hostile_bodies(chance: random.Random, count: int) -> Iterator[tuple[bytes, str | None]]:
    """Bodies, with the message id of the valid event that some of them contain."""
    samples = [json.loads(path.read_bytes()) for path in callbacks()]
    for number in range(count):
        sample = chance.choice(samples)
        bad = mutated(chance, sample[0] if isinstance(sample, list) else sample)
        good = make_element("sent", ALICE, message_id=f"neighbour {chance.randrange(10**9)}-{number}")
        elements = [bad, good] if chance.random() < 0.5 else [good, bad, bad]
        yield json.dumps(elements).encode(), good["message"]["id"]
        body = bytearray(json.dumps(elements).encode())
        for _ in range(chance.randint(1, 3)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        yield bytes(body), None
    many = (make_element("sent", f"+1{number:010}", message_id="many") for number in range(60 * count))
    for raw in (*RAW, make_body(*many)):
        yield raw, None


def exchange(port: int, request: bytes) -> tuple[int | None, bytes]:
    """Status and body of the response; None if the connection was closed. A hang is a time-out, which is an error."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
        received = b""
        with suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else None), body


def post(body: bytes, *, authorization: bytes = BASIC, chunked: bool = False, kind: bytes = b"text/plain") -> bytes:
    if chunked:
        length, body = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        length = b"Content-Length: %d" % len(body)
    lines = [b"POST /callbacks/bandwidth HTTP/1.1", b"Host: a", b"Connection: close", b"Content-Type: " + kind]
    return b"\r\n".join([*lines, authorization, length, b"", b""]) + body


def taken(port: int, request: bytes) -> tuple[int | None, bytes] | None:
    """The response; None for a 503, as a busy machine may not store 10,000 elements in 8 seconds."""
    answer = exchange(port, request)
    return None if answer[0] == 503 else answer


def attack(port: int, seed: int, *, bodies: int) -> set[str]:
    """Runs one client's round; returns the ids of the valid events whose callbacks got a 200."""
    chance, answered = random.Random(seed), set()
    for body, neighbour in hostile_bodies(chance, bodies):
        request = post(body, chunked=chance.random() < 0.3 and bool(body), kind=chance.choice([b"", b"image/png"]))
        status, answer = wait_for(lambda request=request: taken(port, request), "an answer but 503")
        assert status in (200, 400), (status, body[:300])
        if status == 200:
            counts = json.loads(answer)
            elements = counts["recorded"] + counts["duplicates"] + counts["unreadable"]
            if neighbour:
                assert elements == len(json.loads(body))
                answered.add(neighbour)
    for request in HEADS:
        status, _ = exchange(port, request + b"\r\n")
        assert status is None or status in STATUSES, (status, request[:100])
    for stranger in STRANGERS:
        assert exchange(port, post(b"[]", authorization=b"Authorization: " + stranger))[0] in (400, 401)
    return answered


def memory(child: Child) -> int:
    """The bytes of memory that the server's processes hold."""
    return sum(each.memory_info().rss for each in (psutil.Process(child.process.pid), *child.left_behind()))


@pytest.mark.parametrize(
    ("rounds", "bodies", "most_kept"), [(3, 40, 2_500_000), pytest.param(16, 150, 5_000_000, marks=pytest.mark.soak)]
)
def test_nothing_that_is_sent_breaks_the_service_or_its_neighbours(
    tmp_path: Path, database_url: str, rounds: int, bodies: int, most_kept: int
) -> None:
    """Two clients send everything in every round, far more bytes than the service may keep of it.

    A leak keeps something of every round; the allocator may grow in any, but not in all.
    """
    with serving(tmp_path, environment(database_url), "--idle-seconds", "1", "--workers", "1") as (child, api):
        port = int(api.url.rpartition(":")[2])
        answered, held = set[str](), []
        with ThreadPoolExecutor(2) as clients:
            for seed in range(0, 2 * rounds, 2):
                answered.update(*clients.map(partial(attack, port, bodies=bodies), (seed, seed + 1)))
                held.append(memory(child))
        assert _stored(database_url) >= answered
        assert min(later - earlier for earlier, later in pairwise(held)) < most_kept, held
        assert _answers(api)
        assert "Traceback" not in child.output
        assert ALICE not in child.output
        assert "panicked" not in child.output


def _stored(database_url: str) -> set[str]:
    return {
        row[0] for row in select(database_url, "SELECT message_id FROM events WHERE message_id LIKE 'neighbour %%'")
    }


def _answers(api: Api) -> bool:
    return api.callback(make_element("sent", ALICE)).status_code == 200
