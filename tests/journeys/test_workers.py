"""Real workers beside the service and the simulator: everything that is queued is sent, each message once."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.builders import ALICE, BOB
from tests.journeys.conftest import select
from tests.postgres import free_port
from tests.processes import Api, Child, SimulatorProcess, environment, serving, simulating, wait_for

SILENT = "+12005660001"


class Plant:
    """The service, the simulator, and the workers that a test starts."""

    def __init__(self, folder: Path, settings: dict[str, str], simulator: SimulatorProcess, api: Api) -> None:
        self.folder, self.settings, self.simulator, self.api = folder, settings, simulator, api

    @contextmanager
    def workers(self, count: int, *options: str, threads: int = 4) -> Iterator[list[Child]]:
        arguments = ["worker", "--threads", str(threads), *options]
        with ExitStack() as stack:
            children = [
                stack.enter_context(Child(*arguments, environment=self.settings, folder=self.folder))
                for _ in range(count)
            ]
            yield children
            assert not any("Traceback" in child.output for child in children)

    def queue(self, count: int, *to: str) -> list[str]:
        """Leaves that many messages to the workers; their tags."""
        return [self.api.queue(*to or (SILENT,)) for _ in range(count)]

    def states(self) -> Counter[str]:
        rows = select(self.settings["DATABASE_URL"], "SELECT send_status, count(*) FROM messages GROUP BY send_status")
        return Counter(dict(rows))

    def wait_for_states(self, **expected: int) -> None:
        wait_for(lambda: self.states() == Counter(expected), f"{expected}; it is {self.states()}")

    def sent(self) -> Counter[str]:
        """How often the simulator accepted each message."""
        return Counter(each["tag"] for each in self.simulator.recorded())


@contextmanager
def plant(folder: Path, database_url: str, *simulator_options: str, **changes: Any) -> Iterator[Plant]:
    port = free_port()
    callback_url = f"http://127.0.0.1:{port}/callbacks/bandwidth"
    with simulating(folder, *simulator_options, callback_url=callback_url) as simulator:
        settings = environment(database_url, bandwidth_api_url=simulator.api_url, bandwidth_read_timeout=3.0, **changes)
        with serving(folder, settings, port=port) as (_, api):
            yield Plant(folder, settings, simulator, api)


def workers_of(database_url: str) -> int:
    return 1 if database_url.startswith("sqlite") else 2


def test_two_hundred_messages_are_sent_each_once(database_url: str, tmp_path: Path) -> None:
    """By two workers on PostgreSQL and one on SQLite, while the service receives the events about them."""
    with plant(tmp_path, database_url) as running:
        tags = running.queue(100, ALICE, BOB)
        with running.workers(workers_of(database_url)) as workers:
            tags += running.queue(100, ALICE)
            running.wait_for_states(accepted=200)
            assert running.sent() == Counter(tags)
            wait_for(lambda: running.api.message(tags[0])["complete"], "the events")
            assert {worker.end() for worker in workers} == {0}

        queue = running.api.get("/queue")
        assert (queue["queued"], queue["unknown"]) == (0, 0)
        logs = "".join(worker.output for worker in workers)
    for tag in tags:
        assert logs.count(f"message {tag} ") == 1
    assert not any(secret in logs for secret in (ALICE, BOB, "Lunch", "secret"))


def test_the_simulators_own_limit_loses_nothing(database_url: str, tmp_path: Path) -> None:
    """A queue of one second: most requests of the beginning are answered 429, and all are accepted in the end."""
    with plant(tmp_path, database_url, "--rate", "4", "--queue-seconds", "1") as running:
        tags = running.queue(12)
        with running.workers(workers_of(database_url), "--attempts", "1"):
            running.wait_for_states(accepted=12)

        assert running.sent() == Counter(tags)
        assert running.simulator.answers().get("429", 0) > 0


def test_while_bandwidth_cannot_be_reached_the_queue_waits_and_then_goes_out(database_url: str, tmp_path: Path) -> None:
    with plant(tmp_path, database_url) as running:
        running.simulator.child.kill()
        tags = running.queue(20)
        with running.workers(1):
            failed = "SELECT 1 FROM messages WHERE failures > 0"
            wait_for(lambda: select(database_url, failed), "a failure")
            assert set(running.states()) <= {"queued", "submitting"}
            with simulating(tmp_path, port=running.simulator.port):
                running.wait_for_states(accepted=20)

        assert running.sent() == Counter(tags)


class TestStop:
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_it_waits_for_what_is_under_way_and_leaves_the_rest_to_others(
        self, database_url: str, tmp_path: Path, how: signal.Signals
    ) -> None:
        with plant(tmp_path, database_url) as running:
            tags = running.queue(12)
            running.simulator.switch(accident={"at": "accepted", "do": "hold"})
            with running.workers(1, threads=2) as [worker]:
                running.simulator.wait_held(2)
                for _ in range(2):
                    worker.process.send_signal(how)
                running.simulator.switch()
                assert worker.process.wait(30) == 0
            assert set(running.states()) == {"accepted", "queued"}

            with running.workers(1):
                running.wait_for_states(accepted=12)
            assert running.sent() == Counter(tags)

    def test_idle_it_ends_at_once(self, database_url: str, tmp_path: Path) -> None:
        settings = environment(database_url)
        for how in (signal.SIGTERM, signal.SIGINT):
            with Child("worker", environment=settings, folder=tmp_path) as worker:
                worker.wait_until(lambda worker=worker: "DATABASE_URL=" in worker.output, "its settings")
                assert worker.end(how, grace=5) == 0


def test_what_is_wrong_with_its_settings_is_said_before_it_starts(tmp_path: Path, sqlite_url: str) -> None:
    with Child("worker", environment=environment(sqlite_url, bandwidth_account_id=None), folder=tmp_path) as worker:
        assert worker.process.wait(30) == 2
        assert "BANDWIDTH_ACCOUNT_ID" in worker.output
