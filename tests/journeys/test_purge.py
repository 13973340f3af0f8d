"""`receiver purge` as a process that is killed, beside a service that receives."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.core import times
from receiver.database.database import Database
from tests.benchmarks.history import History
from tests.support.builders import ALICE, make_element
from tests.support.loop import select
from tests.support.old_rows import DAY, store_history, store_old_message
from tests.support.processes import Child, environment, invoke, run, serving

MESSAGES = 800
OLD = "SELECT count(*) FROM messages WHERE pk <= 800"
LEFT = {"removed": OLD, "redacted": f"{OLD} AND redacted_at IS NULL"}


@pytest.fixture
def young(database_url: str) -> Iterator[str]:
    """Stores months of traffic until 15 days ago, and a message of today; returns its tag."""
    with Database(database_url) as database:
        store_history(database, History(MESSAGES, end=times.now() - 15 * DAY))
        yield store_old_message(database, ALICE, days=0, message_id="young", reference="young")[0]


def left(database_url: str, mode: str) -> int:
    [(count,)] = select(database_url, LEFT[mode])
    return int(count)


@pytest.mark.parametrize("mode", LEFT)
def test_a_purge_that_is_killed_is_finished_by_the_next_while_callbacks_are_answered(
    tmp_path: Path, database_url: str, young: str, mode: str
) -> None:
    settings = environment(database_url)
    command = ["purge", "--older-than", "14d", "--yes", *(["--redact"] if mode == "redacted" else [])]
    with serving(tmp_path, settings) as (_, api):
        with Child(*command, environment=settings, folder=tmp_path) as child:
            child.wait_until(lambda: left(database_url, mode) < MESSAGES, "some to be purged")
            answer = api.callback(make_element("failed", ALICE, message_id="young", tag=young, errorCode=4720))
            child.end(signal.SIGKILL)
        assert (answer.status_code, answer.json()["recorded"]) == (200, 1)
        assert 0 < left(database_url, mode) < MESSAGES
        finished = run(*command, environment=settings, folder=tmp_path)

    assert finished.returncode == 0, finished
    assert left(database_url, mode) == 0
    assert "Nothing older than" in invoke(*command, environment=settings).output
    assert invoke("recompute", "--check", environment=settings).exit_code == 0
    outcome = select(database_url, "SELECT status FROM support_recipients WHERE reference = 'young'")
    assert outcome == [("failed",)]


def test_a_purge_that_is_interrupted_says_what_it_did(tmp_path: Path, database_url: str, young: str) -> None:
    settings = environment(database_url)
    with Child("purge", "--older-than", "14d", "--yes", environment=settings, folder=tmp_path) as child:
        child.wait_until(lambda: left(database_url, "removed") < MESSAGES, "some to be removed")

        assert child.end(signal.SIGINT) == 130
        assert f"Removed: {MESSAGES - left(database_url, 'removed')} messages, " in child.output
