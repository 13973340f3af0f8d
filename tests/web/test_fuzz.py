"""Whatever comes in, the answer is JSON and never blames us (5xx)."""

import json
import string
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from tests.support.builders import ALICE, BOB, MESSAGE_ID, make_element
from tests.support.service import Service

FIELDS = ["to", "from", "text", "media", "applicationId", "priority", "expiration", "reference", "tag"]
FILTERS = [
    "to",
    "from",
    "reference",
    "messageId",
    "sendStatus",
    "status",
    "complete",
    "since",
    "until",
    "limit",
    "cursor",
]
FUZZ = settings(max_examples=200)

odd_text = st.text(st.one_of(st.characters(), st.sampled_from("\x00\ud800\udfff+0\u0660\n")), max_size=20)
likely = st.sampled_from([ALICE, BOB, "ACME", "high", "2099-01-01T00:00:00Z", "https://example.com/a.jpg", "true", "5"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), odd_text, likely
)
any_json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_text, inner, max_size=4), max_leaves=12
)
numbers = st.lists(likely, min_size=1, max_size=3, unique=True)
requests = st.one_of(
    any_json,
    st.dictionaries(st.sampled_from(FIELDS), any_json | likely),
    st.fixed_dictionaries({"to": numbers | any_json, "text": odd_text}, optional=dict.fromkeys(FIELDS[3:], any_json)),
)
elements = st.one_of(
    any_json,
    st.builds(
        lambda changes, message: make_element() | changes | {"message": message},
        st.dictionaries(st.sampled_from(["type", "time", "to", "errorCode", "description"]), any_json),
        any_json
        | st.fixed_dictionaries({"id": any_json | st.just(MESSAGE_ID)}, optional={"tag": any_json, "to": any_json}),
    ),
)
wsgi_text = st.binary(max_size=40).map(lambda octets: octets.decode("latin-1"))
queries = st.one_of(
    wsgi_text,
    st.lists(st.tuples(st.sampled_from(FILTERS), wsgi_text | likely), max_size=4).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
    ),
    st.text(string.printable, max_size=40).filter(str.isprintable),
)


def assert_json_and_not_our_fault(answer: TestResponse) -> None:
    assert answer.status_code < 500, answer.text
    assert answer.mimetype == ("application/json" if answer.status_code < 300 else "application/problem+json")
    assert isinstance(json.loads(answer.data), dict)


@FUZZ
@given(request=requests)
@example(request={"to": [ALICE], "text": "x", "\ud800": {"_schema": []}})
def test_any_json_may_be_posted_as_a_message(shared_service: Service, request: Any) -> None:
    assert_json_and_not_our_fault(shared_service.post_message(json.dumps(request)))


@FUZZ
@given(body=st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
@example(body=b"\xef\xbb\xbf{}")
@example(body=b"[" * 60_000)
@example(body=b"9" * 60_000)
def test_any_bytes_may_be_posted_to_either_route(shared_service: Service, body: bytes) -> None:
    assert_json_and_not_our_fault(shared_service.post_message(body))
    assert_json_and_not_our_fault(shared_service.post_callback(body))


@FUZZ
@given(body=st.lists(elements, max_size=4) | elements)
def test_any_elements_may_be_posted_as_a_callback_and_each_is_counted(shared_service: Service, body: Any) -> None:
    answer = shared_service.post_callback(json.dumps(body).encode())

    assert_json_and_not_our_fault(answer)
    assert (answer.status_code == 200) == isinstance(body, list | dict)
    if answer.status_code == 200:
        told = answer.get_json()
        count = len(body) if isinstance(body, list) else 1
        assert told["recorded"] + told["duplicates"] + told["unreadable"] == count
        assert 0 <= told["unlinked"] <= told["recorded"]


@FUZZ
@given(query=queries)
@example(query="limit=" + "9" * 5_000)
@example(query="reference=%ED%A0%80&to=%FF")
@example(query="%00=%00&=&;")
def test_any_query_may_be_asked(shared_service: Service, query: str) -> None:
    assert_json_and_not_our_fault(shared_service.call("GET", "/messages", environ_overrides={"QUERY_STRING": query}))


@FUZZ
@given(path=wsgi_text, suffix=st.sampled_from(["", "/events", "/"]))
@example(path="/x", suffix="")
def test_any_path_may_be_asked_for(shared_service: Service, path: str, suffix: str) -> None:
    overrides = {"PATH_INFO": f"/messages/{path}{suffix}"}

    assert_json_and_not_our_fault(shared_service.call("GET", "/messages/x", environ_overrides=overrides))


@FUZZ
@given(authorization=wsgi_text | wsgi_text.map("Bearer ".__add__) | wsgi_text.map("Basic ".__add__))
def test_any_credentials_may_be_presented(shared_service: Service, authorization: str) -> None:
    for path in ("/messages", "/callbacks/bandwidth"):
        answer = shared_service.call("POST", path, key=None, environ_overrides={"HTTP_AUTHORIZATION": authorization})

        assert answer.status_code == 401
        assert_json_and_not_our_fault(answer)
