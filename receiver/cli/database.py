"""The database of a command, once it is known to have the right schema."""

from collections.abc import Iterator
from contextlib import contextmanager

from receiver import settings
from receiver.cli.console import EXIT_UNKNOWN, fail, say
from receiver.cli.errors import with_cause
from receiver.database import schema
from receiver.database.database import Database
from receiver.errors import SchemaOutdated, StorageUnavailable
from receiver.reports.support import may_read_tables


def demand_schema(database: Database) -> None:
    """Checks that the database can be used by this version, and warns if its schema is newer.

    Raises StorageUnavailable, and SchemaOutdated if it has to be migrated first.
    """
    try:
        with database.read() as session:
            warning = schema.demand_schema(session.connection(), named=database.where)
            database.reads_views_only = not may_read_tables(session)
    except StorageUnavailable as error:
        if "alembic_version" in error.reason:  # grant-support lets a role read this table
            raise StorageUnavailable(
                f"The role in DATABASE_URL has no permission for this command on the {database.where}:"
                " run `receiver grant-support ROLE` again, as the owner of the database."
            ) from error
        raise StorageUnavailable(
            f"The {database.where} (DATABASE_URL) cannot be used: {error.reason or error}"
        ) from error
    if warning:
        say(f"warning: {warning}")


@contextmanager
def database_for_query() -> Iterator[Database]:
    """Opens the database for a command that only reads, which exits 3 if the database cannot be used: the result is
    then neither yes nor no."""
    try:
        with Database(settings.read_settings().database_url) as database:
            demand_schema(database)
            yield database
    except StorageUnavailable as error:
        fail(with_cause(error), EXIT_UNKNOWN)
    except SchemaOutdated as error:
        fail(str(error), EXIT_UNKNOWN)
