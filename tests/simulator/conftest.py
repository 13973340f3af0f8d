from collections.abc import Iterator
from typing import Any

import pytest

from receiver.simulator import Simulator, SimulatorOptions
from tests.support.callback_receiver import CallbackReceiver
from tests.support.simulators import Send, Start, post


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
