"""The headers that every answer has, whoever gives it and whatever it says."""

import pytest
from werkzeug.test import TestResponse

from receiver.web.authentication import Access, requires
from receiver.web.views import HEADERS
from tests.support.service import MESSAGES, Service, sent
from tests.web.test_authentication import ACCESS

DESCRIPTION = {"/openapi.json", "/docs"}
"""Public, and worth keeping."""


def assert_complete(answer: TestResponse, path: str = "") -> None:
    expected = HEADERS | ({"Cache-Control": "no-cache"} if path in DESCRIPTION else {})
    policy = answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert {name: answer.headers.get(name) for name in expected} == expected | {"Content-Security-Policy": policy}


@pytest.mark.parametrize(("method", "path"), ACCESS)
def test_every_route_answers_with_them_with_and_without_credentials(
    shared_service: Service, method: str, path: str
) -> None:
    url = path.replace("<tag>", sent(shared_service))
    for answer in (shared_service.call(method, url), shared_service.call(method, url, key=None)):
        assert_complete(answer, path)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/nonsense", b""),
        ("PUT", MESSAGES, b""),
        ("POST", MESSAGES, b"{"),
        ("POST", MESSAGES, b" " * 70_000),
        ("GET", "/messages?limit=0", b""),
    ],
)
def test_every_error_has_them(shared_service: Service, method: str, path: str, body: bytes) -> None:
    answer = shared_service.call(method, path, data=body)

    assert answer.status_code >= 400
    assert_complete(answer)


def test_a_bug_has_them(sqlite_service: Service) -> None:
    @requires(Access.PUBLIC)
    def view_with_a_bug() -> str:
        raise RuntimeError

    sqlite_service.app.add_url_rule("/bug", view_func=view_with_a_bug)
    answer = sqlite_service.call("GET", "/bug")

    assert answer.status_code == 500
    assert_complete(answer)


def test_no_answer_speaks_of_tls_which_ends_elsewhere(shared_service: Service) -> None:
    assert "Strict-Transport-Security" not in shared_service.call("GET", "/health/live").headers
