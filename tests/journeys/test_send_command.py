"""`receiver send` against the simulator: what it prints, and how it exits."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.simulator import RequestFate, Simulator, SimulatorOptions, Switches
from tests.support.builders import ALICE, BOB, CLIENT_ID, CLIENT_SECRET
from tests.support.loop import select
from tests.support.processes import Child, environment, invoke, simulating


@pytest.fixture(scope="module")
def bandwidth() -> Iterator[Simulator]:
    with Simulator(SimulatorOptions(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)) as simulator:
        yield simulator


@pytest.mark.parametrize(
    ("fate", "code", "status"),
    [
        (RequestFate.ACCEPT, 0, "accepted"),
        (RequestFate.NONSENSE, 0, "accepted"),
        (RequestFate.BAD_REQUEST, 1, "refused"),
        (RequestFate.QUEUE_FULL, 1, "refused"),
        (RequestFate.DROP_AFTER, 3, "unknown"),
        (RequestFate.BAD_GATEWAY, 3, "unknown"),
    ],
)
def test_send_exits_with_what_became_of_the_message(
    database_url: str, bandwidth: Simulator, fate: RequestFate, code: int, status: str
) -> None:
    bandwidth.switches = Switches(request=fate)
    settings = environment(database_url, bandwidth_api_url=bandwidth.url)
    arguments = ["--to", ALICE, "--to", BOB, "--text", "x", "--media", "https://example.com/a.jpg", "--reference", "r"]

    result = invoke("send", *arguments, environment=settings)

    assert result.exit_code == code
    for shown in (ALICE, BOB, status):
        assert shown in result.output
    if code == 0:
        assert bandwidth.messages[-1].body["to"] == [ALICE, BOB]
        assert str(bandwidth.messages[-1].body["tag"]) in result.output


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM])
def test_a_send_that_is_under_way_is_finished_when_its_terminal_is_closed(
    database_url: str, tmp_path: Path, how: signal.Signals
) -> None:
    with simulating(tmp_path) as simulator:
        simulator.switch(accident={"at": "accepted", "do": "hold"})
        settings = environment(database_url, bandwidth_api_url=simulator.api_url)
        with Child("send", "--to", ALICE, "--text", "x", environment=settings, folder=tmp_path) as child:
            simulator.wait_held()
            child.process.send_signal(how)
            simulator.switch()
            child.process.wait(30)

    assert select(database_url, "SELECT send_status FROM support_messages") == [("accepted",)]


def test_send_exits_1_when_bandwidth_cannot_be_reached(database_url: str) -> None:
    settings = environment(database_url, bandwidth_api_url="http://127.0.0.1:9/api/v2")

    result = invoke("send", "--to", ALICE, "--text", "x", environment=settings)

    assert result.exit_code == 1
    assert "unreachable" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        "--to 12 --text x",
        f"--to {ALICE}",
        f"--to {ALICE} --to {ALICE} --text x",
        "--text x",
        f"--to {ALICE} --text x --priority urgent",
        f"--to {ALICE} --text x --expiration yesterday",
        f"--to {ALICE} --text x --media nonsense",
        f"--to {ALICE} --to {BOB} --from {BOB} --text x",
        f'--to {ALICE} --text x --media https://example.com/"a".jpg',
        f"--to {ALICE} --text x --media https://example.com/caf\u00e9.jpg",
        f"--to {ALICE} --text x --nonsense",
    ],
)
def test_send_exits_2_for_what_no_message_can_be(sqlite_url: str, bandwidth: Simulator, arguments: str) -> None:
    before = len(bandwidth.messages)
    settings = environment(sqlite_url, bandwidth_api_url=bandwidth.url)

    assert invoke("send", *arguments.split(), environment=settings).exit_code == 2
    assert len(bandwidth.messages) == before


def test_send_exits_2_without_the_settings_that_it_needs(sqlite_url: str) -> None:
    result = invoke("send", "--to", ALICE, "--text", "x", environment={"DATABASE_URL": sqlite_url})

    assert result.exit_code == 2
    named = {line.partition(":")[0] for line in result.output.splitlines()[1:]}
    assert named == {"BANDWIDTH_ACCOUNT_ID", "BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"}
