import base64
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from receiver.bandwidth.client import BandwidthAccount, BandwidthGateway
from receiver.core.messages import Accepted, OutboundMessage, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from tests.samples import load
from tests.support.scripted_server import CERTIFICATE, Peer, Script, ScriptedServer, Serve, answer, answering

Connect = Callable[..., BandwidthGateway]

TAG = "01hzx3k5-group"
MESSAGE = OutboundMessage(
    to=("+12345678902", "+12345678903"),
    sender="+12345678901",
    application_id="93de2206-9669-4e07-948d-329f4b722ee2",
    text="Hey, check this out!",
)
BODY_202 = b'{"id": "14762070468292kw2fuqty55yp2b2", "segmentCount": 2}'
ACCEPTED = Accepted(message_id="14762070468292kw2fuqty55yp2b2", segment_count=2)
TIMED_OUT = Unknown(type="timed-out", description="No response in time; Bandwidth may have the message.")
NO_ANSWER = Unknown(type="no-answer", description="The connection broke; Bandwidth may have the message.")
QUICK = {"connect_timeout": 0.3, "read_timeout": 0.5}


@pytest.fixture
def connect(serve: Serve) -> Iterator[Connect]:
    """Makes gateways; afterwards every thread of theirs must end by itself, the servers still being up."""
    gateways: list[BandwidthGateway] = []

    def make(
        server: ScriptedServer | None = None,
        *,
        url: str = "http://127.0.0.1:{port}/api/v2",
        clock: Callable[[], float] = time.monotonic,
        **settings: Any,
    ) -> BandwidthGateway:
        known = {"account_id": "5500001", "username": "user", "password": "s3cret-password"}
        timeouts = {"connect_timeout": 5.0, "read_timeout": 5.0}
        port = server.port if server else 0
        account = BandwidthAccount(api_url=url.format(port=port), **(known | timeouts | settings))
        gateways.append(BandwidthGateway(account, clock=clock))
        return gateways[-1]

    yield make
    for gateway in gateways:
        gateway.close()
    for thread in threading.enumerate():
        if thread.name == "bandwidth-gateway":
            thread.join(5)
            assert not thread.is_alive()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Makes requests trust the test's certificate instead of the public authorities."""
    (tmp_path / "trusted.pem").write_text(CERTIFICATE)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "trusted.pem"))


def then(ending: Callable[[Peer], object], first: bytes = b"") -> Script:
    """Reads a request, sends ``first`` and ends as it is told."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(first)
        ending(peer)

    return script


def hang_up(_: Peer) -> None:
    """The connection ends with the script."""


def at_once(gateways: list[BandwidthGateway]) -> list[SendResult]:
    """One call through each, all at the same time, and none longer than its time-outs allow."""
    started = time.monotonic()
    with ThreadPoolExecutor(len(gateways)) as threads:
        said = list(threads.map(lambda gateway: gateway.create_message(MESSAGE, tag=TAG), gateways))
    assert time.monotonic() - started < sum(QUICK.values()) + 2  # a busy machine's slack; a trickle has no end
    return said


# ---- What goes out ----


def parts(request: bytes) -> tuple[str, dict[str, str], Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), json.loads(body)


def test_a_request_carries_exactly_the_documented_headers_and_fields(serve: Serve, connect: Connect) -> None:
    server = serve(answering(answer("202 Accepted", BODY_202)))
    assert connect(server).create_message(MESSAGE, tag=TAG) == ACCEPTED
    [request] = server.requests
    first, headers, fields = parts(request)
    assert first == "POST /api/v2/users/5500001/messages HTTP/1.1"
    length = headers.pop("Content-Length")
    assert int(length) == len(request.partition(b"\r\n\r\n")[2])
    assert headers == {
        "Host": f"127.0.0.1:{server.port}",
        "User-Agent": "bandwidth-receiver",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
        "Content-Type": "application/json; charset=utf-8",
        "Authorization": "Basic " + base64.b64encode(b"user:s3cret-password").decode(),
    }
    assert fields == {
        "applicationId": "93de2206-9669-4e07-948d-329f4b722ee2",
        "to": ["+12345678902", "+12345678903"],
        "from": "+12345678901",
        "text": "Hey, check this out!",
        "tag": TAG,
    }


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"to": ("+12345678902",)}, "to", ["+12345678902"]),
        ({"text": "Grüße \N{WAVING HAND SIGN}"}, "text", "Grüße \N{WAVING HAND SIGN}"),
        ({"media": ("https://example.com/a.jpg",)}, "media", ["https://example.com/a.jpg"]),
        ({"priority": "high"}, "priority", "high"),
        ({"expiration": datetime(2030, 2, 1, 11, 29, 18, tzinfo=UTC)}, "expiration", "2030-02-01T11:29:18Z"),
        (
            {"expiration": datetime(2030, 2, 1, 11, 29, 18, 5678, tzinfo=UTC)},
            "expiration",
            "2030-02-01T11:29:18.005Z",
        ),
        ({"reference": "order 7"}, "reference", None),
        ({"text": None, "media": ("https://example.com/a.jpg",)}, "text", None),
        ({"text": ""}, "text", None),
    ],
)
def test_a_field_goes_out_in_bandwidths_own_form_or_not_at_all(
    serve: Serve, connect: Connect, change: dict[str, Any], field: str, value: object
) -> None:
    server = serve(answering(answer("202 Accepted")))
    connect(server).create_message(replace(MESSAGE, **change), tag=TAG)
    assert parts(server.requests[0])[2].get(field) == value


def test_account_and_credentials_may_hold_any_character(serve: Serve, connect: Connect) -> None:
    server = serve(answering(answer("202 Accepted")))
    gateway = connect(server, account_id="a/b ?", username="üser", password="pä:ss", url="http://127.0.0.1:{port}/")
    gateway.create_message(MESSAGE, tag=TAG)
    first, headers, _ = parts(server.requests[0])
    assert first == "POST /users/a%2Fb%20%3F/messages HTTP/1.1"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "üser:pä:ss"


def test_the_environment_changes_nothing(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    proxy = serve(answering(answer("502 Bad Gateway")))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    server = serve(answering(answer("202 Accepted", BODY_202)))
    assert connect(server).create_message(MESSAGE, tag=TAG) == ACCEPTED
    assert proxy.connections == 0
    assert parts(server.requests[0])[1]["Authorization"].endswith(base64.b64encode(b"user:s3cret-password").decode())


def test_cookies_are_not_kept(serve: Serve, connect: Connect) -> None:
    server = serve(answering(answer("202 Accepted", b"", "Set-Cookie: a=b; Path=/"), answer("202 Accepted")))
    gateway = connect(server)
    for _ in range(2):
        gateway.create_message(MESSAGE, tag=TAG)
    assert len(server.requests) == 2
    assert not any(b"cookie" in request.lower() for request in server.requests)


# ---- 202: accepted, whatever the body ----


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (load("answers/202-group-text.json"), Accepted(message_id="14762070468292kw2fuqty55yp2b2", segment_count=1)),
        (b'{"id": "x"}', Accepted(message_id="x")),
        (b'\xef\xbb\xbf{"id": "x"}', Accepted(message_id="x")),
        (json.dumps({"id": "i" * 128}).encode(), Accepted(message_id="i" * 128)),
        (json.dumps({"id": "i" * 129}).encode(), Accepted()),
        (b'{"id": "", "segmentCount": 0}', Accepted(segment_count=0)),
        (b'{"id": 7, "segmentCount": 2147483647}', Accepted(segment_count=2**31 - 1)),
        (b'{"id": null, "segmentCount": 2147483648}', Accepted()),
        (b'{"id": "a\\u0000", "segmentCount": -1}', Accepted()),
        (b'{"id": "a\\ud800", "segmentCount": true}', Accepted()),
        (b'{"id": ["x"], "segmentCount": 1.0}', Accepted()),
        (b'{"segmentCount": "1"}', Accepted()),
        (b'[{"id": "x"}]', Accepted()),
        (b'"x"', Accepted()),
        (b"", Accepted()),
        (b"<html>", Accepted()),
        (b"\xff\xfe\xfd", Accepted()),
        (b'{"id": "x", "n": ' + b"9" * 5000 + b"}", Accepted(message_id="x")),
        (b'{"id": ' + b"[" * 100_000, Accepted()),
        (b'{"id": "x", "text": "' + b"x" * 2**20 + b'"}', Accepted()),
    ],
)
def test_a_202_is_accepted_whatever_its_body_says(
    serve: Serve, connect: Connect, body: bytes, expected: Accepted
) -> None:
    gateway = connect(serve(answering(answer("202 Accepted", body))))
    assert gateway.create_message(MESSAGE, tag=TAG) == expected


def test_a_chunked_or_unframed_202_is_read(serve: Serve, connect: Connect) -> None:
    chunked = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    for reply in (
        chunked % (len(BODY_202), BODY_202),
        b"HTTP/1.0 202 Accepted\r\n\r\n" + BODY_202,
    ):
        assert connect(serve(then(hang_up, reply))).create_message(MESSAGE, tag=TAG) == ACCEPTED


@pytest.mark.parametrize("framing", ["Connection: close", "Transfer-Encoding: chunked"])
def test_no_more_than_a_mebibyte_of_a_body_is_read(serve: Serve, connect: Connect, framing: str) -> None:
    piece = b" " * 65536
    if "chunked" in framing:
        piece = b"10000\r\n" + piece + b"\r\n"

    def flood(peer: Peer) -> None:
        while not peer.server.closing.is_set():
            peer.send(piece)

    body = BODY_202 if "close" in framing else b"%x\r\n%s\r\n" % (len(BODY_202), BODY_202)
    gateway = connect(serve(then(flood, f"HTTP/1.1 202 Accepted\r\n{framing}\r\n\r\n".encode() + body)))
    started = time.monotonic()
    assert gateway.create_message(MESSAGE, tag=TAG) == Accepted()
    assert time.monotonic() - started < 5


Accident = Callable[[str, bytes], Script]
CUT_OFF: dict[str, Accident] = {
    "body cut off": lambda status, body: then(hang_up, answer(status, body, length=999)),
    "body reset": lambda status, body: then(Peer.reset, answer(status, body, length=999)),
    "broken chunks": lambda status, body: then(hang_up, answer(status, b"zz", "Transfer-Encoding: chunked")),
    "no last chunk": lambda status, body: then(
        hang_up, answer(status, b"%x\r\n%s\r\n" % (len(body), body), "Transfer-Encoding: chunked")
    ),
    "compressed though we ask for plain": lambda status, body: then(
        hang_up, answer(status, gzip.compress(body), "Content-Encoding: gzip")
    ),
    "two lengths": lambda status, body: then(hang_up, answer(status, body, "Content-Length: 3")),
    "headers cut off": lambda status, body: then(hang_up, f"HTTP/1.1 {status}\r\nContent-Le".encode()),
    "many headers": lambda status, body: then(hang_up, answer(status, body, *(f"X-{n}: 1" for n in range(200)))),
}
ENDLESS: dict[str, Accident] = {
    "body stops": lambda status, body: then(Peer.wait_for_hang_up, answer(status, body, length=999)),
    "body trickles": lambda status, body: then(lambda peer: peer.trickle(b" "), answer(status, length=10**6)),
    "chunks trickle": lambda status, body: then(
        lambda peer: peer.trickle(b"1\r\n \r\n"),
        f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
    ),
    "headers trickle": lambda status, body: then(
        lambda peer: peer.trickle(b"X: 1\r\n"), f"HTTP/1.1 {status}\r\n".encode()
    ),
    "one header trickles": lambda status, body: then(
        lambda peer: peer.trickle(b"x"), f"HTTP/1.1 {status}\r\nX: ".encode()
    ),
}
STATUS_DECIDES = [
    ("202 Accepted", BODY_202, Accepted()),
    (
        "404 Not Found",
        load("answers/404-no-such-path.json"),
        Refused(because=RefusedBecause.BANDWIDTH, status=404),
    ),
    (
        "429 Too Many Requests",
        load("answers/429-queue-full.json"),
        Refused(because=RefusedBecause.RATE_LIMITED, status=429),
    ),
    ("500 Internal Server Error", load("answers/500-internal-server-error.json"), Unknown(status=500)),
    ("502 Bad Gateway", b"", Unknown(status=502)),
]


@pytest.mark.parametrize(("status", "body", "expected"), STATUS_DECIDES, ids=[row[0] for row in STATUS_DECIDES])
@pytest.mark.parametrize("accident", CUT_OFF)
def test_the_status_alone_decides_when_the_rest_of_an_answer_is_unreadable(
    serve: Serve, connect: Connect, accident: str, status: str, body: bytes, expected: SendResult
) -> None:
    gateway = connect(serve(CUT_OFF[accident](status, body)))
    assert gateway.create_message(MESSAGE, tag=TAG) == expected


def test_the_status_alone_decides_when_the_rest_of_an_answer_never_ends(serve: Serve, connect: Connect) -> None:
    cases = [(accident, *row) for accident in ENDLESS for row in STATUS_DECIDES]
    gateways = [connect(serve(ENDLESS[accident](status, body)), **QUICK) for accident, status, body, _ in cases]
    said = at_once(gateways)
    for (accident, status, _, expected), answered in zip(cases, said, strict=True):
        assert (accident, status, answered) == (accident, status, expected)


# ---- Refused ----


def refused(status: int, type_: str | None, description: str | None, *field_errors: tuple[str, str]) -> Refused:
    because = RefusedBecause.RATE_LIMITED if status == 429 else RefusedBecause.BANDWIDTH
    return Refused(because=because, status=status, type=type_, description=description, field_errors=field_errors)


NOT_ACCEPTED = "Your request could not be accepted"
QUEUE_FULL = json.loads(load("answers/429-queue-full.json"))["description"]
INTERNAL = "Internal server error. No further information available"


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (
            "400-invalid-to",
            refused(
                400,
                "request-validation",
                NOT_ACCEPTED,
                ("to", "'+invalid' must be replaced with a valid E164 formatted telephone number"),
            ),
        ),
        (
            "400-three-fields",
            refused(
                400,
                "request-validation",
                NOT_ACCEPTED,
                ("from", "'from' must contain exactly one telephone number"),
                ("text", "'text' is required unless media is included"),
                ("to", "'to' must contain at least one telephone number"),
            ),
        ),
        ("400-without-field-errors", refused(400, "request-validation", NOT_ACCEPTED)),
        ("401-authentication-failed", refused(401, "unauthorized", "Authentication Failed")),
        ("401-2019", refused(401, "authentication-error", "Invalid or missing credentials.")),
        ("401-2017", refused(401, "Unauthorized", "Unauthorized")),
        ("403-access-denied", refused(403, "forbidden", "Access Denied")),
        ("403-2019", refused(403, "unauthorized", "Access is denied.")),
        ("403-2017", refused(403, "Forbidden", "Access is denied")),
        ("404-no-such-path", refused(404, "Not Found", "Not Found")),
        (
            "405-multi-channel",
            refused(405, "method-not-allowed", "Method 'PUT' not supported for this resource."),
        ),
        (
            "415-content-type",
            refused(
                415,
                "unsupported-content-type",
                "Content type 'text/plain;charset=UTF-8' not supported. Please use 'application/json'",
            ),
        ),
        ("429-queue-full", refused(429, "max-message-queue-size-exceeded", QUEUE_FULL)),
        (
            "429-multi-channel",
            refused(
                429, "rate-limit-exceeded", "You have exceeded your rate limit for this endpoint. Please retry later."
            ),
        ),
        ("500-internal-server-error", refused(500, "internal-server-error", INTERNAL)),
        ("500-multi-channel", Unknown(status=500, type="internal-server-error", description=INTERNAL)),
    ],
)
def test_every_documented_shape_of_an_error_is_understood(
    serve: Serve, connect: Connect, sample: str, expected: SendResult
) -> None:
    reply = answer(f"{sample[:3]} Whatever", load(f"answers/{sample}.json"), "Content-Type: application/json")
    assert connect(serve(answering(reply))).create_message(MESSAGE, tag=TAG) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, refused(400, None, None)),
        ([], refused(400, None, None)),
        ({"type": 1, "description": None, "fieldErrors": {}}, refused(400, None, None)),
        ({"description": "only this"}, refused(400, None, "only this")),
        ({"type": "t" * 200, "description": "d" * 2000}, refused(400, "t" * 128, "d" * 1024)),
        ({"type": "a\0b", "description": "a\ud800b"}, refused(400, "a\ufffdb", "a\ufffdb")),
        (
            {
                "type": "t",
                "description": "d",
                "fieldErrors": [
                    *(None, "to", {}, {"fieldName": "to"}, {"fieldName": 1, "description": "d"}),
                    {"fieldName": "to\0", "description": "\udfff" * 2000, "more": 1},
                ],
            },
            refused(400, "t", "d", ("to\ufffd", "\ufffd" * 1024)),
        ),
        ({"errors": [None, {"title": 1}, {"type": "t", "description": "d"}]}, refused(400, "t", "d")),
    ],
)
def test_what_does_not_fit_in_an_error_is_left_out(
    serve: Serve, connect: Connect, body: object, expected: Refused
) -> None:
    reply = answer("400 Bad Request", json.dumps(body).encode())
    assert connect(serve(answering(reply))).create_message(MESSAGE, tag=TAG) == expected


@pytest.mark.parametrize("status", [400, 402, 406, 408, 409, 413, 418, 422, 499])
def test_any_4xx_is_a_refusal_even_without_a_body(serve: Serve, connect: Connect, status: int) -> None:
    gateway = connect(serve(answering(answer(f"{status} Whatever"))))
    assert gateway.create_message(MESSAGE, tag=TAG) == refused(status, None, None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("300", 300),
        (" 7 ", 7),
        ("0", 0),
        ("86401", 86_400),
        ("9" * 400, 86_400),
        ("9" * 5000, None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Wed, 32 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_clamped(
    serve: Serve, connect: Connect, header: str, seconds: int | None
) -> None:
    gateway = connect(serve(answering(answer("429 Too Many Requests", b"", f"Retry-After: {header}"))))
    assert gateway.create_message(MESSAGE, tag=TAG) == replace(refused(429, None, None), retry_after=seconds)


def test_retry_after_says_something_only_beside_a_429(serve: Serve, connect: Connect) -> None:
    gateway = connect(serve(answering(answer("400 Bad Request", b"", "Retry-After: 7"))))
    assert gateway.create_message(MESSAGE, tag=TAG) == refused(400, None, None)


def test_retry_after_as_a_date_counts_from_now_and_is_known_although_the_body_never_ends(
    serve: Serve, connect: Connect
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    reply = answer("429 Too Many Requests", b"", f"Retry-After: {date}", length=9)
    said = connect(serve(then(Peer.wait_for_hang_up, reply)), **QUICK).create_message(MESSAGE, tag=TAG)
    assert isinstance(said, Refused)
    assert said.retry_after in range(95, 101)


# ---- Unknown ----


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer("200 OK", BODY_202), Unknown(status=200)),
        (answer("201 Created", BODY_202), Unknown(status=201)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Unknown(status=204)),
        (answer("300 Multiple Choices"), Unknown(status=300)),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", Unknown(status=304)),
        (answer("500 Oops", b"<html>"), Unknown(status=500)),
        (answer("500 Oops", b'{"type": "t"}'), Unknown(status=500, type="t")),
        (answer("500 Oops", b'{"type": "t", "description": 1}'), Unknown(status=500, type="t")),
        (answer("500 Oops", b'["type", "description"]'), Unknown(status=500)),
        (
            answer("500 Oops", b'{"status": 500, "error": "e", "message": "m"}'),
            Unknown(status=500, type="e", description="m"),
        ),
        (answer("501 Oops"), Unknown(status=501)),
        (answer("502 Bad Gateway", b"<html><h1>502 Bad Gateway</h1></html>"), Unknown(status=502)),
        (
            answer("503 Oops", b'{"type": "t", "description": "d"}'),
            Unknown(status=503, type="t", description="d"),
        ),
        (answer("504 Gateway Timeout"), Unknown(status=504)),
        (answer("599 Oops"), Unknown(status=599)),
        (answer("999 Oops"), Unknown(status=999)),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Unknown(status=101)),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", Unknown(status=103)),
        (b"", NO_ANSWER),
        (b"HTTP/1.1 20", NO_ANSWER),
        (b"HTTP/1.1 abc Accepted\r\n\r\n", NO_ANSWER),
        (b"202 Accepted\r\n\r\n", NO_ANSWER),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NO_ANSWER),
        (b"\x15\x03\x01\x00\x02\x02", NO_ANSWER),
        (b"HTTP/1.1 100 Continue\r\n\r\n", NO_ANSWER),
        (b"x" * 100_000, NO_ANSWER),
    ],
)
def test_any_other_answer_leaves_the_outcome_unknown(
    serve: Serve, connect: Connect, reply: bytes, expected: Unknown
) -> None:
    assert connect(serve(then(hang_up, reply))).create_message(MESSAGE, tag=TAG) == expected


def test_a_redirect_is_not_followed(serve: Serve, connect: Connect) -> None:
    other = serve(answering(answer("202 Accepted", BODY_202)))
    for status in (301, 302, 303, 307, 308):
        location = f"Location: http://127.0.0.1:{other.port}/"
        server = serve(answering(answer(f"{status} Moved", b"elsewhere", location)))
        assert connect(server).create_message(MESSAGE, tag=TAG) == Unknown(status=status)
    assert other.connections == 0


def test_a_100_is_not_yet_the_answer(serve: Serve, connect: Connect) -> None:
    reply = b"HTTP/1.1 100 Continue\r\n\r\n" + answer("202 Accepted", BODY_202)
    assert connect(serve(answering(reply))).create_message(MESSAGE, tag=TAG) == ACCEPTED


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(hang_up, id="hangs up without reading"),
        pytest.param(lambda peer: (peer.wait_for_request(), peer.reset())[1], id="resets without reading"),
        pytest.param(then(hang_up), id="hangs up after reading"),
        pytest.param(then(Peer.reset), id="resets after reading"),
        pytest.param(then(hang_up, b"HTTP/1."), id="hangs up in the status line"),
        pytest.param(then(Peer.reset, b"HTTP/1.1 20"), id="resets in the status line"),
    ],
)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_connection_dropped_past_the_line_is_unknown(
    serve: Serve, connect: Connect, trusted: None, script: Script, tls: bool
) -> None:
    gateway = connect(serve(script, tls=tls), url=f"http{'s' * tls}://127.0.0.1:{{port}}")
    assert gateway.create_message(MESSAGE, tag=TAG) == NO_ANSWER


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_answer_that_does_not_come_in_time_is_unknown(
    serve: Serve, connect: Connect, trusted: None, tls: bool
) -> None:
    scripts: list[Script] = [
        Peer.wait_for_hang_up,
        then(lambda peer: peer.trickle(b"HTTP/1.1 100 Continue\r\n\r\n")),
        then(lambda peer: peer.trickle(b"x"), b"HTTP/1.1 "),
    ]
    url = f"http{'s' * tls}://127.0.0.1:{{port}}"
    assert at_once([connect(serve(script, tls=tls), url=url, **QUICK) for script in scripts]) == [TIMED_OUT] * 3


def test_a_connection_dropped_before_the_server_accepted_it_is_unknown(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(hang_up, accepting=False)
    send_all = socket.socket.sendall

    def close_after_the_headers(*args: Any) -> None:
        send_all(*args)
        server.close()

    monkeypatch.setattr(socket.socket, "sendall", close_after_the_headers)
    assert connect(server).create_message(MESSAGE, tag=TAG) == NO_ANSWER


def test_a_request_that_cannot_be_written_to_its_end_is_unknown(serve: Serve, connect: Connect) -> None:
    stop = threading.Event()
    server = serve(lambda peer: stop.wait(5) and None)
    endless = replace(MESSAGE, text="x" * 30_000_000)
    assert connect(server, **QUICK).create_message(endless, tag=TAG) == TIMED_OUT
    stop.set()


# ---- Unreachable: refused before the line ----


def unreachable(said: SendResult, type_: str) -> bool:
    assert isinstance(said, Refused)
    assert (said.because, said.status, said.type) == (RefusedBecause.UNREACHABLE, None, type_)
    assert said.description is not None
    assert "BANDWIDTH_API_URL" in said.description
    assert not any(word in said.description for word in ("s3cret", "user", "127.0.0.1"))
    return True


def test_a_name_that_does_not_resolve_is_refused(connect: Connect) -> None:
    gateway = connect(url="https://messaging.bandwidth.invalid/api/v2", connect_timeout=30.0)
    assert unreachable(gateway.create_message(MESSAGE, tag=TAG), "name-not-resolved")


def test_a_refused_connection_is_refused(connect: Connect) -> None:
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        gateway = connect(url=f"http://127.0.0.1:{bound.getsockname()[1]}")
        assert unreachable(gateway.create_message(MESSAGE, tag=TAG), "connection-refused")


def test_a_handshake_that_is_never_answered_is_refused(serve: Serve, connect: Connect) -> None:
    gateway = connect(serve(hang_up, accepting=False), url="https://127.0.0.1:{port}", **QUICK)
    assert unreachable(gateway.create_message(MESSAGE, tag=TAG), "connect-timeout")


def test_a_handshake_that_trickles_ends_in_time(serve: Serve, connect: Connect) -> None:
    record = b"\x16\x03\x03\x40\x00"  # the head of a TLS record whose 16 KiB take their time
    server = serve(lambda peer: (peer.send(record), peer.trickle(b"\x02\0\0\0"))[1])
    [said] = at_once([connect(server, url="https://127.0.0.1:{port}", **QUICK)])
    assert unreachable(said, "connect-timeout")


@pytest.mark.parametrize(
    ("script", "tls"),
    [
        pytest.param(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), False, id="a plain HTTP server"),
        pytest.param(Peer.wait_for_hang_up, True, id="a certificate that nobody trusts"),
        pytest.param(lambda peer: peer.connection.recv(4096) and None, False, id="hangs up in the handshake"),
    ],
)
def test_a_failed_handshake_is_refused_and_sends_nothing(
    serve: Serve, connect: Connect, script: Script, tls: bool
) -> None:
    server = serve(script, tls=tls)
    gateway = connect(server, url="https://127.0.0.1:{port}")
    assert unreachable(gateway.create_message(MESSAGE, tag=TAG), "tls-failed")
    assert (server.connections, server.requests) == (1, [])


def test_a_handshake_that_is_reset_is_refused(serve: Serve, connect: Connect) -> None:
    server = serve(lambda peer: (peer.connection.recv(4096), peer.reset())[1])
    gateway = connect(server, url="https://127.0.0.1:{port}")
    assert unreachable(gateway.create_message(MESSAGE, tag=TAG), "connection-failed")
    assert server.connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "messaging.bandwidth.com",
        "https://",
        "ftp://127.0.0.1",
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:port",
        "http://.example",
        "http://" + "x" * 70 + ".invalid",
    ],
)
def test_a_url_that_cannot_be_called_is_refused_by_the_settings_name(connect: Connect, url: str) -> None:
    assert unreachable(connect(url=url).create_message(MESSAGE, tag=TAG), "invalid-url")


def test_a_call_abandoned_before_the_line_writes_nothing_afterwards(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, seen = threading.Event(), threading.Event()
    rest: list[bytes] = []
    look_up = socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        resolved.wait(5)
        return look_up(*args, **kwargs)

    def script(peer: Peer) -> None:
        rest.append(peer.wait_for_hang_up())
        seen.set()

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    server = serve(script)
    [said] = at_once([connect(server, **QUICK)])
    assert unreachable(said, "connect-timeout")
    resolved.set()
    assert seen.wait(5)
    assert (server.connections, rest) == (1, [b""])


def test_a_machine_without_a_thread_to_spare_sends_nothing(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(answering(answer("202 Accepted")))

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert unreachable(connect(server).create_message(MESSAGE, tag=TAG), "connection-failed")
    assert server.connections == 0


# ---- Connections ----


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(("idle", "connections"), [(1.9, 1), (2.1, 2)])
def test_a_connection_is_re_used_until_it_has_been_idle_for_two_seconds(
    serve: Serve, connect: Connect, trusted: None, tls: bool, idle: float, connections: int
) -> None:
    clock = [1000.0]
    server = serve(answering(*[answer("202 Accepted", BODY_202)] * 3), tls=tls)
    gateway = connect(server, url=f"http{'s' * tls}://127.0.0.1:{{port}}", clock=lambda: clock[0])
    for _ in range(2):
        assert gateway.create_message(MESSAGE, tag=TAG) == ACCEPTED
        clock[0] += idle
    assert server.connections == connections


def test_a_connection_that_the_peer_closed_while_idle_is_not_re_used(serve: Serve, connect: Connect) -> None:
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer("202 Accepted", BODY_202))
        peer.connection.close()
        closed.set()

    server = serve(script)
    gateway = connect(server)
    for connections in (1, 2, 3):
        assert gateway.create_message(MESSAGE, tag=TAG) == ACCEPTED
        assert closed.wait(5)
        closed.clear()
        assert server.connections == connections


@pytest.mark.parametrize("ending", [hang_up, Peer.reset], ids=["closed", "reset"])
def test_a_re_used_connection_that_drops_is_unknown_and_not_tried_again(
    serve: Serve, connect: Connect, ending: Callable[[Peer], None]
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer("202 Accepted", BODY_202))
        peer.read_request()
        ending(peer)

    server = serve(script)
    gateway = connect(server)
    assert gateway.create_message(MESSAGE, tag=TAG) == ACCEPTED
    assert gateway.create_message(MESSAGE, tag=TAG) == NO_ANSWER
    assert (server.connections, len(server.requests)) == (1, 2)


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        answer("202 Accepted", b"x" * (2**20 + 1), length=2**20 + 5),
        answer("404 Not Found", b"{", length=9),
    ],
    ids=["informational", "too long", "cut off"],
)
def test_what_comes_late_is_never_taken_for_the_answer_to_the_next_call(
    serve: Serve, connect: Connect, first: bytes
) -> None:
    answered = threading.Event()

    def script(peer: Peer) -> None:
        if b"first" not in peer.read_request():
            peer.send(answer("202 Accepted", b'{"id": "of the second"}'))
            return
        peer.send(first)
        assert answered.wait(5)
        peer.send(answer("202 Accepted", b'{"id": "of the first"}'))

    server = serve(script)
    gateway = connect(server, **QUICK)
    gateway.create_message(MESSAGE, tag="first")
    answered.set()
    assert gateway.create_message(MESSAGE, tag="second") == Accepted(message_id="of the second")
    assert server.connections == 2


def test_many_threads_share_a_gateway_and_each_gets_its_own_answer(serve: Serve, connect: Connect) -> None:
    def script(peer: Peer) -> None:
        while request := peer.read_request():
            tag = parts(request)[2]["tag"]
            turn = int(tag.split("-")[1])
            if turn % 10 == 3:
                return
            if turn % 50 == 7:
                peer.trickle(b"x")
            peer.send(answer("202 Accepted", json.dumps({"id": tag}).encode()))

    def expected(turn: int) -> SendResult:
        if turn % 50 == 7:
            return TIMED_OUT
        return NO_ANSWER if turn % 10 == 3 else Accepted(message_id=f"tag-{turn}")

    server = serve(script)
    gateway = connect(server, connect_timeout=1.0, read_timeout=1.0)
    with ThreadPoolExecutor(32) as threads:
        said = list(threads.map(lambda turn: gateway.create_message(MESSAGE, tag=f"tag-{turn}"), range(300)))
    assert said == [expected(turn) for turn in range(300)]
    assert len(server.requests) == 300
    assert server.connections < 300


def test_a_gateway_can_be_closed_and_used_again(serve: Serve, connect: Connect) -> None:
    server = serve(answering(*[answer("202 Accepted", BODY_202)] * 2))
    gateway = connect(server)
    for _ in range(2):
        assert gateway.create_message(MESSAGE, tag=TAG) == ACCEPTED
        gateway.close()
    assert server.connections == 2
