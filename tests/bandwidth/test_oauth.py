"""TokenCache: fetched once for all threads, renewed in time, replaced after a 401, and never asked for in a storm."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from receiver.bandwidth.client import BandwidthGateway
from receiver.bandwidth.oauth import TokenCache
from receiver.core.messages import Accepted, OutboundMessage, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from tests.support.bandwidth_endpoints import (
    ACCEPTED,
    CLIENT_ID,
    CLIENT_SECRET,
    UNAUTHORIZED,
    Clock,
    Endpoints,
    authorization,
    client_basic,
)
from tests.support.log_lines import Lines
from tests.support.processes import wait_for
from tests.support.scripted_server import Peer, Serve, answer

MESSAGE = OutboundMessage(to=("+12345678902",), sender="+12345678901", application_id="93de2206", text="Hello")
MANY = 20


@pytest.fixture
def endpoints() -> Iterator[Endpoints]:
    endpoints = Endpoints()
    yield endpoints
    endpoints.server.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def send(gateway: BandwidthGateway) -> SendResult:
    return gateway.create_message(MESSAGE, tag="a-tag")


def tokens_of(endpoints: Endpoints, clock: Callable[[], float]) -> TokenCache:
    return TokenCache(url=f"{endpoints.url}/token", client_id=CLIENT_ID, client_secret=CLIENT_SECRET, clock=clock)


def refusal(gateway: BandwidthGateway) -> Refused:
    said = send(gateway)
    assert isinstance(said, Refused), said
    return said


class Gate:
    """Holds an answer until a test opens it."""

    def __init__(self, then: Callable[[], bytes]) -> None:
        self._then = then
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, peer: Peer) -> None:
        self.reached.set()
        self.opened.wait(30)
        peer.send(self._then())


# ---- Asking for a token ----


def test_a_token_is_asked_for_as_bandwidths_own_clients_do(endpoints: Endpoints) -> None:
    assert isinstance(send(endpoints.gateway()), Accepted)

    [request] = endpoints.token_requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /token HTTP/1.1\r\n")
    assert b"Content-Type: application/x-www-form-urlencoded\r\n" in head
    assert b"Accept: application/json\r\n" in head
    assert authorization(request) == client_basic()
    assert body == b"grant_type=client_credentials"
    assert endpoints.requests == ["token-1"]


def test_client_id_and_secret_may_hold_any_character(endpoints: Endpoints) -> None:
    assert isinstance(send(endpoints.gateway(client_id="ü +%", client_secret="pä:ss &=")), Accepted)

    [request] = endpoints.token_requests
    assert authorization(request) == "Basic w7wgKyU6cMOkOnNzICY9"


def test_a_token_serves_for_every_message_until_it_is_renewed(endpoints: Endpoints) -> None:
    gateway = endpoints.gateway()

    assert all(isinstance(send(gateway), Accepted) for _ in range(5))

    assert len(endpoints.token_requests) == 1


def test_the_environment_changes_nothing_about_how_a_token_is_fetched(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9/")

    assert isinstance(send(endpoints.gateway()), Accepted)
    assert authorization(endpoints.token_requests[0]) == client_basic()


def test_many_threads_that_need_a_token_ask_for_one(endpoints: Endpoints) -> None:
    endpoints.tokens.append(gate := Gate(endpoints.token))
    gateway = endpoints.gateway()

    with ThreadPoolExecutor(MANY) as threads:
        sending = [threads.submit(send, gateway) for _ in range(MANY)]
        assert gate.reached.wait(10)
        assert not any(each.done() for each in sending)
        gate.opened.set()
        assert all(isinstance(each.result(), Accepted) for each in sending)

    assert len(endpoints.token_requests) == 1


@pytest.mark.parametrize("expires_in", [1e-9, 1])
def test_a_token_that_has_ended_on_its_way_serves_those_who_waited_and_costs_one_fetch(
    endpoints: Endpoints, clock: Clock, expires_in: float
) -> None:
    def late(peer: Peer) -> None:
        clock.now += 1.2
        peer.send(endpoints.token())

    endpoints.expires_in = expires_in
    endpoints.tokens.extend([late, late])
    gateway = endpoints.gateway(clock)

    assert [isinstance(send(gateway), Accepted) for _ in range(2)] == [True, True]
    assert len(endpoints.token_requests) == 2


def test_without_a_client_id_nobody_asks_for_a_token(endpoints: Endpoints) -> None:
    endpoints.answers.append(ACCEPTED)

    assert isinstance(
        send(endpoints.gateway(client_id=None, client_secret="", username="user", password="password")), Accepted
    )

    assert endpoints.token_requests == []
    assert endpoints.requests == ["Basic dXNlcjpwYXNzd29yZA=="]


# ---- How long a token is used ----


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (3600, 3600),
        (30, 30),
        (0.5, 0.5),
        ("3600", 3600),
        ("0900", 900),
        ("9" * 5000, 86400),
        (86_401, 86_400),
        (10**300, 86_400),
        (..., 60),
        (None, 60),
        (-1, 60),
        (0, 60),
        (True, 60),
        ("soon", 60),
        ("-5", 60),
        ("\u0663\u0660", 60),
        ("", 60),
        ([3600], 60),
        ({"seconds": 5}, 60),
    ],
)
def test_how_long_a_token_lasts_is_read_leniently(
    endpoints: Endpoints, clock: Clock, expires_in: Any, life: float
) -> None:
    endpoints.expires_in = expires_in

    assert tokens_of(endpoints, clock).get(until=clock() + 5).life == life


@pytest.mark.parametrize(
    ("written", "life"), [(b"NaN", 60), (b"1e999", 86_400), (b"-1e999", 60), (b"9" * 5000, 86_400)]
)
def test_an_expires_in_that_is_hardly_a_number_keeps_the_token(
    endpoints: Endpoints, clock: Clock, written: bytes, life: float
) -> None:
    endpoints.tokens.append(answer("200 OK", b'{"access_token": "t", "expires_in": ' + written + b"}"))

    assert tokens_of(endpoints, clock).get(until=clock() + 5).life == life


@pytest.mark.parametrize(("life", "margin"), [(3600, 60), (121, 60), (100, 50), (30, 15), (1, 0.5)])
def test_a_token_is_renewed_a_minute_before_its_end_or_at_half_of_its_life(
    endpoints: Endpoints, clock: Clock, life: float, margin: float
) -> None:
    endpoints.expires_in = life
    tokens = tokens_of(endpoints, clock)
    first = tokens.get(until=clock() + 5)

    clock.now += life - margin - 0.01
    assert tokens.get(until=clock() + 5) is first
    clock.now += 0.02
    assert tokens.get(until=clock() + 5) is first  # good enough while the next one is fetched
    wait_for(lambda: tokens.get(until=clock() + 5) is not first, "the renewed token")

    assert len(endpoints.token_requests) == 2


def test_while_one_thread_renews_the_others_go_on_with_the_old_token(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 3599
    endpoints.tokens.append(gate := Gate(endpoints.token))

    with ThreadPoolExecutor(MANY) as threads:
        assert all(isinstance(each, Accepted) for each in threads.map(lambda _: send(gateway), range(MANY)))
    assert gate.reached.wait(10)
    assert set(endpoints.requests) == {"token-1"}
    gate.opened.set()
    wait_for(lambda: isinstance(send(gateway), Accepted) and endpoints.requests[-1] == "token-2", "the new token")

    assert len(endpoints.token_requests) == 2


def test_a_token_that_has_ended_is_not_used_whatever_becomes_of_the_next(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 3601
    endpoints.tokens.append(answer("500 Server Error"))

    assert refusal(gateway).because is RefusedBecause.UNREACHABLE

    assert endpoints.requests == ["token-1"]


def test_a_renewal_that_fails_leaves_the_old_token_in_use_and_is_not_tried_by_every_call(
    endpoints: Endpoints, clock: Clock
) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 3550
    endpoints.tokens.extend([answer("500 Server Error")] * 2)

    for renewals in (1, 2):
        assert isinstance(send(gateway), Accepted)
        wait_for(lambda: len(endpoints.token_requests) == 1 + renewals, "the renewal that fails")  # noqa: B023
        wait_for(lambda: not has_thread("bandwidth-token"), "it to be over")
        assert all(isinstance(send(gateway), Accepted) for _ in range(5))
        assert len(endpoints.token_requests) == 1 + renewals
        clock.now += 3  # seconds: the first failure is remembered for 1, the second for 2

    assert set(endpoints.requests) == {"token-1"}


def has_thread(name: str) -> bool:
    return any(each.name == name for each in threading.enumerate())


# ---- A 401 to a token ----


def test_a_401_to_a_token_fetches_a_new_one_and_repeats_the_request_once(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 11
    endpoints.answers.append(UNAUTHORIZED)

    assert isinstance(send(gateway), Accepted)

    assert endpoints.requests == ["token-1", "token-1", "token-2"]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (UNAUTHORIZED, Refused(because=RefusedBecause.BANDWIDTH, status=401)),
        (answer("400 Bad Request"), Refused(because=RefusedBecause.BANDWIDTH, status=400)),
        (answer("429 Too Many", b"", "Retry-After: 7"), Refused(because=RefusedBecause.RATE_LIMITED, status=429)),
        (answer("502 Bad Gateway"), Unknown(status=502)),
    ],
)
def test_the_second_answer_counts_and_there_is_no_third_request(
    endpoints: Endpoints, clock: Clock, second: bytes, expected: Refused | Unknown
) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 11
    endpoints.answers.extend([UNAUTHORIZED, second])

    said = send(gateway)

    assert isinstance(said, Refused | Unknown)
    assert (type(said), said.status) == (type(expected), expected.status)
    assert isinstance(said, Unknown) or said.because is expected.because  # type: ignore[union-attr]
    assert len(endpoints.requests) == 3


def test_a_second_request_that_is_dropped_is_unknown(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 11
    endpoints.answers.extend([UNAUTHORIZED, lambda peer: peer.reset()])

    assert isinstance(send(gateway), Unknown)


def test_a_401_to_a_young_token_stays_a_401(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    endpoints.answers.extend([UNAUTHORIZED, UNAUTHORIZED])

    assert refusal(gateway).status == 401
    clock.now += 10
    assert refusal(gateway).status == 401

    assert len(endpoints.token_requests) == 1


def test_an_account_that_every_token_is_refused_for_costs_a_token_every_ten_seconds_at_most(
    endpoints: Endpoints, clock: Clock
) -> None:
    gateway = endpoints.gateway(clock)
    endpoints.answers.extend([UNAUTHORIZED] * 100)

    for _ in range(30):
        assert refusal(gateway).status == 401
        clock.now += 1

    assert len(endpoints.token_requests) <= 4


def test_a_401_to_a_token_that_was_renewed_meanwhile_is_repeated_with_the_new_one(
    endpoints: Endpoints, clock: Clock
) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 11
    endpoints.answers.append(gate := Gate(lambda: UNAUTHORIZED))

    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(send, gateway)
        assert gate.reached.wait(10)
        endpoints.revoke()
        assert isinstance(send(gateway), Accepted)  # by a token that is seconds old
        gate.opened.set()
        assert isinstance(late.result(), Accepted)

    assert len(endpoints.token_requests) == 2


def test_many_requests_with_a_token_that_died_fetch_one_new_token(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 11
    endpoints.revoke()

    with ThreadPoolExecutor(MANY) as threads:
        assert all(isinstance(each, Accepted) for each in threads.map(lambda _: send(gateway), range(MANY)))

    assert len(endpoints.token_requests) == 2
    assert len(endpoints.requests) <= 1 + 2 * MANY


@pytest.mark.parametrize("instead", [answer("500 Server Error"), answer("401 Unauthorized"), Peer.reset])
def test_a_401_whose_repeat_cannot_be_begun_stays_a_401(endpoints: Endpoints, clock: Clock, instead: Any) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 11
    endpoints.revoke()
    endpoints.tokens.append(instead)

    said = refusal(gateway)

    assert (said.because, said.status) == (RefusedBecause.BANDWIDTH, 401)
    assert len(endpoints.requests) == 2


# ---- No token to be had: nothing was sent ----

REFUSES_CLIENT = b'{"error": "invalid_client"}'
HTML = b"<html>Please log in to the guest network.</html>"


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden"])
def test_a_refused_client_is_reported_by_the_names_of_its_settings(endpoints: Endpoints, status: str) -> None:
    endpoints.tokens.append(answer(status, REFUSES_CLIENT))

    said = refusal(endpoints.gateway())

    assert (said.because, said.status, said.type) == (RefusedBecause.BANDWIDTH, None, "credentials")
    assert said.description
    assert "BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET" in said.description
    assert endpoints.requests == []


@pytest.mark.parametrize(
    "said",
    [
        answer("404 Not Found", REFUSES_CLIENT),
        answer("405 Method Not Allowed"),
        answer("429 Too Many Requests"),
        answer("500 Server Error", REFUSES_CLIENT),
        answer("503 Service Unavailable", HTML),
        answer("302 Found", b"", "Location: /elsewhere"),
        answer("200 OK", HTML),
        answer("200 OK", b""),
        answer("200 OK", b"[]"),
        answer("200 OK", b'"token"'),
        answer("200 OK", b"{}"),
        answer("200 OK", b'{"access_token": null}'),
        answer("200 OK", b'{"access_token": ""}'),
        answer("200 OK", b'{"access_token": 5}'),
        answer("200 OK", b'{"access_token": "a\\r\\nX-Injected: b"}'),
        answer("200 OK", b'{"access_token": "a b"}'),
        answer("200 OK", b'{"access_token": "t\xc3\xb6ken"}'),
        answer("200 OK", b'{"access_token": "' + b"x" * 2**20 + b'"}'),
        answer("200 OK", b'{"access_token": "' + b"x" * 8193 + b'"}'),
        answer("200 OK", b'{"access_token": "cut off"', length=1000),
        b"nonsense\r\n\r\n",
        b"",
    ],
    ids=lambda said: said[9:40].decode(errors="replace"),
)
def test_whatever_else_is_said_instead_of_a_token_sends_nothing_and_may_pass(endpoints: Endpoints, said: bytes) -> None:
    def talk(peer: Peer) -> None:
        peer.send(said)
        peer.connection.close()

    endpoints.tokens.append(talk)

    found = refusal(endpoints.gateway())

    assert (found.because, found.status) == (RefusedBecause.UNREACHABLE, None)
    assert "BANDWIDTH_TOKEN_URL" in (found.description or "")
    assert endpoints.requests == []


@pytest.mark.parametrize(
    ("url", "type_"),
    [
        ("http://127.0.0.1:9/token", "connection-refused"),
        ("http://no-such-host.invalid/token", "name-not-resolved"),
        ("http://[::1/token", "invalid-url"),
    ],
)
def test_a_token_endpoint_that_cannot_be_reached_is_named(endpoints: Endpoints, url: str, type_: str) -> None:
    found = refusal(endpoints.gateway(token_url=url))

    assert (found.because, found.type) == (RefusedBecause.UNREACHABLE, type_)
    assert "BANDWIDTH_TOKEN_URL" in (found.description or "")
    assert endpoints.requests == []


def test_a_token_endpoint_with_a_certificate_nobody_trusts_gets_no_secret(serve: Serve, endpoints: Endpoints) -> None:
    server = serve(Peer.wait_for_hang_up, tls=True)

    found = refusal(endpoints.gateway(token_url=f"https://127.0.0.1:{server.port}/token"))

    assert found.type == "tls-failed"
    assert server.requests == []


def test_the_token_endpoint_may_ask_to_be_left_alone(endpoints: Endpoints, clock: Clock) -> None:
    endpoints.tokens.append(answer("429 Too Many Requests", b"", "Retry-After: 40"))
    gateway = endpoints.gateway(clock)
    refusal(gateway)

    clock.now += 39
    assert refusal(gateway).retry_after == 1
    assert len(endpoints.token_requests) == 1
    clock.now += 2
    assert isinstance(send(gateway), Accepted)


def test_a_retry_after_of_a_day_does_not_stop_sending_for_a_day(endpoints: Endpoints, clock: Clock) -> None:
    endpoints.tokens.append(answer("429 Too Many Requests", b"", "Retry-After: 86400"))
    gateway = endpoints.gateway(clock)
    refusal(gateway)

    clock.now += 301
    assert isinstance(send(gateway), Accepted)


def test_a_failed_fetch_is_remembered_for_a_second_doubling_to_thirty(endpoints: Endpoints, clock: Clock) -> None:
    endpoints.tokens.extend([answer("500 Server Error")] * 8)
    gateway = endpoints.gateway(clock)

    for seconds in (1, 2, 4, 8, 16, 30, 30):
        asked = len(endpoints.token_requests)
        assert not refusal(gateway).is_remembered
        clock.now += seconds - 0.1
        with ThreadPoolExecutor(MANY) as threads:
            remembered = list(threads.map(lambda _: refusal(gateway), range(MANY)))
        assert all(each.is_remembered and each.retry_after == 1 for each in remembered)
        assert len(endpoints.token_requests) == asked + 1
        clock.now += 0.2

    endpoints.tokens.clear()
    assert isinstance(send(gateway), Accepted)
    clock.now += 11
    endpoints.revoke()
    endpoints.tokens.append(answer("500 Server Error"))
    assert refusal(gateway).status == 401
    clock.now += 1.1  # a success has ended the doubling
    assert isinstance(send(gateway), Accepted)


def test_those_who_waited_for_a_fetch_that_fails_hear_it_first_hand(endpoints: Endpoints) -> None:
    endpoints.tokens.append(gate := Gate(lambda: answer("503 Service Unavailable")))
    gateway = endpoints.gateway()

    with ThreadPoolExecutor(MANY) as threads:
        sending = [threads.submit(refusal, gateway) for _ in range(MANY)]
        assert gate.reached.wait(10)
        gate.opened.set()
        said = [each.result() for each in sending]

    assert {each.because for each in said} == {RefusedBecause.UNREACHABLE}
    assert len(endpoints.token_requests) == 1


# ---- Within the call's own time ----


def test_nothing_is_written_when_less_than_half_of_the_read_time_out_is_left(
    endpoints: Endpoints, clock: Clock
) -> None:
    def late(peer: Peer) -> None:
        clock.now += 7.6  # of 10 seconds, and 2.5 must be left
        peer.send(endpoints.token())

    endpoints.tokens.append(late)
    gateway = endpoints.gateway(clock)

    found = refusal(gateway)

    assert (found.because, found.type) == (RefusedBecause.UNREACHABLE, "too-late")
    assert endpoints.requests == []
    assert isinstance(send(gateway), Accepted)  # the token was not in vain


def test_a_401_that_comes_late_is_not_repeated(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 11

    def late(peer: Peer) -> None:
        clock.now += 7.6
        peer.send(UNAUTHORIZED)

    endpoints.answers.append(late)

    assert refusal(gateway).status == 401
    assert len(endpoints.requests) == 2


def test_a_fetch_that_never_ends_is_not_waited_for_longer_than_the_call_has_time(endpoints: Endpoints) -> None:
    endpoints.tokens.append(Peer.wait_for_hang_up)
    gateway = endpoints.gateway(connect_timeout=0.2, read_timeout=0.4)

    found = refusal(gateway)

    assert (found.because, found.type) == (RefusedBecause.UNREACHABLE, "no-token")
    assert endpoints.requests == []


def test_a_fetch_that_trickles_ends_after_five_seconds_and_the_next_is_a_new_one(endpoints: Endpoints) -> None:
    hung_up = threading.Event()

    def trickle(peer: Peer) -> None:
        try:
            peer.trickle(b"HTTP/1.1 200 OK\r\nX-Nothing: 1\r\n")
        finally:
            hung_up.set()

    endpoints.tokens.append(trickle)
    gateway = endpoints.gateway(read_timeout=20.0)

    found = refusal(gateway)

    assert (found.because, found.type) == (RefusedBecause.UNREACHABLE, "no-token")
    assert hung_up.wait(10)
    wait_for(lambda: isinstance(send(gateway), Accepted), "the next token")


def test_a_machine_without_a_thread_to_spare_sends_nothing(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    gateway = endpoints.gateway()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        began = time.monotonic()
        found = refusal(gateway)
        took = time.monotonic() - began

    assert (found.because, found.type) == (RefusedBecause.UNREACHABLE, "connection-failed")
    assert took < 2  # there is nothing to wait for

    wait_for(lambda: isinstance(send(gateway), Accepted), "the next token")


# ---- Secrets ----


def test_no_token_and_no_secret_is_in_any_line_of_the_log_or_any_text(endpoints: Endpoints, logged: Lines) -> None:
    gateway = endpoints.gateway()
    endpoints.tokens.append(answer("401 Unauthorized", CLIENT_SECRET.encode() + b"token-1"))
    said = str(refusal(gateway))
    wait_for(lambda: isinstance(send(gateway), Accepted), "the token")
    tokens = tokens_of(endpoints, Clock())
    texts = [said, repr(endpoints.account()), repr(tokens.get(until=2000)), *map(str, logged)]

    assert {line["event"] for line in logged} == {"token fetched", "token not fetched"}
    for text in texts:
        assert CLIENT_SECRET not in text
        assert "token-" not in text
        assert client_basic().removeprefix("Basic ") not in text


@pytest.mark.parametrize("written", [str, lambda text: text.replace("-", "\\u002d"), lambda text: f"x{text}x"])
def test_an_answer_that_repeats_what_was_asked_leads_no_secret_into_a_text(
    endpoints: Endpoints, written: Callable[[str], str]
) -> None:
    said = written("Bearer token-1 is token-1")
    body = '{"type": "%s", "description": "%s", "fieldErrors": [{"fieldName": "%s", "description": "%s"}]}'
    endpoints.answers.append(answer("400 Bad Request", (body % (said, said, said, said)).encode()))

    found = refusal(endpoints.gateway())

    assert "***" in (found.type or "")
    assert "***" in (found.description or "")
    assert len(found.field_errors) == 1
    assert "token-1" not in str(found)


def test_a_token_that_was_replaced_is_hidden_too(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    send(gateway)
    clock.now += 11
    said = b'{"type": "t", "description": "token-1 is gone, token-2 is wrong"}'
    endpoints.answers.extend([UNAUTHORIZED, answer("400 Bad Request", said)])

    assert refusal(gateway).description == "*** is gone, *** is wrong"


def test_a_short_token_does_not_change_what_an_accepted_message_is_called(endpoints: Endpoints) -> None:
    endpoints.tokens.append(answer("200 OK", b'{"access_token": "m"}'))
    endpoints.answers.append(answer("202 Accepted", b'{"id": "m1", "segmentCount": 1}'))

    assert send(endpoints.gateway()) == Accepted(message_id="m1", segment_count=1)


def test_a_password_that_is_repeated_is_hidden_too(endpoints: Endpoints) -> None:
    gateway = endpoints.gateway(client_id=None, client_secret="", username="user", password="pass>>>word")
    said = b'{"type": "t", "description": "Basic dXNlcjpwYXNzPj4\\u002Bd29yZA== is not known"}'
    endpoints.answers.append(answer("401 Unauthorized", said))

    found = refusal(gateway)

    assert endpoints.requests == ["Basic dXNlcjpwYXNzPj4+d29yZA=="]
    assert found.description == "*** is not known"


def test_a_known_refusal_needs_no_call(endpoints: Endpoints, clock: Clock) -> None:
    gateway = endpoints.gateway(clock)
    assert gateway.known_refusal() is None
    endpoints.tokens.append(answer("503 Service Unavailable"))
    refusal(gateway)

    known = gateway.known_refusal()

    assert known is not None
    assert (known.because, known.is_remembered, known.retry_after) == (RefusedBecause.UNREACHABLE, True, 1)
    clock.now += 1.1
    assert gateway.known_refusal() is None
    send(gateway)
    assert gateway.known_refusal() is None
