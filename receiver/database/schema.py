"""Brings the database to the schema of this code, and tells how they compare.

A migration is one transaction, so a killed one can simply be run again. The support views are dropped before it and
created after it, from the newest file of migrations/views that is not newer than the schema; who could read them can
read them again.

A database of PostgreSQL that cannot hold every character is refused before it has taken anything.

One curly quote would be answered 500, and one stored reply that cannot be converted would break a whole view.

Tells SQLite what a long history looks like, because it cannot know.

It plans by what ANALYZE once counted, and nobody runs that. Without it every status is rare to SQLite, so it would read
all accepted messages to find the overdue ones, sort the whole queue to claim the first of it, and read all recipients,
number by number, to find those that failed. PostgreSQL counts by itself.
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

ENCODING = "UTF8"


def demand_utf8(connection: Connection) -> None:
    """Raises WrongEncoding for a database of PostgreSQL with another encoding; SQLite has none other."""
    if connection.dialect.name == "postgresql":
        database, encoding, locale = connection.execute(FOUND).one()
        if encoding != ENCODING:
            raise WrongEncoding(database, encoding, remedy=create_database_statement(f"{database}_utf8", locale))


FOUND = text("""
    SELECT current_database(), current_setting('server_encoding'),
        (SELECT datctype FROM pg_database WHERE datname = 'template0')
""")


def create_database_statement(database: str, locale: str | None) -> str:
    """The statement that makes a right one. A locale of another encoding would make PostgreSQL refuse it."""
    name = database.replace('"', '""')
    suits = locale in (None, "C", "POSIX") or str(locale).lower().replace("-", "").endswith("utf8")
    return f"CREATE DATABASE \"{name}\" ENCODING '{ENCODING}' TEMPLATE template0" + ("" if suits else " LOCALE 'C'")


MANY, FEW = 1_000_000, 1000

ROWS = {
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
"""Of each index how many rows are in it, and how many of them are alike in its first column, its first two, and so on.
That what waits, is open, has failed or has no message is little beside what is done matters; the numbers do not."""


def write(connection: Connection) -> None:
    """Writes them (sqlite.org/optoverview.html, "Manual Control Of Query Plans Using SQLITE_STAT Tables")."""
    connection.exec_driver_sql("ANALYZE sqlite_schema")  # makes the table below; looks at no other
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    rows = [{"table": table, "index": index, "rows": rows} for (table, index), rows in ROWS.items()]
    connection.execute(text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:table, :index, :rows)"), rows)


FOLDER = Path(__file__).parents[1] / "migrations"
"""Inside the package; in a checkout a link to the folder at its top."""

LOCK_TIMEOUT, TURN_TIMEOUT = "3s", "60s"
"""How long the lock of a table is waited for, and another migration. Whoever comes to a table after one that waits for
its lock waits with it: a callback, too, which gives up after BUSY_SECONDS."""

LOCK_KEY = 7_203_947_116  # any number, as long as it is always the same
_LOCKED = ("55P03", "40P01")  # lock_not_available, deadlock_detected (PostgreSQL, "Error Codes")


class SchemaState(Enum):
    """How the database's schema compares with the code's."""

    CURRENT = "current"
    EMPTY = "not migrated"
    OLDER = "older than the code"
    NEWER = "newer than the code"  # no harm: migrations only add, and removal waits one release


@dataclass(frozen=True, slots=True)
class Migrated:
    """The revisions between which a migration took the database; None is that of an empty one."""

    before: str | None
    after: str | None


def upgrade(url: str, revision: str = "head") -> Migrated:
    """Migrates the database up. Raises StorageUnavailable or SchemaOutdated, each with one sentence."""
    return _run(command.upgrade, url, revision)


def downgrade(url: str, revision: str) -> Migrated:
    """Migrates the database down; every row is kept."""
    return _run(command.downgrade, url, revision)


def check(url: str) -> None:
    """Raises alembic's AutogenerateDiffsDetected when the models and the migrated database differ."""
    command.check(_config(url))


def schema_state(connection: Connection) -> SchemaState:
    """How the schema of an open connection compares with the code's."""
    present = MigrationContext.configure(connection).get_current_revision()
    known = _revisions()
    if present is None:
        return SchemaState.EMPTY
    if present == known[0]:
        return SchemaState.CURRENT
    return SchemaState.OLDER if present in known else SchemaState.NEWER


def demand_schema(connection: Connection, *, named: str = "database") -> str | None:
    """None, or a warning, if this code can work with the database; raises SchemaOutdated or WrongEncoding if not.

    ``named`` is what to call the database where strangers do not read it.
    """
    demand_utf8(connection)
    state = schema_state(connection)
    if state in (SchemaState.EMPTY, SchemaState.OLDER):
        raise SchemaOutdated(f"The {named} is {state.value}; run `receiver migrate`.")
    return f"The {named} is {state.value}; upgrade this process soon." if state is SchemaState.NEWER else None


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """The one transaction of a migration, without its views at the start, with them at the end."""
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
                write(connection)  # a table that was altered has lost its own
                _check_foreign_keys(connection)
        demand_confirmed(connection)


def _run(step: Callable[[Config, str], None], url: str, revision: str) -> Migrated:
    config = _config(url)
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


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["url"] = url
    return config


@cache
def _revisions() -> list[str]:
    """Every revision this code knows, newest first."""
    return [script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()]


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


def _check_foreign_keys(connection: Connection) -> None:
    orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if orphan is not None:
        raise SchemaOutdated(f"The migration would leave rows of {orphan[0]} without their {orphan[2]}; undone.")
