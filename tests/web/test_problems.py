"""Errors: always a problem (RFC 9457), and never a word too many, neither to the caller nor in the log."""

import json
import re
from typing import Any

import pytest

from receiver.core.messages import OutboundMessage, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.web.authentication import Access, requires
from tests.support.builders import (
    ALICE,
    API_KEY,
    BOB,
    CALLBACK_AUTH,
    CAROL,
    READ_ONLY_KEY,
    SENDER,
    FakeGateway,
    make_element,
)
from tests.support.log_lines import Lines
from tests.support.service import OUTAGES, BusyGateway, Service, execute, is_problem, outage, sent

TEXT = "Lunch is at noon."
SECRETS = [API_KEY, READ_ONLY_KEY, CALLBACK_AUTH[1], "YmFuZHdpZHRoOmNhbGxiYWNr", "Bearer", "Basic Y"]
NUMBER = re.compile(r"\+?1?919555\d{4}")


class BrokenGateway(FakeGateway):
    """A gateway with a bug; by its contract it never raises."""

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        raise RuntimeError(f"secret {message.to[0]} {message.text}")


def assert_discreet(text: str) -> None:
    assert not NUMBER.search(text), text
    assert "Traceback" not in text
    for secret in (*SECRETS, TEXT, "secret", "Lunch"):
        assert secret not in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 405),
        ("GET", "/nonsense", 404),
        ("GET", "/messages/", 404),
        ("GET", "/messages/x/events/", 404),
        ("GET", "/messages/x/y", 404),
        ("GET", "/messages/a%2Fb", 404),
        ("GET", "/static/x", 404),
        ("GET", "/health", 404),
        ("GET", "/health/ready/", 404),
        ("GET", "/callbacks", 404),
        ("POST", "/callbacks/bandwidth/", 404),
        ("GET", "/%00", 404),
        ("GET", "/%ff%fe", 404),
        ("GET", "/" + "x" * 10_000, 404),
        ("FOO", "/nonsense", 404),
        ("OPTIONS", "/nonsense", 404),
        ("GET", "/callbacks/bandwidth", 405),
        ("PUT", "/callbacks/bandwidth", 405),
        ("DELETE", "/messages", 405),
        ("POST", "/messages/x", 405),
        ("POST", "/health/live", 405),
        ("GET", "/messages/x", 404),
        ("POST", "/messages", 400),
        ("GET", "/messages?limit=0", 422),
    ],
)
def test_every_error_is_a_problem(shared_service: Service, method: str, path: str, status: int) -> None:
    answer = shared_service.call(method, path)

    assert is_problem(answer, status), answer.text
    assert list(json.loads(answer.text))[:4] == ["type", "title", "status", "detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/messages//01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("POST", "/callbacks//bandwidth"),
        ("GET", "/health//ready"),
    ],
)
def test_nothing_but_the_bare_address_is_ever_redirected(shared_service: Service, method: str, path: str) -> None:
    """Bandwidth does not follow a redirect, and does not send again what was answered with one."""
    assert is_problem(shared_service.call(method, path), 404)


@pytest.mark.parametrize("host", ["", "x y", "[", "evil.example", "a" * 5_000, "h:port", "\xff"])
def test_no_host_name_makes_an_error_of_ours(shared_service: Service, host: str) -> None:
    answer = shared_service.call("POST", "/messages", data=b"{", environ_overrides={"HTTP_HOST": host})

    assert is_problem(answer, 400)


@pytest.mark.parametrize("length", ["x", "-1", "", "1e3"])
def test_a_length_that_cannot_be_read_is_the_callers_error(shared_service: Service, length: str) -> None:
    answer = shared_service.call("POST", "/messages", environ_overrides={"CONTENT_LENGTH": length})

    assert 400 <= answer.status_code < 500
    assert is_problem(answer, answer.status_code)


def test_a_bug_shows_neither_traceback_nor_number_nor_text(database_url: str, logged: Lines) -> None:
    with Service(database_url, BrokenGateway()) as service:
        answer = service.send(to=[ALICE, BOB], text=f"{TEXT} secret")

    assert is_problem(answer, 500) or is_problem(answer, 504)
    assert_discreet(answer.text)
    assert_discreet(str(logged))
    assert [line["error"] for line in logged if line["log_level"] == "error"] == ["RuntimeError"]


def test_a_number_in_the_path_of_a_bug_is_not_logged_in_full(sqlite_service: Service, logged: Lines) -> None:
    """A caller may put anything into a path; a view with a bug must not carry it into the log."""

    @requires(Access.PUBLIC)
    def view_with_a_bug(number: str) -> str:
        raise RuntimeError(number)

    sqlite_service.app.add_url_rule("/numbers/<number>", view_func=view_with_a_bug)
    answer = sqlite_service.call("GET", f"/numbers/{ALICE}%0Aforged line")

    assert is_problem(answer, 500)
    log = str(logged)
    assert "RuntimeError" in log
    assert_discreet(log)
    assert "\nforged" not in log


@OUTAGES
def test_without_a_database_neither_answer_nor_log_says_what_was_asked(
    database_url: str, kind: str, request: pytest.FixtureRequest, logged: Lines
) -> None:
    with Service(database_url) as service:
        tag = sent(service)
        with outage(database_url, kind, request):
            answers = [
                service.send(text=TEXT, reference="secret"),
                service.callback(make_element(description="secret")),
                service.call("GET", f"/messages/{tag}"),
                service.call("GET", f"/messages/{tag}/events"),
                service.call("GET", "/messages?to=%2B19195550101"),
            ]

    for answer in answers:
        assert is_problem(answer, 503)
        assert_discreet(answer.text)
        assert int(answer.headers["Retry-After"]) > 0
    assert_discreet(str(logged))


def test_a_row_that_the_database_refuses_is_not_quoted(postgres_url: str, logged: Lines) -> None:
    """PostgreSQL names the values of such a row below its first line: "Failing row contains ..."."""
    execute(postgres_url, "ALTER TABLE recipients ADD CHECK (recipient = '')", "ALTER TABLE events ADD CHECK (pk = 0)")
    with Service(postgres_url) as service:
        answers = [service.send(text=TEXT), service.callback(make_element(description=TEXT))]

    assert all(is_problem(answer, 503) for answer in answers)
    assert_discreet("".join(answer.text for answer in answers))
    assert "CheckViolation" in str(logged)
    assert_discreet(str(logged))


ANSWERS: list[SendResult | None] = [
    None,
    Refused(because=RefusedBecause.BANDWIDTH, status=400, description=f"'{ALICE}' must be replaced"),
    Refused(because=RefusedBecause.UNREACHABLE, description="no route"),
    Unknown(description="timed out"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_a_whole_round_leaves_no_number_text_or_secret_in_the_log(
    database_url: str, logged: Lines, answer: SendResult | None
) -> None:
    gateway = BusyGateway(answer)
    with Service(database_url, gateway) as service:
        service.send(to=[ALICE, BOB, CAROL], text=TEXT, reference="secret lunch")
        tag = gateway.sent[0][1]
        service.post_callback(b"[]", auth=None)
        service.post_callback(b"[]", auth=("bandwidth", "wrong secret"))
        for element in (
            make_element("failed", BOB, tag=tag, errorCode=4404, description=f"secret {BOB}"),
            make_element("delivered", "+19195550199", tag=tag),
            make_element("delivered", CAROL, message_id="another", tag="secret tag"),
            {"type": f"message-{ALICE}", "to": ALICE, "secret": TEXT},
            make_element("received", message_id="x", text=TEXT),
        ):
            service.callback(element)
            service.callback(element, 5)
        service.post_callback(f'["{ALICE} {TEXT}"'.encode())
        service.send(to=[ALICE, "secret"], text=TEXT)
        service.post_message(f'{{"to": "{ALICE}"'.encode())
        service.send(key=READ_ONLY_KEY, text=TEXT)
        service.call("GET", "/messages", key="wrong secret")
        for path in (f"/messages/{tag}", f"/messages/{tag}/events", f"/messages?to={ALICE}", f"/messages/{ALICE}"):
            service.call("GET", path)

    log = str(logged)
    assert {"callback", "send", "request", "event repeated"} <= {line["event"] for line in logged}
    assert_discreet(log)
    assert SENDER not in log


@pytest.mark.parametrize(("authorization", "status"), [("Bearer secret-guess", 401), (f"Bearer {READ_ONLY_KEY}", 403)])
def test_what_was_presented_as_a_key_is_not_repeated(shared_service: Service, authorization: str, status: int) -> None:
    answer: Any = shared_service.call("POST", "/messages", key=None, headers={"Authorization": authorization})

    assert is_problem(answer, status)
    assert authorization.removeprefix("Bearer ") not in answer.text + str(answer.headers)
