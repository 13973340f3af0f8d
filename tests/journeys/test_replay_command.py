"""`receiver unreadable --replay` beside a running service, and killed half-way."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from receiver.core.events import Unreadable
from receiver.database.database import Database
from receiver.events.replay import ROWS_PER_STEP, count_unreadable
from receiver.maintenance import recompute
from tests.support.builders import ALICE, BOB, CAROL, make_element, store_message
from tests.support.locks import locked, onlooker
from tests.support.processes import Api, Child, environment, run, serving
from tests.support.stored import deliver, events, unreadables

MANY = 3 * ROWS_PER_STEP
ELEMENTS = [
    make_element("failed", number, errorCode=code) for code in range(MANY // 3) for number in (ALICE, BOB, CAROL)
]


def _plant(database: Database) -> None:
    """Stores a message whose callbacks an older parser could not read."""
    store_message(database, ALICE, BOB, CAROL)
    deliver(database, *(Unreadable(payload=json.dumps(each), reason="An older parser.") for each in ELEMENTS))


def _assert_each_counted(database: Database, times: int) -> None:
    assert [row.deliveries for row in events(database)] == [times] * MANY
    assert unreadables(database) == []
    assert [each.differences for each in recompute.recompute(database, check=True)] == [[]]


def test_it_runs_beside_the_service_that_receives_the_same_events(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    _plant(database)
    settings = environment(database_url)

    with serving(tmp_path, settings) as (_, api), ThreadPoolExecutor(4) as pool:
        posting = [pool.submit(_post, api.url, ELEMENTS[start : start + 20]) for start in range(0, MANY, 20)]
        replays = [pool.submit(run, "unreadable", "--replay", environment=settings, folder=tmp_path) for _ in range(2)]
        answers = [each.result() for each in posting]
        codes = {each.result().returncode for each in replays}

    assert (set(answers), codes) == ({200}, {0})
    _assert_each_counted(database, 2)


def _post(url: str, elements: list[object]) -> int:
    with Api(url) as api:
        return api.callback(*elements).status_code


def test_killed_half_way_it_is_finished_by_the_next(postgres_url: str, tmp_path: Path) -> None:
    settings = environment(postgres_url)
    last = "SELECT 1 FROM unreadable_callbacks WHERE sha256 = (SELECT max(sha256) FROM unreadable_callbacks) FOR UPDATE"
    with Database(postgres_url) as database:
        _plant(database)

        with onlooker(postgres_url) as watching, locked(postgres_url, last):
            with Child("unreadable", "--replay", environment=settings, folder=tmp_path) as child:
                watching.wait_for(1)
                child.kill()
            assert count_unreadable(database) == ROWS_PER_STEP

        ended = run("unreadable", "--replay", environment=settings, folder=tmp_path)

        assert (ended.returncode, ended.stderr.splitlines()[0]) == (
            0,
            f"Replayed: {ROWS_PER_STEP}; recorded: {ROWS_PER_STEP}, unlinked: 0, duplicates: 0.",
        )
        _assert_each_counted(database, 1)
