"""What POST /messages takes for a body at all."""

import base64
from io import BytesIO

import pytest
from werkzeug.test import TestResponse

from tests.support.builders import BEARER, CALLBACK_AUTH
from tests.support.service import Service, is_problem, wrong_fields

BASIC = "Basic " + base64.b64encode(":".join(CALLBACK_AUTH).encode()).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"to=%2B19195550101&text=x",
        b"{",
        b'{"to": ["+19195550101"], "text": "x"',
        b"{'to': []}",
        b'{"to": [],}',
        b'{"to": []} {}',
        b'{"to": NaN}',
        b'{"to": Infinity}',
        b'{"to": -Infinity}',
        b'{"text": "\xff"}',
        b'{"text": "\xed\xa0\x80"}',
        b'{"text": "a\nb"}',
        '{"text": "x"}'.encode("utf-16"),
        b"[" * 9_000,
    ],
)
def test_what_is_not_json_is_a_bad_request(shared_service: Service, body: bytes) -> None:
    assert is_problem(shared_service.post_message(body), 400)


@pytest.mark.parametrize(
    "body", ["[]", '[{"to": ["+19195550101"], "text": "x"}]', "null", "1", "true", '"text"', "1e999"]
)
def test_json_that_is_no_object_is_wrong_as_a_whole(shared_service: Service, body: str) -> None:
    assert wrong_fields(shared_service.post_message(body)) == ["body"]


def test_a_number_of_any_length_is_json(shared_service: Service) -> None:
    assert wrong_fields(shared_service.post_message('{"to": ["+19195550101"], "text": %s}' % ("9" * 5_000))) == ["text"]


@pytest.mark.parametrize("depth", [100, 500])
def test_nesting_within_reach_of_the_decoder_is_a_wrong_field(shared_service: Service, depth: int) -> None:
    body = '{"to": ["+19195550101"], "text": %s}' % ("[" * depth + "]" * depth)

    assert wrong_fields(shared_service.post_message(body)) == ["text"]


def test_a_body_over_the_limit_is_too_large_and_one_at_the_limit_is_not(shared_service: Service) -> None:
    body = b'{"to": ["+19195550101"], "text": "x"}'

    assert shared_service.post_message(body + b" " * (60_000 - len(body))).status_code == 202
    assert is_problem(shared_service.post_message(body + b" " * (60_001 - len(body))), 413)


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "nonsense", "application/json; charset=latin-1"],
)
def test_the_content_type_does_not_matter(shared_service: Service, content_type: str | None) -> None:
    body = '{"to": ["+19195550101"], "text": "ü"}'.encode()

    assert shared_service.call("POST", "/messages", data=body, content_type=content_type).status_code == 202
    assert shared_service.gateway.sent[-1][0].text == "ü"


@pytest.mark.parametrize("path", ["/messages", "/callbacks/bandwidth"])
def test_a_chunked_body_over_the_limit_is_too_large_and_never_cut_off(shared_service: Service, path: str) -> None:
    """It comes without a length, so the limit shows only while it is read."""

    def post(body: bytes) -> TestResponse:
        environ = {"wsgi.input": BytesIO(body), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
        authorization = BEARER if path == "/messages" else {"Authorization": BASIC}
        return shared_service.call("POST", path, key=None, headers=authorization, environ_overrides=environ)

    body = b'{"to": ["+19195550101"], "text": "x"}' if path == "/messages" else b"[]"
    assert post(body + b" " * (60_000 - len(body))).status_code in (200, 202)
    assert is_problem(post(body + b" " * (60_001 - len(body))), 413)
    assert is_problem(post(body + b" " * 200_000), 413)
