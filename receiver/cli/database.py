"""The database of a command, whose schema is checked first; and `receiver migrate` and `grant-support`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from receiver.cli.console import EXIT_UNKNOWN, EXIT_USAGE, EXIT_WRONG, fail, out, say, with_cause
from receiver.database import schema, views
from receiver.database.database import Database
from receiver.database.engine import is_sqlite, where
from receiver.errors import SchemaOutdated, StorageUnavailable
from receiver.reports.support import may_read_tables
from receiver.settings import read_settings


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
        with Database(read_settings().database_url) as database:
            demand_schema(database)
            yield database
    except StorageUnavailable as error:
        fail(with_cause(error), EXIT_UNKNOWN)
    except SchemaOutdated as error:
        fail(str(error), EXIT_UNKNOWN)


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="Revision to migrate to.")
@click.option("--down", is_flag=True, help="Migrate down to that revision instead of up; no row is lost.")
def migrate(revision: str, down: bool) -> None:
    """Migrate the database to the schema of this version."""
    url = read_settings().database_url
    done = (schema.downgrade if down else schema.upgrade)(url, revision)
    if done.before == done.after:
        say(f"The {where(url)} is already at revision {done.after or 'base'}; its schema was not changed.", on=out)
    else:
        since = f"from revision {done.before} " if done.before else ""
        say(f"The {where(url)} was migrated {since}to {'' if since else 'revision '}{done.after or 'base'}.", on=out)


NO_ROLES = (
    "SQLite has no roles: anyone who can read the file can read everything in it."
    " Give support a copy of the file, or use PostgreSQL."
)


@click.command()
@click.argument("role")
def grant_support(role: str) -> None:
    """Let a PostgreSQL role read the support views, and nothing else. Exits 1 if the role has other privileges."""
    url = read_settings().database_url
    if is_sqlite(url):
        fail(NO_ROLES, EXIT_USAGE)
    with Database(url) as database:
        demand_schema(database)
        others = views.grant_support(database, role)
    say(f"{role} can read the support views of the {where(url)}.", on=out)
    if others:
        say(f"warning: {role} can do more than that: {', '.join(others)}. Use a separate role.")
        sys.exit(EXIT_WRONG)
