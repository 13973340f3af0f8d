"""Migrates the database to the schema of this code, and compares the two.

A migration is one transaction, so a killed one can simply be run again. The support views are dropped before it and
created after it, from the newest file of migrations/views that is not newer than the schema; roles that could read them
can read them again.

A PostgreSQL database that cannot store every character is refused before it has stored anything. In another encoding
one curly quote would be answered 500, and one stored reply that cannot be converted would break a whole view.

SQLite gets statistics of a long history, because it plans by what ANALYZE counted last, and nothing runs that. Without
them every status looks rare, so SQLite would read all accepted messages to find the overdue ones, sort the whole queue
to claim its first message, and read all recipients, number by number, to find those that failed. PostgreSQL gathers
statistics by itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import SQLAlchemyError

from receiver.database import views
from receiver.database.commits import demand_confirmed
from receiver.database.engine import make_engine, where
from receiver.errors import SchemaOutdated, StorageUnavailable, WrongEncoding

FOLDER = Path(__file__).parents[1] / "migrations"
"""Inside the package; in a checkout it is a link to the folder at the top."""

LOCK_TIMEOUT, TURN_TIMEOUT = "3s", "60s"
"""How long to wait for the lock of a table, and for another migration. A statement that arrives behind one waiting for
a table's lock waits with it; among them are callbacks, which give up after BUSY_SECONDS."""

LOCK_KEY = 7_203_947_116  # any number, as long as it is always the same
_LOCKED = ("55P03", "40P01")  # lock_not_available, deadlock_detected (PostgreSQL, "Error Codes")


class SchemaState(Enum):
    """The result of comparing the database's schema with the code's."""

    CURRENT = "current"
    EMPTY = "not migrated"
    OLDER = "older than this program"
    NEWER = "newer than this program"  # harmless: migrations only add, and a removal waits for one release


@dataclass(frozen=True, slots=True)
class Migrated:
    """The revisions before and after a migration; None is an empty database."""

    before: str | None
    after: str | None


def upgrade(url: str, revision: str = "head") -> Migrated:
    """Migrates the database up. Raises StorageUnavailable, SchemaOutdated or WrongEncoding."""
    return _run(command.upgrade, url, revision)


def downgrade(url: str, revision: str) -> Migrated:
    """Migrates the database down; every row is kept. Raises like upgrade()."""
    return _run(command.downgrade, url, revision)


def schema_state(connection: Connection) -> SchemaState:
    """Compares the schema of an open connection with the code's."""
    present = MigrationContext.configure(connection).get_current_revision()
    known = _revisions()
    if present is None:
        return SchemaState.EMPTY
    if present == known[0]:
        return SchemaState.CURRENT
    return SchemaState.OLDER if present in known else SchemaState.NEWER


def demand_schema(connection: Connection, *, named: str = "database") -> str | None:
    """Raises SchemaOutdated or WrongEncoding if this code cannot work with the database.

    Returns a warning if the schema is newer than this program, else None. ``named`` is the name of the database in
    these sentences.
    """
    demand_utf8(connection)
    state = schema_state(connection)
    if state in (SchemaState.EMPTY, SchemaState.OLDER):
        raise SchemaOutdated(f"The {named} is {state.value}; run `receiver migrate`.")
    return f"The {named} is {state.value}; upgrade this host soon." if state is SchemaState.NEWER else None


def demand_utf8(connection: Connection) -> None:
    """Raises WrongEncoding for a PostgreSQL database in another encoding; SQLite has no other."""
    if connection.dialect.name == "postgresql":
        database, encoding, locale = connection.execute(_ENCODING).one()
        if encoding != "UTF8":
            raise WrongEncoding(database, encoding, remedy=create_database_statement(f"{database}_utf8", locale))


_ENCODING = text("""
    SELECT current_database(), current_setting('server_encoding'),
        (SELECT datctype FROM pg_database WHERE datname = 'template0')
""")


def create_database_statement(name: str, locale: str | None) -> str:
    """The statement that creates a database in UTF-8. PostgreSQL would refuse a locale of another encoding."""
    quoted = name.replace('"', '""')
    fits_utf8 = locale in (None, "C", "POSIX") or str(locale).lower().replace("-", "").endswith("utf8")
    return f"CREATE DATABASE \"{quoted}\" ENCODING 'UTF8' TEMPLATE template0" + ("" if fits_utf8 else " LOCALE 'C'")


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """The one transaction of a migration: the views are dropped at its start and created again at its end."""
    engine = make_engine(url, poolclass=NullPool).execution_options(writes=True)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # With foreign keys on, altering a table deletes its children; inside a transaction the pragma is ignored.
            connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        with connection.begin():
            demand_utf8(connection)
            _lock(connection)
            readers = views.drop(connection)
            yield connection
            _create_views(connection, readers)
            if engine.dialect.name == "sqlite":
                _write_statistics(connection)  # an altered table has lost its own
                _check_foreign_keys(connection)
        demand_confirmed(connection)


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{TURN_TIMEOUT}'")
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def _create_views(connection: Connection, readers: views.Readers) -> None:
    present = MigrationContext.configure(connection).get_current_revision()
    known = _revisions()
    if present not in known:
        return
    candidates = (FOLDER / "views" / f"{revision}.sql" for revision in known[known.index(present) :])
    views.create(connection, next(path for path in candidates if path.exists()), readers)


MANY, FEW = 1_000_000, 1000

STATISTICS = {
    ("messages", "messages_send_status_created_at_index"): f"{MANY} {MANY // 5} 1",
    ("messages", "messages_queue_index"): f"{FEW} {FEW // 2} 1 1",
    ("recipients", "recipients_created_at_index"): f"{3 * MANY} 3",
    ("recipients", "recipients_open_index"): f"{FEW} 3 1",
    ("recipients", "recipients_failed_index"): f"{FEW} 1 1",
    ("events", "events_first_received_at_index"): f"{3 * MANY} 1",
    ("events", "events_unlinked_index"): f"{FEW} 1 1",
    ("events", "events_unread_index"): "10 1",
    ("events", "events_keyword_index"): f"{FEW // 10} 10 1",
}
"""For each index the number of its rows, and how many of them share a value of its first column, its first two, and so
on. Only the ratio matters: rows that are queued, open, failed or without a message are rare, finished ones common."""


def _write_statistics(connection: Connection) -> None:
    """Writes STATISTICS (sqlite.org/optoverview.html, "Manual Control Of Query Plans Using SQLITE_STAT Tables")."""
    connection.exec_driver_sql("ANALYZE sqlite_schema")  # creates the table below and analyzes no other
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    rows = [{"table": table, "index": index, "rows": rows} for (table, index), rows in STATISTICS.items()]
    connection.execute(text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:table, :index, :rows)"), rows)


def _check_foreign_keys(connection: Connection) -> None:
    orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if orphan is not None:
        raise SchemaOutdated(f"The migration was undone: it would leave rows of {orphan[0]} without their {orphan[2]}.")


def _run(step: Callable[[Config, str], None], url: str, revision: str) -> Migrated:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["url"] = url
    try:
        step(config, revision)
    except (CommandError, AssertionError) as error:  # alembic asserts that a revision is not blank
        if _is_newer(url):
            raise SchemaOutdated(f"The {where(url)} is newer than this program: {error}") from error
        raise SchemaOutdated(f"The {where(url)} cannot be migrated: {str(error) or 'no such revision'}") from error
    except SQLAlchemyError as error:
        orig = getattr(error, "orig", error)
        cause = str(orig).partition("\n")[0]
        if getattr(orig, "sqlstate", None) in _LOCKED:
            cause += "; a backup or another long query is using it, so try again when that has ended"
        raise StorageUnavailable(f"The {where(url)} cannot be migrated: {cause}") from error
    return Migrated(config.attributes["before"], config.attributes["after"])


def _is_newer(url: str) -> bool:
    with make_engine(url, poolclass=NullPool).connect() as connection:
        return schema_state(connection) is SchemaState.NEWER


@cache
def _revisions() -> list[str]:
    """Every revision that this code knows, newest first."""
    return [script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()]
