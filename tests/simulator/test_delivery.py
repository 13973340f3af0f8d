"""Delivery of callbacks: challenge, timeout, retries until a 2xx or until the day is over."""

import base64
import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

from receiver.simulator import Callback, Simulator
from tests.support.callback_receiver import CHALLENGE, CallbackReceiver, Reply
from tests.support.simulators import ALICE, BOB, Send, Start, post

CREDENTIALS = {"callback_user": "bandwidth", "callback_password": "a:secret"}
AUTHORIZATION = "Basic " + base64.b64encode(b"bandwidth:a:secret").decode()


def only_callback(simulator: Simulator) -> Callback:
    (callback,) = simulator.messages[0].callbacks
    return callback


def test_the_first_request_has_no_credentials_and_the_second_has(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start(**CREDENTIALS)
    receiver.user_and_password = AUTHORIZATION

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    assert [each.authorization for each in receiver.received] == [None, AUTHORIZATION]
    assert receiver.received[0].body == receiver.received[1].body != b""
    assert receiver.received[0].client == receiver.received[1].client  # over the same connection
    assert [attempt.status for attempt in only_callback(simulator).attempts] == [200]


def test_credentials_are_not_sent_to_a_receiver_that_does_not_challenge(
    start: Start, receiver: CallbackReceiver
) -> None:
    simulator = start(**CREDENTIALS)

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    assert [each.authorization for each in receiver.received] == [None]


@pytest.mark.parametrize(
    "refusal", [Reply(status=401), Reply(status=401, headers={"WWW-Authenticate": "Digest realm=x"})]
)
def test_a_401_without_a_basic_challenge_is_a_failed_attempt(
    start: Start, receiver: CallbackReceiver, refusal: Reply
) -> None:
    simulator = start(**CREDENTIALS)
    receiver.plan([refusal])

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    assert [each.authorization for each in receiver.received] == [None, None]
    assert [attempt.status for attempt in only_callback(simulator).attempts] == [401, 200]


def test_a_challenge_is_a_failed_attempt_if_there_are_no_credentials(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start()
    receiver.plan([CHALLENGE])

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    assert [attempt.status for attempt in only_callback(simulator).attempts] == [401, 200]


def test_wrong_credentials_are_tried_until_the_day_is_over(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start(day=0.2, **CREDENTIALS)
    receiver.user_and_password = "Basic of-somebody-else"

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    callback = only_callback(simulator)
    assert {attempt.status for attempt in callback.attempts} == {401}
    assert len(receiver.received) == 2 * len(callback.attempts) > 2
    assert callback.given_up


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_acknowledges(send: Send, simulator: Simulator, receiver: CallbackReceiver, status: int) -> None:
    receiver.plan([Reply(status=status, body=b"")])

    send(to=ALICE)

    assert simulator.wait_until_idle(10)
    assert len(receiver.received) == 1
    assert only_callback(simulator).acknowledged


@pytest.mark.parametrize("status", [302, 307, 400, 404, 422, 500, 503])
def test_everything_else_is_delivered_again_with_the_same_body(
    send: Send, simulator: Simulator, receiver: CallbackReceiver, status: int
) -> None:
    receiver.plan([Reply(status=status, headers={"Location": receiver.url})] * 3)

    send(to=ALICE)

    assert simulator.wait_until_idle(10)
    assert len(receiver.received) == 4
    assert len({each.body for each in receiver.received}) == 1
    assert [attempt.status for attempt in only_callback(simulator).attempts] == [status] * 3 + [200]
    assert only_callback(simulator).acknowledged


def test_a_slow_receiver_gets_the_callback_again(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start(callback_timeout=0.1)
    release = threading.Event()
    receiver.plan([Reply(hold=release)])

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    release.set()
    first, second = only_callback(simulator).attempts
    assert (first.status, first.error) == (None, "no response within 0.1 s")
    assert second.succeeded


def test_a_receiver_that_trickles_its_response_is_slow_too(
    start: Start, trickling: tuple[str, threading.Event]
) -> None:
    url, gone = trickling
    simulator = start(callback_url=url, callback_timeout=0.2, day=0.1)

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    assert only_callback(simulator).attempts[0].error == "no response within 0.2 s"
    assert gone.wait(10)


@pytest.fixture
def trickling() -> Iterator[tuple[str, threading.Event]]:
    """A receiver that sends a byte of a header every 20 ms without end; the event is set when its client leaves."""
    gone = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            try:
                while not gone.wait(0.02):
                    connection.sendall(b".")
            except OSError:
                gone.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", gone
        gone.set()
        thread.join()


def test_after_a_challenge_that_closes_the_connection_another_is_opened(start: Start) -> None:
    """Servers that challenge before they read the body close the connection, with or without announcing it."""
    challenge = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="r"\r\nContent-Length: 0\r\n\r\n'
    heads: list[bytes] = []

    def respond() -> None:
        for response in (challenge, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
            connection, _ = listener.accept()
            with connection:
                heads.append(connection.recv(65536))
                connection.sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=respond, daemon=True)
        thread.start()
        simulator = start(callback_url=f"http://127.0.0.1:{listener.getsockname()[1]}/", day=60.0, **CREDENTIALS)
        post(simulator, to=ALICE)
        assert simulator.wait_until_idle(10)
        thread.join()
    assert [b"\r\nAuthorization: Basic " in head for head in heads] == [False, True]
    assert [attempt.status for attempt in only_callback(simulator).attempts] == [200]


def test_a_refused_connection_is_a_failed_attempt(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    simulator = start(callback_url=f"http://127.0.0.1:{port}/", day=0.1)

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    assert "ConnectionRefusedError" in str(only_callback(simulator).attempts[0].error)


def test_redelivery_stops_when_the_day_is_over(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start(day=0.3)
    receiver.plan([Reply(status=500)] * 1000)

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    callback = only_callback(simulator)
    assert (callback.acknowledged, callback.given_up) == (False, True)
    first, last = callback.attempts[0].at, callback.attempts[-1].at
    assert 5 < len(callback.attempts) < 20
    assert (last - first).total_seconds() < 0.3 + 0.2  # 0.2 s of tolerance for a thread that woke late


def test_redeliveries_are_further_and_further_apart(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start(day=2.0)
    receiver.plan([Reply(status=500)] * 1000)

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    times = [attempt.at for attempt in only_callback(simulator).attempts]
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
    assert sum(gaps[-2:]) > 5 * sum(gaps[:2])


def test_a_refused_callback_delays_no_other(send: Send, simulator: Simulator, receiver: CallbackReceiver) -> None:
    release = threading.Event()
    receiver.plan([Reply(hold=release, status=500), Reply(hold=release)])

    send(to=[ALICE, BOB])

    for _ in range(2):
        assert receiver.arrived.acquire(timeout=10)
    release.set()
    assert simulator.wait_until_idle(10)
    assert sorted(event["to"] for event in receiver.events[:2]) == [ALICE, BOB]
    assert all(callback.acknowledged for callback in simulator.messages[0].callbacks)


def test_the_next_event_does_not_wait_for_the_retry_of_a_refused_one(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start(day=300.0)
    receiver.plan([Reply(status=500)])

    post(simulator, to="+12005564404")

    assert simulator.wait_until_idle(10)
    assert [event["type"] for event in receiver.events] == [
        "message-failed",
        "message-delivered",
        "message-failed",
    ]


def test_the_body_of_a_response_is_ignored(send: Send, simulator: Simulator, receiver: CallbackReceiver) -> None:
    receiver.plan([Reply(body=b"x" * 1_000_000)])

    send(to=ALICE)

    assert simulator.wait_until_idle(10)
    assert only_callback(simulator).acknowledged


def test_the_simulator_is_idle_only_without_pending_callbacks(
    send: Send, simulator: Simulator, receiver: CallbackReceiver
) -> None:
    release = threading.Event()
    receiver.plan([Reply(hold=release)])

    assert simulator.wait_until_idle(0)
    send(to=ALICE)
    assert not simulator.wait_until_idle(0)
    assert receiver.arrived.acquire(timeout=10)
    assert not simulator.wait_until_idle(0.01)
    release.set()
    assert simulator.wait_until_idle(10)


def test_a_seed_makes_the_gaps_repeatable(start: Start) -> None:
    def delays(seed: int) -> list[float]:
        simulator = start(callback_url=None, pace=(0.0, 1.0), seed=seed)
        post(simulator, to=[ALICE, BOB])
        return [callback.delay for callback in simulator.messages[0].callbacks]

    assert delays(1) == delays(1) != delays(2)
