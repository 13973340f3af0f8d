"""Revision 0003 over a filled database of revision 0002, there and back, with the previous version beside it."""

from typing import Any

import pytest
from sqlalchemy import inspect

from receiver.database import schema
from receiver.database.database import Database
from receiver.database.schema import SchemaState
from tests.database.test_credentials_revision import stored
from tests.database.test_migrations import VIEWS, fill, state, views
from tests.support.schema import check_models
from tests.support.stored import change, columns, view

ADDED = {"messages": ("asked_by",), "events": ("sender", "text", "media", "members", "keyword")}
INDEXES = {"events_unread_index", "events_sender_first_received_at_index", "events_keyword_index"}


def indexes(url: str) -> set[str]:
    with Database(url) as database:
        return {str(each["name"]) for each in inspect(database.engine).get_indexes("events")}


def without(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The same rows in the columns of revision 0002."""
    return {
        name: sorted(
            ({column: row[column] for column in row if column not in ADDED.get(name, ())} for row in rows), key=repr
        )
        for name, rows in found.items()
    }


@pytest.fixture
def second(database_url: str) -> str:
    """A filled database that has only ever had revision 0002."""
    fill(database_url)
    schema.downgrade(database_url, "0002")
    with Database(database_url) as database:
        for table, names in ADDED.items():
            for name in names:
                change(database, f"ALTER TABLE {table} DROP COLUMN {name}")
    assert state(database_url) is SchemaState.OLDER
    return database_url


def test_the_way_up_adds_columns_that_are_unread_and_looks_into_no_row(second: str) -> None:
    before = stored(second)
    assert all(before.values())

    schema.upgrade(second)

    check_models(second)
    after = stored(second)
    assert without(after) == before
    assert {row[name] for table, names in ADDED.items() for row in after[table] for name in names} == {None}
    with Database(second) as database:
        [reply] = view(database, "support_inbound")
        assert columns(reply, "sender", "text", "group_members", "media", "opt_out", "opt_in") == (None,) * 6


def test_the_way_down_drops_views_and_indexes_only_and_the_way_up_takes_what_it_finds(database_url: str) -> None:
    fill(database_url)
    before, seen = stored(database_url), views(database_url)
    assert all(before.values())
    assert all(seen.values())
    assert indexes(database_url) >= INDEXES

    for _ in range(2):
        schema.downgrade(database_url, "0002")
        assert state(database_url) is SchemaState.OLDER
        assert stored(database_url) == before
        assert set(views(database_url)) == VIEWS - {"support_opt_outs", "support_conversations", "support_sending"}
        assert not indexes(database_url) & INDEXES

        schema.upgrade(database_url)
        assert (stored(database_url), views(database_url)) == (before, seen)
        assert indexes(database_url) >= INDEXES
        check_models(database_url)
