"""A migration that is killed, and two that start at once."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.database import schema
from receiver.database.schema import SchemaState
from tests.database.test_migrations import VIEWS, fill, rows, state, views
from tests.support.locks import PATIENCE, locked, onlooker
from tests.support.schema import check_models

HALFWAY = """
import sys
from sqlalchemy import text
from receiver.database.schema import migrating

with migrating(sys.argv[1]) as connection:
    connection.execute(text("ALTER TABLE messages ADD COLUMN shoe_size INTEGER"))
    connection.execute(text("DELETE FROM events"))
    print("halfway", flush=True)
    sys.stdin.read()
"""
UPGRADE = "import sys; from receiver.database.schema import upgrade; upgrade(sys.argv[1])"
DOWNGRADE = "import sys; from receiver.database.schema import downgrade; downgrade(sys.argv[1], 'base')"


@contextlib.contextmanager
def process(program: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs the program; killed at the end if it is still running."""
    with subprocess.Popen(
        [sys.executable, "-c", program, url],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_a_migration_that_is_killed_halfway_leaves_nothing_behind(database_url: str) -> None:
    """The migration had dropped the views, altered a table and deleted rows when it was killed."""
    fill(database_url)
    before, seen = rows(database_url), views(database_url)

    with process(HALFWAY, database_url) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "halfway\n"
        running.kill()
        running.wait(PATIENCE)

    assert (rows(database_url), views(database_url)) == (before, seen)
    check_models(database_url)
    schema.downgrade(database_url, "base")
    schema.upgrade(database_url)
    assert (rows(database_url), views(database_url)) == (before, seen)


@pytest.mark.parametrize(
    ("program", "lock", "before"),
    [
        (DOWNGRADE, "SELECT * FROM support_messages", SchemaState.CURRENT),
        (UPGRADE, "LOCK TABLE events IN ROW EXCLUSIVE MODE", SchemaState.EMPTY),
        (UPGRADE, "LOCK TABLE error_codes IN SHARE MODE", SchemaState.EMPTY),
    ],
    ids=["down, while it drops the views", "up, while it makes the tables", "up, while it writes the error codes"],
)
def test_a_migration_that_is_killed_while_it_waits_for_a_lock_can_be_run_again(
    postgres_url: str, program: str, lock: str, before: SchemaState
) -> None:
    fill(postgres_url)
    stored = rows(postgres_url)
    if before is SchemaState.EMPTY:
        schema.downgrade(postgres_url, "base")

    with onlooker(postgres_url) as watching:
        with locked(postgres_url, lock), process(program, postgres_url) as running:
            watching.wait_for(1)
            running.kill()
            running.wait(PATIENCE)
        # Its session notices the death only once it may go on.
        watching.wait_for(0)

    assert rows(postgres_url) == stored
    schema.upgrade(postgres_url)
    assert state(postgres_url) is SchemaState.CURRENT
    assert rows(postgres_url) == stored
    assert set(views(postgres_url)) == VIEWS


def test_two_upgrades_at_once_both_succeed(empty_database_url: str) -> None:
    """Like two hosts that are deployed at once."""
    with process(UPGRADE, empty_database_url) as one, process(UPGRADE, empty_database_url) as other:
        said = [each.communicate(timeout=PATIENCE)[1] for each in (one, other)]

    assert said == ["", ""]
    assert (one.returncode, other.returncode) == (0, 0)
    assert state(empty_database_url) is SchemaState.CURRENT
    assert set(views(empty_database_url)) == VIEWS


def test_a_migration_of_sqlite_is_the_only_writer_from_its_start(tmp_path: Path) -> None:
    """A transaction that began as a reader could not become a writer after another had written."""
    path = tmp_path / "receiver.sqlite3"
    with (
        schema.migrating(f"sqlite:///{path}"),
        contextlib.closing(sqlite3.connect(path, timeout=0)) as another,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        another.execute("BEGIN IMMEDIATE")


def test_a_second_upgrade_waits_for_the_first(postgres_url: str) -> None:
    schema.downgrade(postgres_url, "base")
    with onlooker(postgres_url) as watching, process(HALFWAY, postgres_url) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "halfway\n"
        with process(UPGRADE, postgres_url) as second:
            watching.wait_for(1)
            first.kill()
            assert second.wait(PATIENCE) == 0

    assert state(postgres_url) is SchemaState.CURRENT
