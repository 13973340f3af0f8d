import base64
import hmac
import json
import os
from collections.abc import Iterator

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from receiver.settings import ApiKey, Credential
from receiver.web.authentication import Access, declared_access
from tests.support.builders import API_KEY, CALLBACK_AUTH, READ_ONLY_KEY, FakeGateway
from tests.support.service import CALLBACKS, MESSAGES, Service, is_problem

ACCESS = {
    ("POST", "/messages"): Access.WRITE,
    ("GET", "/messages"): Access.READ,
    ("GET", "/messages/<tag>"): Access.READ,
    ("DELETE", "/messages/<tag>"): Access.WRITE,
    ("GET", "/messages/<tag>/events"): Access.READ,
    ("GET", "/queue"): Access.READ,
    ("GET", "/metrics"): Access.READ,
    ("POST", "/callbacks/bandwidth"): Access.CALLBACK,
    ("GET", "/health/live"): Access.PUBLIC,
    ("GET", "/health/ready"): Access.PUBLIC,
    ("GET", "/"): Access.PUBLIC,
    ("GET", "/openapi.json"): Access.PUBLIC,
    ("GET", "/docs"): Access.PUBLIC,
}
"""Every route and who may call it. A new route belongs here first."""

NEEDS_KEY = [(method, path) for (method, path), access in ACCESS.items() if access in (Access.READ, Access.WRITE)]
USER, PASSWORD = CALLBACK_AUTH


@pytest.fixture(scope="module")
def rotating(shared_service: Service) -> Iterator[Service]:
    """Several credentials of each kind, as during a rotation."""
    with Service(
        shared_service.database_url,
        callback_credentials=(
            Credential("old", "one"),
            Credential("new", "two:with:colons"),
            Credential("ü", "ß€"),
            Credential("josé", "pässwörd"),
        ),
        api_keys=(ApiKey("old", "old-key"), ApiKey("new", "new:key with space"), ApiKey("umlaut", "schlüssel")),
        read_only_api_keys=(ApiKey("support", "reads"), ApiKey("other", "reads-too")),
    ) as service:
        yield service


def basic(user: str, password: str, *, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


def bearer(key: str) -> str:
    """As WSGI hands the header's bytes over: each as one character (PEP 3333)."""
    return "Bearer " + key.encode().decode("latin-1")


def call(service: Service, method: str, path: str, authorization: str | None, body: bytes = b"[]") -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    data = body if method == "POST" else None
    return service.call(method, path.replace("<tag>", "x"), key=None, headers=headers, data=data)


def challenge(answer: TestResponse) -> str | None:
    assert is_problem(answer, 401), answer.text
    return answer.headers.get("WWW-Authenticate")


def test_every_route_is_in_the_table_with_what_it_declares(shared_service: Service) -> None:
    demanded = declared_access(shared_service.app)
    found = {
        (method, rule.rule): demanded[rule.endpoint]
        for rule in shared_service.app.url_map.iter_rules()
        for method in rule.methods or ()
        if method != "HEAD"
    }

    assert found == ACCESS


def test_a_view_that_declares_nothing_is_named() -> None:
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/open", "open_door", lambda: "come in")

    with pytest.raises(LookupError, match="open_door"):
        declared_access(app)


def test_a_view_that_declares_nothing_is_never_called(shared_service: Service) -> None:
    with Service(shared_service.database_url) as service:
        service.app.add_url_rule("/open", "open_door", lambda: "come in")

        answer = service.call("GET", "/open", key=API_KEY)

    assert is_problem(answer, 500)


@pytest.mark.parametrize(("method", "path"), NEEDS_KEY)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer      ",
        "bearer",
        API_KEY,
        f"Bearer{API_KEY}",
        f"Bearer\t{API_KEY}",
        f"Bearer {API_KEY}x",
        f"Bearer {API_KEY[:-1]}",
        f"Bearer {API_KEY.upper()}",
        f"Bearer x{API_KEY}",
        f"Bearer {API_KEY} {API_KEY}",
        f"Bearer {API_KEY}, Bearer {API_KEY}",
        f"Bearer app:{API_KEY}",
        f"Basic {API_KEY}",
        f"Token {API_KEY}",
        f"Bearer Basic {API_KEY}",
        basic("app", API_KEY),
        basic(*CALLBACK_AUTH),
        f"Bearer {PASSWORD}",
        "Bearer \xff\xfe",
        "Bearer \x00",
        "Bearer " + "x" * 10_000,
    ],
)
def test_without_a_key_that_verifies_the_answer_is_a_bearer_challenge(
    shared_service: Service, method: str, path: str, authorization: str | None
) -> None:
    answer = call(shared_service, method, path, authorization)

    assert (challenge(answer) or "").startswith('Bearer realm="')


@pytest.mark.parametrize(
    ("path", "given", "secrets"),
    [
        (MESSAGES, bearer("old-key"), {"old-key", "new:key with space", "schlüssel"}),
        (MESSAGES, bearer("no key"), {"old-key", "new:key with space", "schlüssel", "reads", "reads-too"}),
        (CALLBACKS, basic("old", "one"), {"old:one", "new:two:with:colons", "ü:ß€"}),
        (CALLBACKS, basic("josé", "pässwörd", encoding="latin-1"), {"josé:pässwörd", "old:one", "ü:ß€"}),
        (CALLBACKS, basic("josé", "pässwörd"), {"josé:pässwörd", "old:one", "ü:ß€"}),
    ],
)
def test_whichever_secret_is_given_all_are_compared_and_each_in_constant_time(
    rotating: Service, monkeypatch: pytest.MonkeyPatch, path: str, given: str, secrets: set[str]
) -> None:
    compared, equal = set[bytes](), hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.add(other) or equal(one, other))

    call(rotating, "POST" if path == CALLBACKS else "GET", path, given)

    assert compared >= {secret.encode() for secret in secrets}
    assert ("josé:pässwörd".encode("latin-1") in compared) == (path == CALLBACKS)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "])
def test_the_scheme_of_a_key_is_read_in_any_case(shared_service: Service, scheme: str) -> None:
    assert call(shared_service, "GET", MESSAGES, f"{scheme} {API_KEY}").status_code == 200


@pytest.mark.parametrize("key", ["old-key", "new:key with space", "schlüssel", "reads", "reads-too"])
def test_every_key_reads_during_a_rotation(rotating: Service, key: str) -> None:
    assert call(rotating, "GET", MESSAGES, bearer(key)).status_code == 200


@pytest.mark.parametrize("key", ["voilà", "TÅ", "Š"])
def test_a_key_verifies_whatever_its_last_letter_is(shared_service: Service, key: str) -> None:
    """Their last byte is 0xA0 or 0x85: white space to a careless reader, part of a letter here."""
    with Service(shared_service.database_url, api_keys=(ApiKey("app", key),)) as service:
        assert call(service, "GET", MESSAGES, bearer(key)).status_code == 200


@pytest.mark.parametrize("key", ["old-key", "new:key with space", "schlüssel"])
def test_every_writing_key_writes_during_a_rotation(rotating: Service, key: str) -> None:
    assert is_problem(call(rotating, "POST", MESSAGES, bearer(key)), 422)


@pytest.mark.parametrize("key", ["", " ", ":", "support", "old", "schl\xfcssel"])
def test_what_is_no_key_does_not_pass_during_a_rotation(rotating: Service, key: str) -> None:
    assert challenge(call(rotating, "GET", MESSAGES, f"Bearer {key}"))


@pytest.mark.parametrize("body", [b'{"to": ["+19195550101"], "text": "x"}', b"not JSON", b"", b"x" * 70_000])
def test_a_read_only_key_may_not_write_whatever_the_body_is(shared_service: Service, body: bytes) -> None:
    gateway: FakeGateway = shared_service.gateway
    before = len(gateway.sent)

    answer = call(shared_service, "POST", MESSAGES, f"Bearer {READ_ONLY_KEY}", body)

    assert is_problem(answer, 403)
    assert len(gateway.sent) == before


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic  ",
        basic("", ""),
        basic(USER, ""),
        basic("", PASSWORD),
        basic(USER, PASSWORD + "x"),
        basic(USER, PASSWORD[:-1]),
        basic(USER, "callback"),
        basic(USER.upper(), PASSWORD),
        basic(f"{USER}:callback", "password")[:-4],
        basic(USER, PASSWORD).replace("Basic ", "Basic *"),
        basic(USER, PASSWORD).replace("Basic ", "Basic"),
        basic(USER, PASSWORD).replace("Basic ", "Bearer "),
        basic(USER, PASSWORD).replace("Basic ", "Digest "),
        basic(USER, PASSWORD) + ", " + basic(USER, PASSWORD),
        basic(USER, PASSWORD + "\x00"),
        basic(USER, PASSWORD + "\n"),
        basic("\u00fc", "\u00fc", encoding="latin-1"),
        "Basic " + base64.b64encode(USER.encode()).decode(),
        "Basic !!!!",
        "Basic YQ",
        "Basic \xe4\xf6\xfc",
        f"Basic {USER}:{PASSWORD}",
        f"Bearer {API_KEY}",
        "Basic " + "A" * 100_000,
    ],
)
def test_without_credentials_that_verify_bandwidth_gets_its_challenge(
    shared_service: Service, authorization: str | None
) -> None:
    answer = call(shared_service, "POST", CALLBACKS, authorization)

    assert challenge(answer) == 'Basic realm="bandwidth-receiver", charset="UTF-8"'


@pytest.mark.parametrize("authorization", [basic(*CALLBACK_AUTH), basic(*CALLBACK_AUTH).replace("Basic", "bASIC")])
def test_bandwidth_passes_with_its_credentials(shared_service: Service, authorization: str) -> None:
    assert call(shared_service, "POST", CALLBACKS, authorization).status_code == 200


@pytest.mark.parametrize(("user", "password"), [("old", "one"), ("new", "two:with:colons"), ("ü", "ß€")])
def test_every_pair_of_credentials_passes_during_a_rotation(rotating: Service, user: str, password: str) -> None:
    assert call(rotating, "POST", CALLBACKS, basic(user, password)).status_code == 200


COMPOSED, DECOMPOSED = "p\u00e4ssw\u00f6rd", "pa\u0308sswo\u0308rd"


@pytest.mark.parametrize(
    ("password", "given"),
    [
        (COMPOSED, COMPOSED.encode()),
        (COMPOSED, COMPOSED.encode("latin-1")),
        (DECOMPOSED, DECOMPOSED.encode()),
        (DECOMPOSED, COMPOSED.encode()),
        (DECOMPOSED, COMPOSED.encode("latin-1")),
        ("ß€", "ß€".encode()),
        ("\xa0\xff", b"\xa0\xff"),
        ("\xa0\xff", "\xa0\xff".encode()),
        # As the settings of a process hold what is not UTF-8.
        (os.fsdecode(COMPOSED.encode("latin-1")), COMPOSED.encode()),
        (os.fsdecode(COMPOSED.encode("latin-1")), COMPOSED.encode("latin-1")),
    ],
    ids=ascii,
)
def test_a_password_outside_ascii_passes_in_utf_8_and_in_latin_1(
    shared_service: Service, password: str, given: bytes
) -> None:
    authorization = "Basic " + base64.b64encode(b"bandwidth:" + given).decode()
    with Service(shared_service.database_url, callback_credentials=(Credential("bandwidth", password),)) as service:
        assert call(service, "POST", CALLBACKS, authorization).status_code == 200
        assert challenge(call(service, "POST", CALLBACKS, basic("bandwidth", "password")))


@pytest.mark.parametrize(
    ("password", "given"),
    [
        ("ß€", "ß?".encode("latin-1")),
        ("ß€", b"\xdf\x80"),
        ("ß€", "ß".encode()),
        (COMPOSED, b"p?ssw?rd"),
        (COMPOSED, COMPOSED.encode("utf-16-le")),
        (COMPOSED, COMPOSED.encode().decode("latin-1").encode()),
        ("\u00c3\u00a4", b"\xe4"),
        ("K", "\u212a".encode()),
    ],
    ids=ascii,
)
def test_a_password_outside_ascii_passes_in_no_other_spelling(
    shared_service: Service, password: str, given: bytes
) -> None:
    authorization = "Basic " + base64.b64encode(b"bandwidth:" + given).decode()
    with Service(shared_service.database_url, callback_credentials=(Credential("bandwidth", password),)) as service:
        assert challenge(call(service, "POST", CALLBACKS, authorization))


def test_an_api_key_that_is_not_utf_8_in_the_environment_passes_as_it_is(shared_service: Service) -> None:
    with Service(shared_service.database_url, api_keys=(ApiKey("app", os.fsdecode(b"schl\xfcssel")),)) as service:
        assert call(service, "GET", MESSAGES, "Bearer schl\xfcssel").status_code == 200
        assert challenge(call(service, "GET", MESSAGES, "Bearer schl\xfcsse"))


@pytest.mark.parametrize(("user", "password"), [("old", "two:with:colons"), ("new", "two"), ("old:one", "")])
def test_a_mixture_of_two_pairs_does_not_pass(rotating: Service, user: str, password: str) -> None:
    assert challenge(call(rotating, "POST", CALLBACKS, basic(user, password)))


@pytest.mark.parametrize("authorization", [None, "", "Basic !!!!", basic("any", "body")])
def test_without_credentials_set_the_door_is_open_only_if_a_setting_says_so(
    shared_service: Service, authorization: str | None
) -> None:
    url = shared_service.database_url
    with Service(url, callback_credentials=(), allow_unauthenticated_callbacks=True) as opened:
        assert call(opened, "POST", CALLBACKS, authorization).status_code == 200
    with Service(url, callback_credentials=()) as closed:
        assert challenge(call(closed, "POST", CALLBACKS, authorization))
    with Service(url, allow_unauthenticated_callbacks=True) as guarded:
        assert challenge(call(guarded, "POST", CALLBACKS, authorization))


@pytest.mark.parametrize("path", [CALLBACKS, MESSAGES])
@pytest.mark.parametrize("body", [b"", b"not JSON", b"\xff", b"1", b"[" * 100_000, b" " * 70_000])
def test_credentials_are_checked_before_anything_of_the_body(shared_service: Service, path: str, body: bytes) -> None:
    assert challenge(call(shared_service, "POST", path, None, body))


@pytest.mark.parametrize("path", [CALLBACKS, MESSAGES])
def test_credentials_are_checked_before_the_body_is_read(shared_service: Service, path: str) -> None:
    class Untouchable:
        def read(self, *_: object) -> bytes:
            raise AssertionError("the body was read")

        readline = read

    # One more than the limit would be a 413, if anybody looked.
    environ = {"wsgi.input": Untouchable(), "CONTENT_LENGTH": "60001"}
    answer = shared_service.app.test_client().open(path, method="POST", environ_overrides=environ)

    assert challenge(answer)


@pytest.mark.parametrize("path", [path for method, path in NEEDS_KEY if method == "GET"])
def test_head_needs_the_same_credentials_as_get(shared_service: Service, path: str) -> None:
    path = path.replace("<tag>", "x")

    assert shared_service.call("HEAD", path, key=None).status_code == 401
    assert shared_service.call("HEAD", path).status_code == shared_service.call("GET", path).status_code
    assert shared_service.call("HEAD", path).data == b""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (method, path)
        for method in ("OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "CONNECT", "FOO")
        for path in sorted({path for _, path in ACCESS})
        if (method, path) not in ACCESS
    ],
)
def test_no_other_method_tells_a_stranger_anything(shared_service: Service, method: str, path: str) -> None:
    answer = shared_service.call(method, path.replace("<tag>", "x"), key=None)

    assert is_problem(answer, 405)
    assert json.loads(answer.text)["detail"]
    allowed = {each for each, rule in ACCESS if rule == path}
    assert set(answer.headers["Allow"].split(", ")) - {"HEAD"} == allowed


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "nonsense"])
def test_health_asks_nobody_who_he_is(shared_service: Service, path: str, authorization: str | None) -> None:
    assert call(shared_service, "GET", path, authorization).status_code == 200
