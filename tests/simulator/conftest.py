from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from receiver.simulator import Simulator, SimulatorOptions
from receiver.simulator.tokens import TOKEN_PATH
from tests.processes import SimulatorProcess
from tests.simulator.callback_receiver import CallbackReceiver

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


@pytest.fixture
def receiver() -> Iterator[CallbackReceiver]:
    with CallbackReceiver() as running:
        yield running


@pytest.fixture
def start(receiver: CallbackReceiver) -> Iterator[Start]:
    """Starts a simulator that posts to ``receiver``; takes SimulatorOptions by name."""
    running: list[Simulator] = []

    def started(**options: Any) -> Simulator:
        quick = {"callback_url": receiver.url, "pace": (0.0, 0.005), "day": 1.0, "seed": 1}
        running.append(Simulator(SimulatorOptions(**(quick | options))))
        running[-1].start()
        return running[-1]

    yield started
    for simulator in running:
        simulator.stop()


@pytest.fixture
def simulator(start: Start) -> Simulator:
    return start()


@pytest.fixture
def send(simulator: Simulator) -> Send:
    """Sends MESSAGE, changed by the fields given; a field that is None is left out."""
    return lambda **fields: post(simulator, **fields)


def ask_token(simulator: Simulator | SimulatorProcess, **options: Any) -> requests.Response:
    """Asks for a token as Bandwidth's own client does, unless told otherwise; takes what requests.post takes."""
    usual = {"auth": ("client", "secret"), "data": {"grant_type": "client_credentials"}}
    return requests.post(simulator.root + TOKEN_PATH, **(usual | options), timeout=10)


def bearer(simulator: Simulator | SimulatorProcess) -> dict[str, str]:
    """The header of a request with a token that was issued just now."""
    return {"Authorization": f"Bearer {ask_token(simulator).json()['access_token']}"}


def post(simulator: Simulator, **fields: Any) -> requests.Response:
    changed = MESSAGE | {name.rstrip("_"): value for name, value in fields.items()}
    body = {name: value for name, value in changed.items() if value is not None}
    return requests.post(
        f"{simulator.url}/users/9900000/messages",
        json=body,
        headers=bearer(simulator),
        timeout=10,
        allow_redirects=False,
    )
