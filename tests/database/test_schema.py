"""The schema that support staff find: comments everywhere, named constraints, the views and their columns."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import astuple, fields
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Inspector, inspect, text

from receiver.bandwidth.error_codes import ERROR_CODES, ErrorCode
from receiver.database import schema
from receiver.database.database import Database
from receiver.database.models import METADATA
from tests.support.stored import change, columns, view

ROOT = Path(__file__).parents[2]

NAMES = r"(?P<table>\w+?)_(?:(?P<columns>\w+)_)?(?P<kind>primary_key|foreign_key|unique|index|check)"

SUPPORT_COLUMNS = {
    "support_messages": "tag reference message_id message_ids sent_twice application_id sender text media priority"
    " expiration segment_count send_status refused_because reason error_status error_type error_description"
    " error_fields created_at"
    " submitted_at updated_at total pending sending sent unconfirmed delivered failed not_sent overdue complete"
    " redacted_at asked_by key",
    "support_recipients": "tag reference message_id recipient status error_code error_name description confirmed_by"
    " invalid_recipient overdue occurred_at updated_at created_at reason advice remove_number billable redacted_at key",
    "support_events": "tag type recipient error_code description occurred_at first_received_at last_received_at"
    " deliveries disposition linked_by source payload key",
    "support_unreadable": "payload deliveries key",
    "support_failures": "day error_code error_name category billable reason advice remove_number recipients",
    "support_error_codes": "code name category billable remove_number reason advice",
    "support_opt_outs": "recipient sender keyword opted_out_at opted_out_utc",
    "support_resolutions": "tag reference send_status reason resolved_by resolved_at key",
}
for name in ("support_extraneous", "support_conflicting", "support_unlinked", "support_inbound"):
    SUPPORT_COLUMNS[name] = SUPPORT_COLUMNS["support_events"]
SUPPORT_COLUMNS["support_inbound"] += " sender text group_members media opt_out opt_in"
SUPPORT_COLUMNS["support_overdue"] = SUPPORT_COLUMNS["support_recipients"]


@pytest.fixture
def inspector(database: Database) -> Inspector:
    return inspect(database.engine)


def our_tables(inspector: Inspector) -> list[str]:
    return [name for name in inspector.get_table_names() if name != "alembic_version"]


def test_every_table_and_every_column_says_what_it_is(postgres: Database) -> None:
    inspector = inspect(postgres.engine)
    tables = our_tables(inspector)
    comments = {table: inspector.get_table_comment(table)["text"] for table in tables}
    comments |= {
        f"{table}.{each['name']}": each["comment"] for table in tables for each in inspector.get_columns(table)
    }

    assert len(comments) > 60
    assert [name for name, comment in comments.items() if not comment or not comment.endswith(".")] == []


def test_every_view_and_every_column_of_it_says_what_it_is_and_nothing_is_said_of_others(postgres: Database) -> None:
    inspector = inspect(postgres.engine)
    found = {
        view: {each["name"]: each["comment"] for each in inspector.get_columns(view)}
        for view in inspector.get_view_names()
    }
    newest = max((ROOT / "migrations" / "views").glob("*.toml"))
    comments_of = tomllib.loads(newest.read_text(encoding="utf-8"))
    views, everywhere = comments_of.pop("views"), comments_of.pop("columns")

    comments = {view: inspector.get_table_comment(view)["text"] for view in found}
    comments |= {f"{view}.{name}": comment for view, columns in found.items() for name, comment in columns.items()}
    assert len(comments) > 150
    assert [name for name, comment in comments.items() if not comment or not comment.endswith(".")] == []
    assert set(views) == set(found)
    assert [name for name in everywhere if not any(name in columns for columns in found.values())] == []
    assert [f"{view}.{name}" for view, own in comments_of.items() for name in own if name not in found[view]] == []


def test_the_tables_are_those_of_the_models(inspector: Inspector) -> None:
    assert set(our_tables(inspector)) == set(METADATA.tables)


def test_every_constraint_and_every_index_is_named_after_what_it_is(inspector: Inspector) -> None:
    for table in our_tables(inspector):
        kinds: dict[str, list[str | None]] = {
            "primary_key": [inspector.get_pk_constraint(table)["name"]],
            "foreign_key": [each["name"] for each in inspector.get_foreign_keys(table)],
            "unique": [each["name"] for each in inspector.get_unique_constraints(table)],
            "check": [each["name"] for each in inspector.get_check_constraints(table)],
            "index": [each["name"] for each in inspector.get_indexes(table) if not each.get("duplicates_constraint")],
        }
        for kind, names in kinds.items():
            for name in names:
                found = re.fullmatch(NAMES, name or "")
                assert found, f"{table}: {kind} {name!r}"
                assert name is not None
                assert name.startswith(f"{table}_")
                assert found["kind"] == kind


@pytest.mark.parametrize(
    "paths",
    [["receiver/database/models.py"], ["migrations/versions/0001_messages.py"]],
)
def test_every_index_says_above_it_which_query_it_serves(paths: list[str]) -> None:
    lines = [line.strip() for path in paths for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]
    above = [before for before, line in pairwise(lines) if re.match(r"index\(", line, re.IGNORECASE)]

    assert len(above) > 15
    assert [line for line in above if not re.match(r"# .*(GET /|support_|workers|of a message|expired)", line)] == []


def test_postgresql_itself_named_none(postgres: Database) -> None:
    with postgres.read() as session:
        query = "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
        constraints = session.scalars(text(query)).all()
        indexes = session.scalars(text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")).all()

    ours = [name for name in {*constraints, *indexes} if not name.startswith("alembic_version")]
    assert len(ours) > 15
    assert [name for name in ours if not re.fullmatch(NAMES, name)] == []


def test_a_view_has_the_columns_of_the_contract_on_both_engines(postgres: Database, sqlite: Database) -> None:
    for name, promised in SUPPORT_COLUMNS.items():
        found = [[each["name"] for each in inspect(each.engine).get_columns(name)] for each in (postgres, sqlite)]
        assert found[0] == found[1], name
        assert set(promised.split()) <= set(found[0]), name
        assert not {"to", "from"} & set(found[0]), name


def test_both_engines_have_the_same_tables(postgres: Database, sqlite: Database) -> None:
    def shape(database: Database) -> dict[str, list[tuple[str, bool]]]:
        inspector = inspect(database.engine)
        return {
            table: [(each["name"], each["nullable"]) for each in inspector.get_columns(table)]
            for table in our_tables(inspector)
        }

    assert shape(postgres) == shape(sqlite)


def error_codes(database: Database) -> dict[int, tuple[object, ...]]:
    rows = view(database, "error_codes")
    return {row["code"]: columns(row, *(field.name for field in fields(ErrorCode))) for row in rows}


CODES = {code: astuple(each) for code, each in ERROR_CODES.items()}


def test_the_error_codes_are_those_of_the_code(database: Database) -> None:
    assert error_codes(database) == CODES


@pytest.mark.parametrize(
    "spoil",
    [
        lambda database: change(database, "DELETE FROM error_codes WHERE code = 4720"),
        lambda database: change(
            database, "UPDATE error_codes SET name = 'x', billable = NULL, advice = '', remove_number = TRUE"
        ),
    ],
    ids=["a row is missing", "rows are outdated"],
)
def test_migrating_writes_them_again(database_url: str, spoil: Callable[[Database], None]) -> None:
    with Database(database_url) as database:
        spoil(database)

    schema.upgrade(database_url)

    with Database(database_url) as database:
        assert error_codes(database) == CODES
