"""The client of ``GET /messages``: what it asks, how long it waits, and what it says when there is no answer."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from receiver.bandwidth.client import BandwidthAccount
from receiver.bandwidth.history import LONGEST_WAIT, SPACING, HistoryRecord, MessageSearch, SystemClock
from receiver.core.events import Unreadable
from receiver.errors import QueryRefused, RecordsUnavailable
from tests.support.builders import ALICE, BOB, MESSAGE_ID, SENDER
from tests.support.log_lines import Lines
from tests.support.scripted_server import Peer, ScriptedServer, Serve, answer, answering
from tests.unit.test_history_records import make_row

Ask = Callable[..., MessageSearch]

SINCE = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
UNTIL = datetime(2026, 11, 21, 12, 3, tzinfo=UTC)


class CountingClock(SystemClock):
    """Waits in no time, and remembers for how long."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        if seconds:
            self.waits.append(seconds)


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


@pytest.fixture
def ask(clock: CountingClock) -> Iterator[Ask]:
    """Makes searches that wait by the counting clock."""

    def make(server: ScriptedServer | None = None, **changes: Any) -> MessageSearch:
        settings: dict[str, Any] = {
            "api_url": f"http://127.0.0.1:{server.port if server else 9}/api/v2",
            "account_id": "5500001",
            "username": "üser",
            "password": "s3cret-password",
            "connect_timeout": 5.0,
            "read_timeout": 5.0,
        }
        made.append(MessageSearch(BandwidthAccount(**settings | changes), clock=clock))
        return made[-1]

    made: list[MessageSearch] = []
    yield make
    for search in made:
        search.close()


def page(*rows: Any, token: str | None = None, **changes: Any) -> bytes:
    info = {"nextPageToken": token} if token else {}
    return answer("200 OK", json.dumps({"totalCount": 1, "pageInfo": info, "messages": rows} | changes).encode())


def questions(server: ScriptedServer) -> list[dict[str, str]]:
    """The parameters of every request, in order."""
    targets = [request.split(b" ")[1].decode() for request in server.requests]
    return [{name: value for name, [value] in parse_qs(urlsplit(each).query).items()} for each in targets]


def test_by_message_id(serve: Serve, ask: Ask) -> None:
    server = serve(answering(page(make_row("DELIVERED", ALICE), make_row("FAILED", BOB))))

    found = list(ask(server).of_message(MESSAGE_ID))

    assert [(each.status, each.recipients) for each in found if isinstance(each, HistoryRecord)] == [
        ("DELIVERED", (ALICE,)),
        ("FAILED", (BOB,)),
    ]
    assert questions(server) == [{"messageId": MESSAGE_ID}]


def test_by_numbers_and_time_as_bandwidth_wants_them_written(serve: Serve, ask: Ask) -> None:
    server = serve(answering(page()))

    assert list(ask(server).between(SENDER, [ALICE, BOB], SINCE, UNTIL)) == []

    [request] = server.requests
    target = request.split(b" ")[1].decode()
    assert target.startswith("/api/v2/users/5500001/messages?")
    assert "+" not in target
    assert " " not in unquote(target)
    assert questions(server) == [
        {
            "sourceTn": SENDER,
            "destinationTn": f"{ALICE},{BOB}",
            "fromDateTime": "2026-11-21T12:00:00.123Z",
            "toDateTime": "2026-11-21T12:03:00.000Z",
        }
    ]


def test_a_sender_too_short_to_be_asked_for_is_left_out(serve: Serve, ask: Ask) -> None:
    server = serve(answering(page()))

    assert list(ask(server).between("BANK", [ALICE], SINCE, UNTIL)) == []

    assert "sourceTn" not in questions(server)[0]


def test_a_request_has_credentials_in_utf_8_and_neither_a_proxy_nor_a_body(
    serve: Serve, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server = serve(answering(page()))

    list(ask(server).of_message("x"))

    head = server.requests[0]
    credentials = base64.b64encode("üser:s3cret-password".encode())
    assert b"\r\nAuthorization: Basic " + credentials + b"\r\n" in head
    assert b"content-type" not in head.lower()
    assert head.endswith(b"\r\n\r\n")


def test_every_page_is_read_and_the_question_repeated_with_its_token(serve: Serve, ask: Ask) -> None:
    token = "ab+/cd=="
    server = serve(answering(page(make_row(), token=token), page(make_row("SENT")), page(make_row("FAILED"))))

    found = list(ask(server).of_message(MESSAGE_ID))

    assert [each.status for each in found if isinstance(each, HistoryRecord)] == ["DELIVERED", "SENT"]
    assert questions(server) == [{"messageId": MESSAGE_ID}, {"messageId": MESSAGE_ID, "pageToken": token}]


def test_pages_without_an_end_are_left(serve: Serve, ask: Ask) -> None:
    server = serve(answering(*[page(make_row(), token="again")] * 200))

    with pytest.raises(QueryRefused, match="never returns a last page"):
        list(ask(server).of_message(MESSAGE_ID))

    assert len(server.requests) == 100


@pytest.mark.parametrize(
    "info", [{}, None, [], "x", {"nextPageToken": None}, {"nextPageToken": ""}, {"nextPageToken": 7}]
)
def test_any_other_page_info_is_the_last_page(serve: Serve, ask: Ask, info: Any) -> None:
    server = serve(answering(page(make_row(), pageInfo=info)))

    assert len(list(ask(server).of_message(MESSAGE_ID))) == 1


def test_the_body_may_be_an_array_that_wraps_the_object(serve: Serve, ask: Ask) -> None:
    server = serve(answering(answer("200 OK", json.dumps([{"messages": [make_row()]}]).encode())))

    assert len(list(ask(server).of_message(MESSAGE_ID))) == 1


def test_rows_that_are_inbound_or_about_another_message_are_left_out(serve: Serve, ask: Ask) -> None:
    rows = [make_row(messageDirection="INBOUND"), make_row(messageId=MESSAGE_ID + "0"), make_row("SENT", new={"x": 1})]
    server = serve(answering(page(*rows)))

    [found] = ask(server).of_message(MESSAGE_ID)

    assert isinstance(found, HistoryRecord)
    assert found.status == "SENT"


def test_a_row_that_cannot_be_read_does_no_harm_and_is_reported(serve: Serve, ask: Ask, logged: Lines) -> None:
    server = serve(answering(page(make_row(), 7, make_row("SENT"))))

    found = list(ask(server).of_message(MESSAGE_ID))

    assert [isinstance(each, Unreadable) for each in found] == [False, True, False]
    assert [line["reason"] for line in logged] == ["The row is not an object."]


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"\n", "é".encode("latin-1")], ids=repr)
def test_a_bad_byte_in_one_row_does_no_harm_to_the_page(serve: Serve, ask: Ask, raw: bytes) -> None:
    rows = [make_row(recipient=ALICE, carrierName="?"), make_row(recipient=BOB)]
    body = json.dumps({"pageInfo": {}, "messages": rows}).encode().replace(b"?", raw)
    server = serve(answering(answer("200 OK", body)))

    found = list(ask(server).of_message(MESSAGE_ID))

    assert [each.recipients for each in found if isinstance(each, HistoryRecord)] == [(ALICE,), (BOB,)]


def test_requests_keep_the_limit_of_bandwidth(serve: Serve, ask: Ask, clock: CountingClock) -> None:
    server = serve(answering(*[page()] * 11))
    search = ask(server)

    for _ in range(11):
        list(search.of_message("x"))

    assert clock.seconds == pytest.approx(10 * SPACING)
    assert 300 / SPACING < 3500


def test_too_many_requests_waits_as_long_as_bandwidth_says(serve: Serve, ask: Ask, clock: CountingClock) -> None:
    refused = answer("429 Too Many Requests", b'{"type": "rate_limit_exceeded"}', "Retry-After: 300")
    server = serve(answering(refused, page(make_row())))

    assert len(list(ask(server).of_message(MESSAGE_ID))) == 1

    assert clock.waits == [300]


CUT_SHORT = (b"HTTP", b"", answer("200 OK", b'{"messages": [', length=100))
"""Answers that end with their connection."""


@pytest.mark.parametrize(
    "failure",
    [
        answer("429 Too Many Requests"),
        answer("500 Oops", b'{"type": "internal-server-error", "description": "x"}'),
        answer("503 Unavailable"),
        answer("200 OK", b"<html>"),
        answer("200 OK", b'{"messages": 7}'),
        answer("200 OK", b"[]"),
        answer("200 OK", b'{"messages": [NaN]}'),
        answer("200 OK", b" " * (2**20) + page().partition(b"\r\n\r\n")[2]),
        *CUT_SHORT,
    ],
)
def test_what_failed_is_tried_again(serve: Serve, ask: Ask, clock: CountingClock, failure: bytes) -> None:
    left = [failure, failure, failure, page(make_row())]

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(left.pop(0))
            if failure in CUT_SHORT:  # otherwise the client may ask again by the same connection
                break

    assert len(list(ask(serve(script)).of_message(MESSAGE_ID))) == 1
    assert [seconds for seconds in clock.waits if seconds >= 1] == [1, 2, 4]


@pytest.mark.parametrize(
    ("status", "body", "words", "requests"),
    [
        (400, {"type": "bad-request", "description": "A date is wrong."}, "A date is wrong.", 1),
        (401, {"type": "unauthorized", "description": "no"}, "BANDWIDTH_CLIENT_SECRET", 1),
        (403, {"type": "forbidden", "description": "Access Denied"}, "may not search messages", 1),
        (404, {"status": 404, "error": "Not Found", "message": "Not Found", "path": "/x"}, "BANDWIDTH_API_URL", 1),
        (429, {}, "minutes", 4),
        (503, {}, "try again later", 4),
        (202, {}, "try again later", 4),
        (302, {}, "try again later", 4),
    ],
)
def test_a_refusal_is_one_sentence_that_says_what_to_do(
    serve: Serve, ask: Ask, status: int, body: dict[str, Any], words: str, requests: int
) -> None:
    server = serve(answering(*[answer(f"{status} Whatever", json.dumps(body).encode())] * 9))

    with pytest.raises(RecordsUnavailable) as refusal:
        list(ask(server).of_message("x"))

    assert f"returned {status}: " in str(refusal.value)
    assert words in str(refusal.value)
    assert len(server.requests) == requests
    assert "s3cret" not in str(refusal.value)
    assert isinstance(refusal.value, QueryRefused) is (status == 400)


def test_a_wait_that_is_too_long_is_not_begun(serve: Serve, ask: Ask, clock: CountingClock) -> None:
    server = serve(answering(answer("429 Too Many Requests", b"", f"Retry-After: {LONGEST_WAIT + 1}")))

    with pytest.raises(RecordsUnavailable, match="429"):
        list(ask(server).of_message("x"))

    assert clock.waits == []


def test_an_unreachable_search_is_reported(ask: Ask) -> None:
    with pytest.raises(RecordsUnavailable, match="BANDWIDTH_API_URL"):
        list(ask().of_message("x"))


def test_an_answer_that_never_ends_is_left(serve: Serve, ask: Ask) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")

    with pytest.raises(RecordsUnavailable):
        list(ask(serve(script), connect_timeout=0.1, read_timeout=0.2).of_message("x"))
