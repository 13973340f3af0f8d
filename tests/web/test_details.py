"""``detail`` alone tells what is wrong and what to do, for who prints nothing else."""

import base64
import gzip
import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from receiver.core.messages import Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.maintenance.resolve import resolve
from receiver.settings import ApiKey
from tests.support.builders import ALICE, API_KEY, CALLBACK_AUTH, CAROL, READ_ONLY_KEY
from tests.support.service import CALLBACKS, LATER, MESSAGES, ONCE, Service
from tests.web.test_send import BUSY, INTERNAL, NO_CONNECTION, NOT_VALID

BEARER = "Send `Authorization: Bearer KEY`: the key alone, without the name and the colon before it in API_KEYS."
BASIC = "Send the user and password of CALLBACK_CREDENTIALS as `curl -u USER:PASSWORD` does."


def detail(answer: TestResponse) -> str:
    text: str = json.loads(answer.text)["detail"]
    assert text.endswith("."), text
    return text


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


# --- credentials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "wrong"),
    [
        (None, "is missing or empty"),
        ("", "is missing or empty"),
        ("  ", "is missing or empty"),
        (API_KEY, "does not begin with Bearer"),
        (f"Token {API_KEY}", "does not begin with Bearer"),
        (f"app:{API_KEY}", "does not begin with Bearer"),
        (basic(f"app:{API_KEY}"), "does not begin with Bearer"),
        ("Bearer", "ends after Bearer"),
        ("Bearer  ", "ends after Bearer"),
        ("Bearer schl\u00fcssel", "contains characters outside ASCII"),
        ("\u00ff", "contains characters outside ASCII"),
        ("Bearer nonsense", "are not valid"),
        (f"Bearer app:{API_KEY}", "are not valid"),
        (f"bearer {API_KEY}x", "are not valid"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", MESSAGES), ("POST", MESSAGES), ("GET", "/metrics")])
def test_without_a_key_the_answer_says_which_mistake_it_is_and_how_to_send_one(
    shared_service: Service, method: str, path: str, authorization: str | None, wrong: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    said = detail(shared_service.call(method, path, key=None, headers=headers))

    assert wrong in said
    assert said.endswith(BEARER)


@pytest.mark.parametrize(
    ("authorization", "wrong"),
    [
        (None, "is missing or empty"),
        ("", "is missing or empty"),
        (f"Bearer {API_KEY}", "does not begin with Basic"),
        ("Basic", "ends after Basic"),
        (basic("bandwidth:wrong"), "are not valid"),
        ("Basic " + ":".join(CALLBACK_AUTH), "are not valid"),
    ],
)
def test_so_it_is_with_the_credentials_of_a_callback(
    shared_service: Service, authorization: str | None, wrong: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    said = detail(shared_service.call("POST", CALLBACKS, key=None, headers=headers, data=b"[]"))

    assert wrong in said
    assert said.endswith(BASIC)


def test_nothing_is_confirmed_about_a_key_by_what_is_said_of_a_wrong_one(shared_service: Service) -> None:
    """The name of a key, a part of one, and one with its name are answered as any nonsense is."""
    keys = (ApiKey("app", "secret"), ApiKey("app", "secret-2"))
    with Service(shared_service.database_url, api_keys=keys) as service:
        given = ["nonsense", "app", "app:secret", "secre", "secret-", "other:secret", "Secret", "secret-2 secret"]
        answers = [service.call("GET", MESSAGES, key=each) for each in given]

    assert {each.status_code for each in answers} == {401}
    assert len({each.text for each in answers}) == 1


def test_a_key_that_may_only_read_gets_an_error_that_names_those_that_may_write(shared_service: Service) -> None:
    assert "API_KEYS" in detail(shared_service.send(key=READ_ONLY_KEY))


# --- the request itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b"to=%2B19195550101&text=x", "is a form"),
        (gzip.compress(b"[]", mtime=0), "is compressed"),
        (b"\xff\xfe[\x00]\x00", "UTF-16"),
        (b'{"to": [\n"x",]}', "line 2, column 4: an extra comma"),
    ],
)
@pytest.mark.parametrize("path", [MESSAGES, CALLBACKS])
def test_a_body_that_is_not_json_is_told_apart(shared_service: Service, path: str, body: bytes, words: str) -> None:
    post = shared_service.post_callback if path == CALLBACKS else shared_service.post_message

    assert words in detail(post(body))


def test_a_byte_order_mark_is_named(shared_service: Service) -> None:
    assert "byte order mark" in detail(shared_service.post_message(b'\xef\xbb\xbf{"to": []}'))


@pytest.mark.parametrize("encoding", ["br", "gzip", "zstd, gzip"])
def test_a_compressed_body_is_named_by_its_header_too(shared_service: Service, encoding: str) -> None:
    answer = shared_service.post_message(b"\x0b\x02\x80", headers={"Content-Encoding": encoding})

    assert "without Content-Encoding" in detail(answer)


def test_wrong_fields_are_reported_with_what_is_wrong(shared_service: Service) -> None:
    said = detail(shared_service.send(to=["911", ALICE], text="", colour="red", reference=5, priority="now"))

    assert said == (
        "colour: Is not a field of a message. priority: Must be one of: default, high. reference: Must be a string."
        " text: Must have 1 to 2048 characters. to[0]: Must be an E.164 number such as +19195551234."
    )


def test_what_is_wrong_as_a_whole_and_what_is_wrong_of_a_filter_is_reported_too(shared_service: Service) -> None:
    assert detail(shared_service.post_message("[]")) == "body: Must be a JSON object."
    assert detail(shared_service.call("GET", "/messages?limit=0")) == "limit: Must be from 1 to 200."
    assert detail(shared_service.call("GET", "/messages?since=x&color=1")).startswith("color: Is not a filter. since: ")
    said = detail(shared_service.send(headers={"Idempotency-Key": "ü"}))
    assert said == "Idempotency-Key: Must be 1 to 255 printable ASCII characters."


def test_of_very_many_wrong_fields_a_few_are_named(shared_service: Service) -> None:
    answer = shared_service.send(**{f"{number:02}" + "x" * 500: 1 for number in range(40)})

    said = detail(answer)
    assert said.endswith("And 35 more; see errors.")
    assert len(said) < 1000
    assert len(json.loads(answer.text)["errors"]) == 40


def test_a_key_that_came_with_another_body_gets_an_error_that_asks_for_another(sqlite_service: Service) -> None:
    sqlite_service.send(headers=ONCE)

    assert "use a new one" in detail(sqlite_service.send(headers=ONCE, text="Dinner is at eight."))


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/nonsense", "/docs lists the paths that exist"),
        ("GET", "/messages/x", "no message with this tag. GET /messages finds one by your reference"),
        ("PUT", "/messages", "it allows GET and POST"),
        ("PATCH", "/messages/x", "it allows DELETE and GET"),
        ("GET", "/callbacks/bandwidth", "it allows POST"),
        ("POST", "/queue", "it allows GET"),
    ],
)
def test_a_wrong_path_or_method_is_reported_with_the_right_one(
    shared_service: Service, method: str, path: str, words: str
) -> None:
    assert words in detail(shared_service.call(method, path))


def test_a_body_that_is_too_long_gets_an_error_that_names_the_setting(shared_service: Service) -> None:
    assert "MAX_BODY_BYTES" in detail(shared_service.post_message(b" " * 60_001))
    assert "MAX_BODY_BYTES" in detail(shared_service.post_callback(b" " * 60_001))


# --- what became of a message ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NOT_VALID, ["from: 'from' must contain", "to: '+invalid' must be replaced", "with a new key"]),
        (BUSY, ["Queue is full.", "again later"]),
        (INTERNAL, ["No further information.", "again later"]),
        (NO_CONNECTION, ["The connection was refused.", "again later"]),
        (Refused(because=RefusedBecause.BANDWIDTH, status=403, description="No"), ["Bandwidth: No.", "the settings"]),
        (Refused(because=RefusedBecause.BANDWIDTH, status=401), ["responded with 401.", "the settings"]),
        (Refused(because=RefusedBecause.BANDWIDTH, status=409), ["responded with 409.", "with a new key"]),
        (Unknown(status=502), ["responded with 502.", "Do not send it again"]),
        (Unknown(description="No answer"), ["No answer.", "Do not send it again"]),
    ],
    ids=str,
)
def test_what_bandwidth_said_is_reported_and_whether_to_send_it_again(
    sqlite_service: Service, answer: SendResult, words: list[str]
) -> None:
    sqlite_service.gateway.answer = answer

    said = detail(sqlite_service.send())

    assert [each for each in words if each not in said] == []


def test_what_was_cancelled_decided_or_has_expired_is_reported(sqlite_service: Service) -> None:
    cancelled = sqlite_service.send(headers=ONCE | LATER).get_json()["tag"]
    sqlite_service.call("DELETE", f"{MESSAGES}/{cancelled}")
    assert "it was cancelled" in detail(sqlite_service.send(headers=ONCE))

    key: dict[str, Any] = {"headers": {"Idempotency-Key": "decided"}}
    sqlite_service.gateway.answer = Unknown()
    tag = json.loads(sqlite_service.send(**key).text)["tag"]
    resolve(sqlite_service.database, tag, SendStatus.REFUSED, reason="Bandwidth's support said so.", by="ann")
    assert "A person has recorded that this was not sent" in detail(sqlite_service.send(**key))

    sqlite_service.gateway.answer = Refused(because=RefusedBecause.EXPIRED)
    assert "its expiration has passed" in detail(sqlite_service.send())


def test_a_message_without_a_turn_gets_a_time_to_retry_and_the_hint_that_it_may_be_queued(sqlite_url: str) -> None:
    with Service(sqlite_url, bandwidth_rate=0.1) as service:
        service.send(to=[ALICE, CAROL])

        answer = service.send()

    assert answer.status_code == 429
    assert f"after {answer.headers['Retry-After']} s" in detail(answer)
    assert "Prefer: respond-async" in detail(answer)
