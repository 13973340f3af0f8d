"""The route that Bandwidth calls: its challenge, its counts, and what it answers to every kind of body."""

import json
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from receiver.core.events import INBOUND_TYPES
from receiver.database.database import CONNECTIONS
from receiver.database.schema import upgrade
from tests.samples import callbacks
from tests.support.builders import ALICE, BOB, CAROL, make_body, make_element
from tests.support.postgres import PostgresServer
from tests.support.service import OUTAGES, Service, is_problem, outage, sent

DELIVERED, FAILED = make_element("delivered"), make_element("failed", BOB, errorCode=4404)
STRANGE = make_element("delivered", message_id="of-somebody-else")
INBOUND = make_element("received", message_id="inbound")


def counts(recorded: int, duplicates: int = 0, unlinked: int = 0, unreadable: int = 0) -> dict[str, int]:
    return {"recorded": recorded, "duplicates": duplicates, "unlinked": unlinked, "unreadable": unreadable}


def test_the_first_request_is_challenged_and_the_second_recorded(service: Service) -> None:
    body = make_body(DELIVERED)

    first = service.post_callback(body, auth=None)
    empty = service.post_callback(b"", auth=None)
    second = service.post_callback(body)

    for bare in (first, empty):
        assert is_problem(bare, 401)
        assert bare.headers["WWW-Authenticate"].startswith('Basic realm="')
    assert second.status_code == 200
    assert second.mimetype == "application/json"
    assert list(json.loads(second.text).items()) == list(counts(1, unlinked=1).items())


@pytest.mark.parametrize(
    ("bodies", "answers"),
    [
        ([[]], [counts(0)]),
        ([DELIVERED], [counts(1)]),
        ([[DELIVERED]], [counts(1)]),
        ([[DELIVERED, FAILED]], [counts(2)]),
        ([[DELIVERED], DELIVERED, [DELIVERED]], [counts(1), counts(0, 1), counts(0, 1)]),
        ([[DELIVERED, DELIVERED, FAILED, DELIVERED]], [counts(2, 2)]),
        ([[DELIVERED], [DELIVERED, FAILED, FAILED]], [counts(1), counts(1, 2)]),
        ([[DELIVERED | {"time": "2026-11-21T13:00:00Z", "description": "again"}, DELIVERED]], [counts(1, 1)]),
        ([[STRANGE]], [counts(1, unlinked=1)]),
        ([[STRANGE, STRANGE], [STRANGE]], [counts(1, 1, unlinked=1), counts(0, 1)]),
        ([[STRANGE, DELIVERED, INBOUND]], [counts(3, unlinked=1)]),
        ([[INBOUND], [INBOUND, INBOUND]], [counts(1), counts(0, 2)]),
        ([[1, None, "x", [], {}, True]], [counts(0, unreadable=6)]),
        ([{}, [{}], [{}, {}]], [counts(0, unreadable=1), counts(0, unreadable=1), counts(0, unreadable=2)]),
        ([[{}, DELIVERED, 1, STRANGE, DELIVERED, INBOUND]], [counts(3, 1, 1, 2)]),
        ([[[DELIVERED]]], [counts(0, unreadable=1)]),
        ([[make_element("teleported")]], [counts(1)]),
        ([[make_element("failed", errorCode=4404), make_element("failed", errorCode=4720)]], [counts(2)]),
        (
            [[make_element("failed"), make_element("failed", errorCode=0), make_element("failed", errorCode=None)]],
            [counts(1, 2)],
        ),
    ],
    ids=lambda value: "" if isinstance(value[0], dict) and "recorded" in value[0] else None,
)
def test_the_answer_counts_every_element_once(service: Service, bodies: list[Any], answers: list[Any]) -> None:
    sent(service)

    told = [service.post_callback(json.dumps(body).encode()).get_json() for body in bodies]

    assert told == answers
    for body, answer in zip(bodies, told, strict=True):
        elements = len(body) if isinstance(body, list) else 1
        assert answer["recorded"] + answer["duplicates"] + answer["unreadable"] == elements


def test_a_callback_of_any_length_is_recorded_whole(service: Service) -> None:
    elements = [make_element("delivered", f"+1919{number % 1200:07}") for number in range(2400)]

    assert service.callback(*elements).get_json() == counts(1200, 1200, 1200)
    assert service.callback(*elements[::-1]).get_json() == counts(0, 2400)


def type_of(sample: Path) -> str:
    body = json.loads(sample.read_bytes())
    event_type: str = (body[0] if isinstance(body, list) else body)["type"]
    return event_type


@pytest.mark.parametrize("sample", callbacks(), ids=lambda path: path.stem)
def test_every_published_callback_is_recorded_once(sqlite_service: Service, sample: Path) -> None:
    first, again = (sqlite_service.post_callback(sample.read_bytes()) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.get_json() == counts(1, unlinked=0 if type_of(sample) in INBOUND_TYPES else 1)
    assert again.get_json() == counts(0, 1)


def test_all_published_callbacks_together_are_recorded_on_either_engine(service: Service) -> None:
    told = [service.post_callback(sample.read_bytes()).get_json() for sample in callbacks()]

    assert all(answer["recorded"] + answer["duplicates"] == 1 for answer in told)
    outbound = [
        answer for sample, answer in zip(callbacks(), told, strict=True) if type_of(sample) not in INBOUND_TYPES
    ]
    assert sum(answer["unlinked"] for answer in told) == sum(answer["recorded"] for answer in outbound) > 1


NOT_A_CALLBACK = [
    b"",
    b" \r\n\t",
    b"{",
    b"[",
    b"[1,]",
    b"[,1]",
    b"[1 2]",
    b"[{}",
    b"{} {}",
    b"[] []",
    b"[],",
    b"{'type': 1}",
    b"{type: 1}",
    b"null",
    b"true",
    b"1",
    b'"message-delivered"',
    b"NaN",
    b"[NaN]",
    b"[Infinity]",
    b'{"errorCode": -Infinity}',
    b"[01]",
    b"[+1]",
    b"[.5]",
    b'["\\x41"]',
    b"type=message-delivered",
    b"<event/>",
    "[]".encode("utf-16"),
    "[]".encode("utf-32"),
]


@pytest.mark.parametrize("body", NOT_A_CALLBACK)
def test_only_what_is_no_json_array_or_object_is_a_bad_request(shared_service: Service, body: bytes) -> None:
    assert is_problem(shared_service.post_callback(body), 400)


@pytest.mark.parametrize("rest", [b", NaN]", b",", b"]]", b'] "', b"] []", b', {"a": \xff}]'])
def test_of_a_body_that_is_not_json_nothing_is_recorded(service: Service, rest: bytes) -> None:
    whole = make_body(DELIVERED)

    assert is_problem(service.post_callback(whole[:-1] + rest), 400)
    assert service.post_callback(whole).get_json() == counts(1, unlinked=1)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 30_000,
        b"[" * 30_000 + b"]" * 30_000,
        b"[" + json.dumps(DELIVERED).encode() + b"," + b'{"a":' * 5_000 + b"}" * 5_000 + b"]",
    ],
    ids=["open", "closed", "beside an event"],
)
def test_a_body_nested_beyond_reach_is_kept_as_one_unreadable(shared_service: Service, body: bytes) -> None:
    assert shared_service.post_callback(body).get_json() == counts(0, unreadable=1)


@pytest.mark.parametrize(
    ("before", "after"), [(b"\xef\xbb\xbf", b""), (b" \r\n\t", b"\n"), (b"", b" \r\n\t" * 100)], ids=repr
)
def test_what_may_stand_around_json_does_no_harm(service: Service, before: bytes, after: bytes) -> None:
    assert service.post_callback(before + make_body(STRANGE) + after).get_json() == counts(1, unlinked=1)


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"\n", b"\x00", "é".encode("latin-1")], ids=repr)
def test_one_bad_byte_harms_neither_its_event_nor_its_neighbours(service: Service, raw: bytes) -> None:
    body = make_body(DELIVERED, STRANGE | {"description": "?"}, 42).replace(b"?", raw)

    assert service.post_callback(body).get_json() == counts(2, unlinked=2, unreadable=1)
    assert service.post_callback(make_body(DELIVERED, STRANGE)).get_json() == counts(0, duplicates=2)


def test_latin_1_is_read_where_it_is_declared(service: Service) -> None:
    tag = service.send().get_json()["tag"]
    body = json.dumps([make_element(tag=tag, description="Zugestellt für José")], ensure_ascii=False).encode("latin-1")

    service.post_callback(body, headers={"Content-Type": "application/json; charset=ISO-8859-1"})

    [event] = service.events(tag)
    assert event["description"] == event["payload"]["description"] == "Zugestellt für José"


def test_a_body_over_the_limit_is_too_large_and_one_at_the_limit_is_not(shared_service: Service) -> None:
    body = make_body()

    assert shared_service.post_callback(body + b" " * (60_000 - len(body))).status_code == 200
    assert is_problem(shared_service.post_callback(body + b" " * (60_001 - len(body))), 413)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "nonsense"},
        {"Accept": "text/html", "User-Agent": "bandwidth-api"},
        {"Expect": "100-continue", "Connection": "close"},
    ],
    ids=str,
)
def test_headers_other_than_the_credentials_do_not_matter(service: Service, headers: dict[str, str]) -> None:
    answer = service.post_callback(make_body(STRANGE), headers=headers)

    assert (answer.status_code, answer.get_json()) == (200, counts(1, unlinked=1))


@OUTAGES
def test_what_was_not_stored_is_not_acknowledged(database_url: str, kind: str, request: pytest.FixtureRequest) -> None:
    with Service(database_url) as service:
        tag = sent(service)
        with outage(database_url, kind, request):
            begun = time.monotonic()
            answer = service.callback(DELIVERED, FAILED)
            assert time.monotonic() - begun < 10

        assert is_problem(answer, 503)
        assert service.events(tag) == []
        assert service.callback(DELIVERED, FAILED).get_json() == counts(2)
        assert service.statuses(tag) == {ALICE: "delivered", BOB: "failed", CAROL: "pending"}


def test_a_database_that_never_was_there_is_a_503_too(tmp_path: Path) -> None:
    with Service(f"sqlite:///{tmp_path}/no/such/folder/file.sqlite3") as service:
        assert is_problem(service.callback(DELIVERED), 503)


def test_what_is_no_json_is_said_even_without_a_database(tmp_path: Path) -> None:
    with Service(f"sqlite:///{tmp_path}/no/such/folder/file.sqlite3") as service:
        assert is_problem(service.post_callback(b"{"), 400)
        assert is_problem(service.post_callback(b"{", auth=None), 401)


def test_a_database_that_freezes_is_not_waited_for_longer_than_bandwidth_waits() -> None:
    """After 10 s Bandwidth hangs up and sends again; a 503 before that is an answer, silence only ties up threads."""
    with PostgresServer(fsync=False) as server:
        url = server.create_database("frozen")
        upgrade(url)
        with Service(url) as service, ThreadPoolExecutor(1) as thread:
            sent(service)
            server.pause()
            answer = thread.submit(service.callback, DELIVERED)
            answered, _ = wait([answer], timeout=10)
            server.resume()

            assert answered
            assert is_problem(answer.result(), 503)


def test_callbacks_have_a_connection_of_their_own_however_much_is_asked_at_the_same_time(postgres_url: str) -> None:
    with Service(postgres_url) as service, ExitStack() as asked:
        for _ in range(CONNECTIONS):
            asked.enter_context(service.database.read()).execute(text("SELECT 1"))
        assert service.callback(DELIVERED).status_code == 200
