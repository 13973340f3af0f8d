"""Requests to a simulator, and the types of the fixtures that start one."""

from collections.abc import Callable
from typing import Any

import requests

from receiver.simulator import Simulator
from receiver.simulator.tokens import TOKEN_PATH
from tests.support.processes import SimulatorProcess

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
