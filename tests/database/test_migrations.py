"""Migrations: up and down without losing a row, and one sentence when they cannot."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, Integer, inspect, select, text

from receiver.core.events import Reply, Unreadable
from receiver.core.messages import Accepted, Refused, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database import schema
from receiver.database.database import Database
from receiver.database.engine import make_engine
from receiver.database.models import Base, CredentialPauseRow
from receiver.database.schema import SchemaState
from receiver.errors import ReceiverError, SchemaOutdated, StorageUnavailable
from receiver.maintenance import resolve
from receiver.messages import pace
from tests.support.builders import (
    ALICE,
    BOB,
    CAROL,
    NOON,
    SENDER,
    make_event,
    make_key,
    make_message,
    make_sender,
    store_message,
)
from tests.support.locks import locked
from tests.support.postgres import free_port
from tests.support.schema import check_models
from tests.support.stored import change, deliver, view

VIEWS = {
    *("support_messages", "support_recipients", "support_events", "support_extraneous", "support_unlinked"),
    *("support_unreadable", "support_inbound", "support_overdue", "support_failures"),
    "support_resolutions",
    "support_conflicting",
    *("support_conversations", "support_sending"),
    "support_opt_outs",
    "support_error_codes",
}
REPLY = make_event(
    "received",
    message_id="inbound",
    payload=f'{{"message": {{"from": "{ALICE}", "to": ["{SENDER}"], "text": "Stop!"}}}}',
    reply=Reply(sender=ALICE, members=(SENDER,), text="Stop!"),
)
PAUSED: dict[str, Any] = {"paused_at": NOON, "probe_at": NOON, "updated_at": NOON}


def fill(url: str) -> None:
    """Fills every table and every view."""
    with Database(url) as database:
        store_message(database, ALICE, BOB, CAROL, reference="r")
        store_message(database, ALICE, answer=Refused(because=RefusedBecause.UNREACHABLE))
        store_message(database, ALICE, answer=Accepted(message_id="overdue"))
        change(database, "UPDATE messages SET overdue_at = '2020-01-01 00:00:00'")
        deliver(
            database,
            *(make_event(), make_event("failed", BOB, error_code=4720), make_event(recipient=BOB)),
            *(make_event(message_id="foreign"), REPLY),
            *(make_event("failed", CAROL, error_code=5600), make_event(recipient=CAROL)),
            Unreadable(payload="[]", reason="No object."),
        )
        make_sender(database, account=1.0).queue(make_message(), key=make_key())
        database.write(lambda session: pace.pause(session, retry_after=None, jitter=0.5))
        unknown, _ = store_message(database, ALICE, answer=Unknown())
        resolve.resolve(database, unknown, SendStatus.REFUSED, reason="Nobody got it.", by="jane")
        change(database, "UPDATE messages SET denied_at = created_at WHERE send_status = 'queued'")
        change(database, "UPDATE idempotency_keys SET repeats = 3")
        database.write(lambda session: session.add(CredentialPauseRow(credentials="0" * 64, denied="[1]", **PAUSED)))


def rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with Database(url) as database, database.read() as session:
        tables = Base.metadata.sorted_tables
        return {table.name: sorted(map(tuple, session.execute(select(table))), key=repr) for table in tables}


def views(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every existing view."""
    with Database(url) as database:
        names = inspect(database.engine).get_view_names()
        found = {name: sorted(view(database, name), key=repr) for name in names}
    for row in found.get("support_sending", ()):  # depends on the current time
        for column in ("reason", "units_per_second", "paused_until", "paused_until_utc"):
            del row[column]
    return found


def state(url: str) -> SchemaState:
    with Database(url) as database, database.read() as session:
        return schema.schema_state(session.connection())


@contextlib.contextmanager
def one_sentence(kind: type[ReceiverError], *words: str) -> Iterator[None]:
    with pytest.raises(kind) as raised:
        yield
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


def test_an_empty_database_becomes_current(empty_database_url: str) -> None:
    assert state(empty_database_url) is SchemaState.EMPTY

    schema.upgrade(empty_database_url)

    assert state(empty_database_url) is SchemaState.CURRENT
    assert set(views(empty_database_url)) == VIEWS


def test_the_models_are_what_the_migrations_make(database_url: str) -> None:
    check_models(database_url)

    assert set(views(database_url)) == VIEWS


def test_no_row_is_lost_on_the_way_down_and_up_and_down_and_up(database_url: str) -> None:
    fill(database_url)
    before, seen = rows(database_url), views(database_url)
    assert all(before.values())
    assert all(seen.values())

    for _ in range(2):
        schema.downgrade(database_url, "base")
        assert state(database_url) is SchemaState.EMPTY
        assert rows(database_url) == before
        assert views(database_url) == {}

        schema.upgrade(database_url)
        assert state(database_url) is SchemaState.CURRENT
        assert rows(database_url) == before
        assert views(database_url) == seen


def test_migrating_a_current_database_changes_nothing(database_url: str) -> None:
    fill(database_url)
    before, seen = rows(database_url), views(database_url)

    for _ in range(2):
        schema.upgrade(database_url)

    assert (rows(database_url), views(database_url)) == (before, seen)


def test_the_service_works_after_it_was_migrated_down_and_up(database_url: str) -> None:
    schema.downgrade(database_url, "base")
    schema.upgrade(database_url)

    fill(database_url)

    assert set(views(database_url)) == VIEWS
    for table in ("recipients", "events", "message_ids"):
        with Database(database_url) as database, pytest.raises(StorageUnavailable):
            change(database, f"UPDATE {table} SET message_pk = 999")


def test_altering_a_table_keeps_the_rows_that_refer_to_it(database_url: str) -> None:
    """With foreign keys on, SQLite would delete the children of a table that a batch alter recreates."""
    fill(database_url)
    before = rows(database_url)

    with schema.migrating(database_url) as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("messages", recreate="auto") as table:
            table.add_column(Column("shoe_size", Integer()))
        with operations.batch_alter_table(
            "messages", recreate="always" if "sqlite" in database_url else "auto"
        ) as table:
            table.drop_column("shoe_size")

    assert rows(database_url) == before
    check_models(database_url)
    if "sqlite" in database_url:
        with Database(database_url) as database, database.read() as session:
            assert session.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
            assert session.execute(text("PRAGMA foreign_key_check")).all() == []


def test_a_migration_that_would_leave_orphans_is_undone(sqlite_url: str) -> None:
    fill(sqlite_url)
    before, seen = rows(sqlite_url), views(sqlite_url)

    with one_sentence(SchemaOutdated, "messages"), schema.migrating(sqlite_url) as connection:
        connection.execute(text("DELETE FROM messages"))

    assert (rows(sqlite_url), views(sqlite_url)) == (before, seen)


def test_a_migration_that_fails_changes_nothing_and_can_be_run_again(empty_database_url: str) -> None:
    """Here a table created by hand makes a later step of the migration fail."""
    engine = make_engine(empty_database_url)
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("CREATE TABLE recipients (name VARCHAR(10))"))
    with one_sentence(StorageUnavailable):
        schema.upgrade(empty_database_url)
    assert inspect(engine).get_table_names() == ["recipients"]
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("DROP TABLE recipients"))
    engine.dispose()

    schema.upgrade(empty_database_url)

    assert state(empty_database_url) is SchemaState.CURRENT


def test_a_database_newer_than_the_code_is_left_alone(database_url: str) -> None:
    fill(database_url)
    with Database(database_url) as database:
        change(database, "UPDATE alembic_version SET version_num = 'zzzz'")
    assert state(database_url) is SchemaState.NEWER
    before, seen = rows(database_url), views(database_url)

    with one_sentence(ReceiverError, "zzzz"):
        schema.upgrade(database_url)
    with one_sentence(ReceiverError):
        schema.downgrade(database_url, "base")

    assert state(database_url) is SchemaState.NEWER
    assert (rows(database_url), views(database_url)) == (before, seen)


@pytest.mark.parametrize("revision", ["no-such-revision", "+7"])
def test_a_revision_that_does_not_exist_is_a_sentence(database_url: str, revision: str) -> None:
    with one_sentence(ReceiverError):
        schema.upgrade(database_url, revision)

    assert set(views(database_url)) == VIEWS


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_an_unreachable_database_is_a_sentence(tmp_path: Any, engine: str) -> None:
    password = "open-sesame"
    url = {
        "sqlite": f"sqlite:///{tmp_path}/no/such/folder/receiver.sqlite3",
        "postgresql": f"postgresql+psycopg://user:{password}@127.0.0.1:{free_port()}/receiver",
    }[engine]

    for step in (schema.upgrade, lambda url: schema.downgrade(url, "base")):
        with one_sentence(StorageUnavailable):
            step(url)
    with Database(url) as database, pytest.raises(StorageUnavailable) as raised:
        database.write(lambda session: session.execute(text("SELECT 1")))
    assert password not in f"{raised.value}{raised.value.__cause__}"


def test_a_locked_database_is_a_sentence_after_three_seconds(postgres_url: str) -> None:
    """Otherwise callbacks would queue behind a migration that waits for a forgotten session."""
    reading = locked(postgres_url, "SELECT * FROM support_messages")
    with reading, one_sentence(StorageUnavailable, "lock timeout", "try again when that has ended"):
        schema.upgrade(postgres_url)

    assert set(views(postgres_url)) == VIEWS


def test_a_database_of_somebody_else_is_a_sentence(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('1975ea83b712')"))
    engine.dispose()

    with one_sentence(ReceiverError):
        schema.upgrade(empty_database_url)
