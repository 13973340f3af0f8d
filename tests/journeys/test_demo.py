"""`receiver demo` and `receiver simulate` leave nothing behind when they end."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import psutil
import pytest

from receiver.cli import main
from tests.support import pages
from tests.support.processes import Child, invoke, run, simulating, wait_for

SECONDS = 20.0
"""Seconds for the demo, which waits for its children, and for the service, which waits for its requests."""


@dataclass
class Surroundings:
    """An environment that marks all processes of a test, with its own folder for temporary files."""

    marker: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        own = {"API_KEYS_FILE": "/nonexistent"}  # a setting of the operator, which the demo must not read
        return dict(os.environ) | own | {"DEMO_MARKER": self.marker, "TMPDIR": str(self.folder)}

    def processes(self) -> list[psutil.Process]:
        return [each for each in psutil.process_iter() if _marker(each) == self.marker]


def _marker(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get("DEMO_MARKER")
    return None


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[Surroundings]:
    """Checks afterwards that nothing is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    found = Surroundings(uuid.uuid4().hex, folder)
    yield found
    left = found.processes()
    for process in left:
        process.kill()
    assert left == []
    assert list(folder.iterdir()) == []


def test_the_demo_shows_an_extraneous_event_and_a_threefold_one(tmp_path: Path, surroundings: Surroundings) -> None:
    ended = run("demo", environment=surroundings.environment, folder=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert [line for line in ended.stdout.splitlines() if len(line) > 250 or line != line.rstrip()] == []
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert ["message-delivered", "×3", "+12005610002", "applied"] in [line[-4:] for line in lines]  # noqa: RUF001
    assert ["message-delivered", "+12005564404", "extraneous"] in [line[-3:] for line in lines]
    assert ["+12005564404", "failed", "4404", "rejected-forbidden-to-number"] in lines
    [shown] = pages.README.section("Two commands").examples("text")
    for row in filter(None, shown.splitlines()):
        words = re.sub(r"^\d\d-\d\d [\d:]+ +[\d.]+ s ", "", row.strip()).split()  # without the times
        assert [line for line in lines if " ".join(words) in " ".join(line)] != [], row


def _printed(words: str) -> Callable[[Child], bool]:
    return lambda child: words in child.output


MOMENTS: dict[str, Callable[[Child], bool]] = {
    "before it starts anything": _printed("Start the simulator"),
    "while its processes start": lambda child: len(psutil.Process(child.process.pid).children()) == 2,
    "among the events": _printed("Wait for the events"),
}


@pytest.mark.parametrize(
    ("how", "moment"), [*((signal.SIGTERM, moment) for moment in MOMENTS), (signal.SIGHUP, "among the events")]
)
def test_a_sigterm_or_sighup_ends_the_whole_demo(
    tmp_path: Path, surroundings: Surroundings, moment: str, how: signal.Signals
) -> None:
    with Child("demo", environment=surroundings.environment, folder=tmp_path) as child:
        child.wait_until(lambda: MOMENTS[moment](child), moment)

        child.end(how, grace=SECONDS)

        assert "Wait for the events" not in child.output or moment == "among the events"
        assert surroundings.processes() == []
        assert "Traceback" not in child.output


def test_ctrl_c_which_reaches_every_process_ends_the_demo_too(tmp_path: Path, surroundings: Surroundings) -> None:
    with Child("demo", environment=surroundings.environment, folder=tmp_path) as child:
        child.wait_until(lambda: "Wait for the events" in child.output, "the events")

        os.killpg(child.process.pid, signal.SIGINT)

        child.process.wait(SECONDS)
        assert surroundings.processes() == []
        assert "Traceback" not in child.output


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_simulator_is_no_incident(tmp_path: Path, how: signal.Signals) -> None:
    with simulating(tmp_path) as simulator:
        before = simulator.child.output

        assert simulator.child.end(how) == 0

        assert simulator.child.output == before


def test_the_simulator_prints_its_numbers_and_a_free_port(tmp_path: Path) -> None:
    arguments = ["simulate", "--port", "0", "--seed", "1", "--unordered"]
    with Child(*arguments, environment=dict(os.environ), folder=tmp_path) as child:
        wait_for(lambda: "BANDWIDTH_API_URL=http://127.0.0.1:" in child.output, "the simulator's address")

        assert "+1200556CCCC" in child.output
        assert "http://127.0.0.1:0" not in child.output


@pytest.mark.parametrize("arguments", ["--day 0", "--callback-url ftp://127.0.0.1/", "--callback-user alone"])
def test_the_simulator_refuses_wrong_options_in_a_sentence(tmp_path: Path, arguments: str) -> None:
    ended = run("simulate", "--port", "0", *arguments.split(), environment=dict(os.environ), folder=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    (sentence,) = ended.stderr.splitlines()
    assert sentence.endswith(".")


@pytest.mark.parametrize("arguments", ["--request no-such-fate", "--callbacks no-such-shape", "--port many"])
def test_the_simulator_knows_its_switches(arguments: str) -> None:
    result = invoke("simulate", *arguments.split(), environment={})

    assert result.exit_code == 2
    assert arguments.split()[1] in result.stderr


def test_the_command_is_installed_under_its_name() -> None:
    (command,) = entry_points(group="console_scripts", name="receiver")

    assert command.load() is main
