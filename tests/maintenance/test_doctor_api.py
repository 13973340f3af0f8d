"""The doctor's findings about Bandwidth's API, over real sockets with scripted responses."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from receiver.core import times
from receiver.maintenance.doctor import bandwidth
from receiver.maintenance.doctor.findings import Finding, Mark
from tests.support.builders import make_settings
from tests.support.scripted_server import Peer, Serve, answer, answering

PAGE = b'{"totalCount": 0, "pageInfo": {}, "messages": []}'
REFUSED = b'{"type": "unauthorized", "description": "Authentication Failed"}'
HTML = b"<html><body>Please log in to the guest network.</body></html>"
TOKEN = answer("200 OK", b'{"access_token": "a-token", "token_type": "Bearer", "expires_in": 900}')
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


Examine = Callable[..., dict[str, Finding]]


@pytest.fixture
def examine(serve: Serve) -> Examine:
    """The findings by check. A token can be fetched, unless a test says otherwise."""
    token_port = serve(answering(TOKEN)).port

    def found(port: int, **changes: object) -> dict[str, Finding]:
        url = changes.pop("url", f"http://127.0.0.1:{port}/api/v2")
        tokens = {"bandwidth_token_url": f"http://127.0.0.1:{token_port}/token"}
        settings = make_settings("sqlite:///unused", bandwidth_api_url=url, **tokens | changes)
        return {each.check: each for each in bandwidth.check_api(settings)}

    return found


def dated(by: timedelta) -> str:
    return f"Date: {format_datetime(times.now() + by, usegmt=True)}"


def test_bandwidth_is_asked_one_harmless_question_with_the_credentials(serve: Serve, examine: Examine) -> None:
    server = serve(answering(answer("200 OK", PAGE, dated(timedelta(0)))))

    found = examine(server.port)

    assert (found["Bandwidth"].mark, found["clock"].mark) == (Mark.OK, Mark.OK)
    [request] = server.requests
    assert request.startswith(b"GET /api/v2/users/5000000/messages?fromDateTime=")
    assert b"limit=1 " in request
    assert b"Authorization: Bearer a-token" in request
    assert (found["token"].mark, found["token"].found.endswith("valid for 900 s")) == (Mark.OK, True)


@pytest.mark.parametrize(
    ("status", "body", "mark", "says"),
    [
        ("401 Unauthorized", REFUSED, Mark.WRONG, "BANDWIDTH_CLIENT_SECRET"),
        ("401 Unauthorized", HTML, Mark.WRONG, "proxy"),
        ("403 Forbidden", b'{"type": "forbidden", "description": "Access Denied"}', Mark.WRONG, "may not search"),
        ("404 Not Found", b'{"error": "Not Found", "message": "Not Found"}', Mark.WRONG, "BANDWIDTH_API_URL"),
        ("429 Too Many Requests", b'{"type": "x", "description": "Slow"}', Mark.WARNING, "in a few minutes"),
        ("500 Server Error", b'{"type": "x", "description": "We broke."}', Mark.WRONG, "We broke."),
        ("200 OK", HTML, Mark.WRONG, "proxy"),
        ("302 Found", HTML, Mark.WRONG, "proxy"),
        ("502 Bad Gateway", HTML, Mark.WRONG, "proxy"),
        ("407 Proxy Authentication Required", HTML, Mark.WRONG, "proxy"),
    ],
)
def test_what_bandwidth_answers_is_reported_with_the_remedy(
    serve: Serve, examine: Examine, status: str, body: bytes, mark: Mark, says: str
) -> None:
    found = examine(serve(answering(answer(status, body, dated(timedelta(0))))).port)

    assert found["Bandwidth"].mark is mark
    assert status[:3] in found["Bandwidth"].found
    assert says in found["Bandwidth"].remedy
    assert found["clock"].mark is Mark.OK  # every response has a Date


def test_nothing_listening_and_no_such_name_are_told_apart(serve: Serve, examine: Examine) -> None:
    server = serve(answering(), accepting=False)
    server.close()

    basic = {"bandwidth_client_id": None, "bandwidth_username": "user", "bandwidth_password": "password"}
    refused, unnamed = examine(server.port, **basic), examine(0, url="http://no-such-host.invalid/api/v2", **basic)

    assert "Nothing is listening" in refused["Bandwidth"].remedy
    assert "DNS" in unnamed["Bandwidth"].remedy
    assert refused["clock"].mark is unnamed["clock"].mark is Mark.SKIPPED


def test_a_certificate_that_nobody_trusts_is_reported(serve: Serve, examine: Examine) -> None:
    server = serve(answering(answer("200 OK", PAGE)), tls=True)

    found = examine(0, url=f"https://127.0.0.1:{server.port}/api/v2")

    assert found["Bandwidth"].mark is Mark.WRONG
    assert "self-signed certificate" in found["Bandwidth"].found
    assert "TLS" in found["Bandwidth"].remedy


def test_a_bandwidth_that_never_answers_is_not_waited_for_long(serve: Serve, examine: Examine) -> None:
    server = serve(Peer.wait_for_hang_up)

    started = times.now()
    found = examine(server.port, bandwidth_connect_timeout=0.2, bandwidth_read_timeout=0.3)

    assert "did not respond in time" in found["Bandwidth"].found
    assert times.now() - started < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("ahead", "mark", "says"),
    [(-3600, Mark.WRONG, "ahead of"), (3600, Mark.WRONG, "behind"), (-20, Mark.WARNING, "ahead of"), (2, Mark.OK, "")],
)
def test_a_clock_that_differs_from_bandwidths_is_reported(
    serve: Serve, examine: Examine, ahead: int, mark: Mark, says: str
) -> None:
    server = serve(answering(answer("401 Unauthorized", REFUSED, dated(timedelta(seconds=ahead)))))

    found = examine(server.port)["clock"]

    assert found.mark is mark
    assert says in found.found


@pytest.mark.parametrize(
    "header",
    [
        "Date: yesterday",
        "X-Nothing: 1",
        "Date: Fri, 31 Dec 9999 23:59:59 -2300",
        "Date: Fri, 31 Dec 9999 23:59:59 GMT",
        "Date: Fri, 31 Dec 99999999999999999999 23:59:59 GMT",
    ],
)
def test_without_a_date_nothing_is_said_about_the_clock(serve: Serve, examine: Examine, header: str) -> None:
    found = examine(serve(answering(answer("200 OK", PAGE, header))).port)

    assert (found["Bandwidth"].mark, found["clock"].mark) == (Mark.OK, Mark.SKIPPED)


@pytest.mark.parametrize(
    ("date", "took", "skew"),
    [
        (NOW, 0, 0),
        (NOW - timedelta(seconds=1), 0, 0),  # it may have been written at the very end of that second
        (NOW - timedelta(seconds=8), 0, 7),
        (NOW + timedelta(seconds=8), 0, -8),
        (NOW + timedelta(seconds=8), 8, 0),  # the response may have taken all that time on its way back
        (NOW + timedelta(seconds=9), 8, -1),
    ],
)
def test_only_what_neither_the_second_nor_the_journey_explains_is_skew(date: datetime, took: int, skew: int) -> None:
    received_at = NOW + timedelta(seconds=took)

    assert bandwidth.least_skew(date, sent_at=NOW, received_at=received_at) == timedelta(seconds=skew)


def test_without_an_account_bandwidth_is_not_asked(examine: Examine) -> None:
    found = examine(9, bandwidth_account_id=None)

    assert {each.mark for each in found.values()} == {Mark.SKIPPED}


@pytest.mark.parametrize(
    ("said", "found", "remedy"),
    [
        (answer("401 Unauthorized", b'{"error": "invalid_client"}'), "Bandwidth refuses BANDWIDTH_", "check both, and"),
        (answer("400 Bad Request"), "BANDWIDTH_CLIENT_SECRET", "secret has expired"),
        (answer("429 Too Many Requests"), "BANDWIDTH_TOKEN_URL returned 429", "try again later"),
        (answer("200 OK", HTML), "200 without a usable token", "BANDWIDTH_TOKEN_URL"),
    ],
)
def test_why_there_is_no_token_is_reported_and_bandwidth_is_not_asked(
    serve: Serve, examine: Examine, said: bytes, found: str, remedy: str
) -> None:
    api, tokens = serve(answering(answer("200 OK", PAGE))), serve(answering(said))

    told = examine(api.port, bandwidth_token_url=f"http://127.0.0.1:{tokens.port}/token")

    assert told["token"].mark is Mark.WRONG
    assert found in told["token"].found
    assert remedy in told["token"].remedy
    assert {told[check].mark for check in ("Bandwidth", "clock")} == {Mark.SKIPPED}
    assert api.requests == []


def test_a_token_endpoint_that_nobody_listens_at_is_reported_like_the_other_findings(examine: Examine) -> None:
    found = examine(1, bandwidth_token_url="http://127.0.0.1:1/token")

    assert found["token"].found == "nothing is listening on the host and port in BANDWIDTH_TOKEN_URL"


def test_with_a_username_bandwidth_is_asked_without_a_token(serve: Serve, examine: Examine) -> None:
    server = serve(answering(answer("200 OK", PAGE, dated(timedelta(0)))))
    basic = {"bandwidth_client_id": None, "bandwidth_client_secret": None}

    found = examine(server.port, **basic, bandwidth_username="user", bandwidth_password="password")

    assert (found["token"].mark, found["Bandwidth"].mark) == (Mark.SKIPPED, Mark.OK)
    assert b"Authorization: Basic dXNlcjpwYXNzd29yZA==" in server.requests[0]
