"""Revision 0002 over a filled database of revision 0001, there and back, and killed on its way."""

from typing import Any

import pytest
from sqlalchemy import MetaData, Table, insert, inspect, select

from receiver.database import schema
from receiver.database.database import Database
from receiver.database.schema import SchemaState
from tests.database.test_migration_accidents import UPGRADE, process
from tests.database.test_migrations import VIEWS, fill, state, views
from tests.support.locks import PATIENCE, locked, onlooker
from tests.support.schema import check_models
from tests.support.stored import change

ADDED = {"messages": {"denied_at": None}, "idempotency_keys": {"repeats": 0}}
"""The new columns, and their value in rows that existed before."""
LATER = {"messages": ("asked_by",), "events": ("sender", "text", "media", "members", "keyword")}
"""The columns that revision 0003 adds to the same tables."""
SHARED = VIEWS - {"support_inbound", "support_opt_outs", "support_conversations", "support_sending"}
"""The views that revision 0003 does not change."""

Stored = dict[str, list[dict[str, Any]]]

HALFWAY = """
import sys
from sqlalchemy import Engine, event
from receiver.database.schema import upgrade

def stop(connection, cursor, statement, *_):
    if "CREATE TABLE IF NOT EXISTS credential_pauses" in statement:
        print("halfway", flush=True)
        sys.stdin.read()

event.listen(Engine, "before_cursor_execute", stop)
upgrade(sys.argv[1])
"""


def stored(url: str) -> Stored:
    """Every row of every table, with the columns that the database itself reports."""
    with Database(url) as database, database.read() as session:
        tables = reflected(database)
        found = {name: session.execute(select(table)).mappings().all() for name, table in tables.items()}
        return {name: sorted(map(dict, rows), key=repr) for name, rows in found.items()}


def reflected(database: Database) -> dict[str, Table]:
    metadata = MetaData()
    metadata.reflect(database.engine)
    return {name: table for name, table in metadata.tables.items() if name != "alembic_version"}


def of_first_revision(found: Stored) -> Stored:
    """The rows without the columns of revision 0002."""
    return {
        name: sorted(
            ({column: row[column] for column in row if column not in of_others(name)} for row in rows), key=repr
        )
        for name, rows in found.items()
        if name != "credential_pauses"
    }


def of_others(table: str) -> set[str]:
    return {*ADDED.get(table, {}), *LATER.get(table, ())}


def seen_in(url: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of every shared view, in the columns of revision 0001."""
    return {
        name: [{column: row[column] for column in row if column not in {"key", *of_others("messages")}} for row in rows]
        for name, rows in views(url).items()
        if name in SHARED
    }


@pytest.fixture
def first(database_url: str) -> str:
    """A filled database that has only ever had revision 0001."""
    fill(database_url)
    schema.downgrade(database_url, "0001")
    with Database(database_url) as database:
        for table in {*ADDED, *LATER}:
            for column in of_others(table):
                change(database, f"ALTER TABLE {table} DROP COLUMN {column}")
        change(database, "DROP TABLE credential_pauses")
    assert state(database_url) is SchemaState.OLDER
    return database_url


def test_every_row_is_kept_on_the_way_up_and_has_what_the_old_version_would_not_write(first: str) -> None:
    before, seen = stored(first), seen_in(first)
    assert all(before.values())

    schema.upgrade(first)

    check_models(first)
    after = stored(first)
    assert (of_first_revision(after), seen_in(first)) == (before, seen)
    assert after["credential_pauses"] == []
    for table, columns in ADDED.items():
        for column, value in columns.items():
            assert {row[column] for row in after[table]} == {value}


def test_the_way_down_keeps_what_was_added_and_the_way_up_finds_it(database_url: str) -> None:
    fill(database_url)
    before, seen = stored(database_url), seen_in(database_url)
    assert all(before.values())

    for _ in range(2):
        schema.downgrade(database_url, "0001")
        assert state(database_url) is SchemaState.OLDER
        assert (stored(database_url), seen_in(database_url)) == (before, seen)

        schema.upgrade(database_url)
        assert (stored(database_url), seen_in(database_url)) == (before, seen)
        check_models(database_url)


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_the_version_that_knows_none_of_it_goes_on_writing(database_url: str, revision: str) -> None:
    """The old version runs beside the new one during an upgrade, and alone after a downgrade."""
    fill(database_url)
    if revision == "0001":
        schema.downgrade(database_url, revision)
    written = of_first_revision(stored(database_url))
    parents_first = ("messages", "idempotency_keys")

    with Database(database_url) as database:
        tables = reflected(database)
        for name in ("resolutions", "recipients", "message_ids", "events", *reversed(parents_first)):
            change(database, f"DELETE FROM {name}")
        for name in parents_first:
            rows = written[name]
            database.write(lambda session, name=name, rows=rows: session.execute(insert(tables[name]), rows))

    found = stored(database_url)
    assert [of_first_revision(found)[name] for name in parents_first] == [written[name] for name in parents_first]
    assert {row["repeats"] for row in found["idempotency_keys"]} == {0}


def test_it_can_be_run_again_when_it_was_killed_between_two_of_its_changes(first: str) -> None:
    before, seen = stored(first), seen_in(first)
    with process(HALFWAY, first) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "halfway\n"
        running.kill()
        running.wait(PATIENCE)
    assert (stored(first), seen_in(first)) == (before, seen)

    schema.upgrade(first)

    check_models(first)
    assert of_first_revision(stored(first)) == before


@pytest.mark.parametrize("table", ADDED)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_it_can_be_run_again_when_it_was_killed_while_it_waited_for_a_lock(first: str, table: str) -> None:
    before = stored(first)
    with onlooker(first) as watching:
        with locked(first, f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE"), process(UPGRADE, first) as running:
            watching.wait_for(1)
            running.kill()
            running.wait(PATIENCE)
        watching.wait_for(0)
    assert stored(first) == before

    schema.upgrade(first)

    assert of_first_revision(stored(first)) == before
    assert set(views(first)) == VIEWS
    with Database(first) as database:
        assert set(ADDED[table]) <= {each["name"] for each in inspect(database.engine).get_columns(table)}
