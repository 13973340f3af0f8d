"""Requests to a simulator, and the types of the fixtures that start one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from receiver.simulator import Point, Simulator
from receiver.simulator.server import TOKEN_PATH
from tests.support.processes import SimulatorProcess, wait_for

ALICE, BOB = "+12345678902", "+12345678903"
MESSAGE = {
    "from": "+12345678901",
    "to": [ALICE, BOB],
    "text": "Hey, check this out!",
    "applicationId": "93de2206-9669-4e07-948d-329f4b722ee2",
    "tag": "test message",
}

Start = Callable[..., Simulator]
Send = Callable[..., requests.Response]


def messages_url(simulator: Simulator) -> str:
    """Where the messages of the account of MESSAGE are created and listed."""
    return f"{simulator.url}/users/9900000/messages"


def request_token(simulator: Simulator | SimulatorProcess, **options: Any) -> requests.Response:
    """Requests a token as Bandwidth's own client does; ``options`` are those of requests.post."""
    defaults = {"auth": ("client", "secret"), "data": {"grant_type": "client_credentials"}}
    return requests.post(simulator.root + TOKEN_PATH, **(defaults | options), timeout=10)


def bearer(simulator: Simulator | SimulatorProcess) -> dict[str, str]:
    """The Authorization header with a new token."""
    return {"Authorization": f"Bearer {request_token(simulator).json()['access_token']}"}


def post(simulator: Simulator, **fields: Any) -> requests.Response:
    """Sends MESSAGE, changed by the fields given (``from_`` for ``from``); a field that is None is left out."""
    changed = MESSAGE | {name.rstrip("_"): value for name, value in fields.items()}
    body = {name: value for name, value in changed.items() if value is not None}
    return requests.post(
        messages_url(simulator), json=body, headers=bearer(simulator), timeout=10, allow_redirects=False
    )


def receive(simulator: Simulator, **fields: Any) -> requests.Response:
    """Makes the account receive a message, with the fields of POST /simulator/inbound (``from_`` for ``from``)."""
    body = {name.rstrip("_"): value for name, value in fields.items()}
    return requests.post(f"{simulator.root}/simulator/inbound", json=body, timeout=10)


@contextmanager
def under_way(request: Callable[[], requests.Response], count: int = 1) -> Iterator[list[requests.Response]]:
    """Makes ``count`` requests on threads of their own; yields their responses, complete at the end of the block."""
    responses: list[requests.Response] = []
    clients = [threading.Thread(target=lambda: responses.append(request())) for _ in range(count)]
    for client in clients:
        client.start()
    yield responses
    for client in clients:
        client.join(10)
    assert not any(client.is_alive() for client in clients)


def wait_held(simulator: Simulator, *points: Point) -> None:
    """Waits until exactly these requests are held by an accident."""
    wait_for(lambda: simulator.held == points, f"requests to be held at {points}", seconds=10)


def simulator_threads() -> list[str]:
    """The names of all threads of any simulator in this process."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("simulator")]
