"""The record file: complete, however the simulator ends."""

import json
import time
from pathlib import Path

from receiver.simulator import RequestFate, Simulator, SimulatorOptions, Switches
from tests.support.processes import invoke, simulating
from tests.support.raw_http import connection, request_bytes
from tests.support.simulators import ALICE, BOB, MESSAGE, Start, post


def test_only_accepted_messages_have_a_line(start: Start, tmp_path: Path) -> None:
    before = time.monotonic()
    simulator = start(record=tmp_path / "accepted")
    response = post(simulator).json()
    post(simulator, to="+invalid")
    simulator.switches = Switches(request=RequestFate.SERVER_ERROR)
    post(simulator)

    (line,) = map(json.loads, (tmp_path / "accepted").read_text().splitlines())

    assert before < line.pop("monotonic") < time.monotonic()
    assert line == {
        "id": response["id"],
        "tag": "test message",
        "to": [ALICE, BOB],
        "from": MESSAGE["from"],
        "units": 2,
        "acceptedAt": response["time"],
    }


def test_a_second_simulator_appends_to_the_record(tmp_path: Path) -> None:
    for _ in range(2):
        with Simulator(SimulatorOptions(record=tmp_path / "accepted")) as simulator:
            post(simulator)

    assert len((tmp_path / "accepted").read_text().splitlines()) == 2


def test_a_message_is_recorded_before_a_byte_of_the_response(tmp_path: Path) -> None:
    with simulating(tmp_path) as running:
        running.switch(accident={"at": "accepted", "do": "hold"})
        with connection(running) as client:
            client.sendall(request_bytes(running, tag="unanswered"))
            running.wait_held()
            running.child.kill()
            assert client.recv(1) == b""

    assert [line["tag"] for line in running.recorded()] == ["unanswered"]


def test_a_record_that_cannot_be_written_is_reported_in_a_sentence(tmp_path: Path) -> None:
    result = invoke("simulate", "--port", "0", "--record", str(tmp_path / "nowhere" / "accepted"), environment={})

    assert result.exit_code == 1
    assert "the file of --record: No such file or directory." in result.output
