"""`receiver grant-support`."""

import sys

import click

from receiver.cli.console import EXIT_USAGE, EXIT_WRONG, fail, out, say
from receiver.cli.database import demand_schema
from receiver.database import views
from receiver.database.database import Database
from receiver.database.engine import is_sqlite, where
from receiver.settings import read_settings

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
