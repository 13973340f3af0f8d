"""Real workers beside the service and the simulator send everything that is queued, each message once."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from receiver.core import times
from tests.support.builders import ALICE, BOB, CLIENT_SECRET
from tests.support.loop import looping, select
from tests.support.processes import Child, environment, simulating, wait_for, working


def workers_of(database_url: str) -> int:
    return 1 if database_url.startswith("sqlite") else 2


def test_two_hundred_messages_are_sent_each_once(database_url: str, tmp_path: Path) -> None:
    """Two workers on PostgreSQL and one on SQLite send, while the service receives the events."""
    with looping(tmp_path, database_url) as running:
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
        assert logs.count(f'"event":"send","tag":"{tag}"') == 1
    assert not any(secret in logs for secret in (ALICE, BOB, "Lunch", CLIENT_SECRET))


def test_the_simulators_own_limit_loses_nothing(database_url: str, tmp_path: Path) -> None:
    """A queue of one second: most requests of the beginning are answered 429, and all are accepted in the end."""
    with looping(tmp_path, database_url, "--rate", "4", "--queue-seconds", "1") as running:
        tags = running.queue(12)
        with running.workers(workers_of(database_url), "--attempts", "1"):
            running.wait_for_states(accepted=12)

        assert running.sent() == Counter(tags)
        assert running.simulator.answers().get("429", 0) > 0


def test_while_bandwidth_cannot_be_reached_the_queue_waits_and_then_goes_out(database_url: str, tmp_path: Path) -> None:
    with looping(tmp_path, database_url) as running:
        running.simulator.child.kill()
        tags = running.queue(20)
        with running.workers(1):
            failed = "SELECT 1 FROM messages WHERE failures > 0"
            wait_for(lambda: select(database_url, failed), "a failure")
            assert set(running.states()) <= {"queued", "submitting"}
            with simulating(tmp_path, port=running.simulator.port):
                running.wait_for_states(accepted=20)

        assert running.sent() == Counter(tags)


@pytest.mark.parametrize("restarts", [False, True], ids=["mended at Bandwidth", "mended in the settings"])
def test_a_secret_that_bandwidth_refuses_loses_nothing_and_the_queue_goes_on(
    database_url: str, tmp_path: Path, restarts: bool
) -> None:
    with looping(tmp_path, database_url) as running:
        running.simulator.switch(tokens="refuse")
        tags = running.queue(12)
        with running.workers(workers_of(database_url), "--attempts", "1") as workers:
            wait_for(lambda: any("credentials refused" in each.output for each in workers), "the pause")
            since = wait_for(lambda: running.api.get("/queue")["pace"]["credentialsRefusedSince"], "it to be told")
            assert times.parse(since) is not None
            assert set(running.states()) <= {"queued", "submitting"}
            if restarts:
                # Before it is mended: a worker that is still there would learn that its own secret is good again.
                for each in workers:
                    assert each.end() == 0
            running.simulator.switch()
            if restarts:
                settings = running.environment | {"BANDWIDTH_CLIENT_SECRET": "a-new-secret"}
                with working(tmp_path, settings):
                    running.wait_for_states(accepted=12)
                    # Of those that the service was started with, nobody knows better.
                    assert running.api.get("/queue")["pace"]["credentialsRefusedSince"] == since
            else:
                running.wait_for_states(accepted=12)
                assert running.api.get("/queue")["pace"]["credentialsRefusedSince"] is None

        assert running.sent() == Counter(tags)
        assert running.simulator.answers() == {"202": 12}


class TestStop:
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_it_waits_for_what_is_under_way_and_leaves_the_rest_to_others(
        self, database_url: str, tmp_path: Path, how: signal.Signals
    ) -> None:
        with looping(tmp_path, database_url) as running:
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
        for how in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with Child("worker", environment=settings, folder=tmp_path) as worker:
                worker.wait_until(lambda worker=worker: "worker starting" in worker.output, "its settings")
                assert worker.end(how, grace=5) == 0


def test_what_is_wrong_with_its_settings_is_said_before_it_starts(tmp_path: Path, sqlite_url: str) -> None:
    with Child("worker", environment=environment(sqlite_url, bandwidth_account_id=None), folder=tmp_path) as worker:
        assert worker.process.wait(30) == 2
        assert "BANDWIDTH_ACCOUNT_ID" in worker.output
