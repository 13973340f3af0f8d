"""The simulator as a program: starting, stopping, connections, and what it shows of itself."""

import socket
import threading

import pytest
import requests

from receiver.simulator import RequestFate, Simulator, SimulatorOptions, Switches
from tests.support.callback_receiver import CallbackReceiver, Reply
from tests.support.raw_http import connection
from tests.support.simulators import (
    ALICE,
    BOB,
    MESSAGE,
    Send,
    Start,
    bearer,
    messages_url,
    post,
    receive,
    simulator_threads,
)


def test_it_shows_accepted_messages_and_their_callbacks(
    send: Send, simulator: Simulator, receiver: CallbackReceiver
) -> None:
    receiver.plan([Reply(status=500)])
    message_id = send(to=ALICE).json()["id"]
    assert simulator.wait_until_idle(10)

    (message,) = requests.get(f"{simulator.root}/simulator/messages", timeout=10).json()["messages"]

    assert message["id"] == message_id
    assert message["request"] == MESSAGE | {"to": ALICE}
    assert message["headers"]["Content-Type"] == "application/json"
    assert "Authorization" not in message["headers"]
    (callback,) = message["callbacks"]
    assert callback["events"] == receiver.events[:1]
    assert [(attempt["status"], attempt["error"]) for attempt in callback["attempts"]] == [
        (500, None),
        (200, None),
    ]
    assert (callback["acknowledged"], callback["givenUp"]) == (True, False)


def test_a_message_can_be_received_over_http(simulator: Simulator, receiver: CallbackReceiver) -> None:
    response = receive(simulator, from_=ALICE, to="+12345678901", text="Hello")

    assert response.status_code == 202
    assert simulator.wait_until_idle(10)
    (event,) = receiver.events
    assert (event["type"], event["message"]["id"]) == ("message-received", response.json()["id"])


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"from": "+1", "to": [], "text": ""}'])
def test_an_unreadable_inbound_message_is_refused_with_an_explanation(simulator: Simulator, body: bytes) -> None:
    response = requests.post(f"{simulator.root}/simulator/inbound", data=body, timeout=10)

    assert response.status_code == 400
    assert response.json()["error"]


def test_a_connection_serves_one_request_after_another(simulator: Simulator) -> None:
    url = f"{simulator.url}/users/9900000/messages"
    with requests.Session() as session:
        for _ in range(3):
            assert session.post(url, json=MESSAGE, headers=bearer(simulator), timeout=10).status_code == 202
            assert session.get(f"{simulator.root}/nowhere", timeout=10).status_code == 404
            assert session.post(url, data=b"not read", timeout=10).status_code == 401
        pools = session.get_adapter(url).poolmanager.pools
        (host,) = pools.keys()
        assert pools[host].num_connections == 1


def test_a_chunked_request_is_read(simulator: Simulator) -> None:
    chunks = iter([b'{"from": "+12345678901", "to": "+12345678902",', b'"text": "a", "applicationId": "b"}'])
    response = requests.post(
        messages_url(simulator),
        data=chunks,
        headers=bearer(simulator) | {"Content-Type": "application/json"},
        timeout=10,
    )

    assert response.status_code == 202


@pytest.mark.parametrize(
    "head",
    [b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", b"Content-Length: 10\r\n\r\nhalf"],
    ids=["chunks", "half"],
)
def test_a_truncated_request_prints_no_error(
    simulator: Simulator, capfd: pytest.CaptureFixture[str], head: bytes
) -> None:
    with connection(simulator) as client:
        client.sendall(b"POST /api/v2/users/9900000/messages HTTP/1.1\r\nHost: localhost\r\n" + head)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""

    assert capfd.readouterr().err == ""


def test_many_clients_at_once_each_get_a_response(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start()
    statuses: list[int] = []
    clients = [threading.Thread(target=lambda: statuses.append(post(simulator).status_code)) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert statuses == [202] * 20
    assert simulator.wait_until_idle(10)
    assert len({message.id for message in simulator.messages}) == 20
    assert sorted(event["to"] for event in receiver.events) == [ALICE] * 20 + [BOB] * 20


def test_stopping_leaves_no_thread_and_no_listener_behind(receiver: CallbackReceiver) -> None:
    release = threading.Event()
    receiver.plan([Reply(hold=release)] * 2)
    simulator = Simulator(SimulatorOptions(callback_url=receiver.url, pace=(0.0, 0.0), day=60.0))
    with simulator, requests.Session() as session:
        assert len(simulator_threads()) > 1
        simulator.switches = Switches(request=RequestFate.SLOW)
        slow = threading.Thread(target=lambda: post(simulator, to=[ALICE, "+12005580000"]))
        slow.start()
        session.get(f"{simulator.root}/simulator/messages", timeout=10)
        for _ in range(2):
            assert receiver.arrived.acquire(timeout=10)
        simulator.stop()
        slow.join(10)
    release.set()

    assert simulator_threads() == []
    assert simulator.wait_until_idle(0)
    with pytest.raises(requests.ConnectionError):
        requests.get(simulator.root, timeout=10)


def test_a_callback_awaited_before_the_response_does_not_delay_stopping(receiver: CallbackReceiver) -> None:
    release = threading.Event()
    receiver.plan([Reply(hold=release)])
    simulator = Simulator(SimulatorOptions(callback_url=receiver.url, workers=1))
    statuses: list[int] = []
    with simulator:
        numbers = ["+12005620000", "+12005620001"]  # there is no worker left for the second
        client = threading.Thread(target=lambda: statuses.append(post(simulator, to=numbers).status_code))
        client.start()
        assert receiver.arrived.acquire(timeout=10)
    client.join(10)
    release.set()

    assert not client.is_alive()


def test_serving_for_ever_ends_when_it_is_stopped() -> None:
    simulator = Simulator()
    simulator.start()
    command = threading.Thread(target=simulator.serve_forever)
    command.start()
    assert requests.get(f"{simulator.root}/simulator/switches", timeout=10).ok

    simulator.stop()

    command.join(10)
    assert not command.is_alive()


def test_a_port_that_is_taken_is_an_ordinary_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        simulator = Simulator(SimulatorOptions(port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="in use"):
            simulator.start()


@pytest.mark.parametrize(
    "options",
    [
        {"callback_url": "localhost:8000"},
        {"callback_url": "ftp://localhost/"},
        {"callback_user": "bandwidth"},
        {"pace": (1.0, 0.5)},
        {"day": 0.0},
        {"workers": 0},
        {"token_seconds": 0.0},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        SimulatorOptions(**options)  # type: ignore[arg-type]


def test_passwords_are_not_shown() -> None:
    options = SimulatorOptions(
        callback_user="u", callback_password="hush", username="u", password="hush", client_secret="hush"
    )

    assert "hush" not in repr(options)


def test_its_address_is_unknown_before_it_is_started() -> None:
    for address in ("url", "token_url"):
        with pytest.raises(RuntimeError, match="not been started"):
            getattr(Simulator(), address)
