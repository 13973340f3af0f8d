"""The command that lets support staff in."""

import sys

import click

from receiver import settings
from receiver.cli.base import EXIT_USAGE, EXIT_WRONG, demand_schema, end, main, out, said_in_one_sentence, say
from receiver.database.database import Database
from receiver.database.engine import is_sqlite, where
from receiver.database.views import grant_support as grant

NO_ROLES = (
    "SQLite has no roles: whoever can read the file can read everything in it. Give support a copy, or PostgreSQL."
)


@main.command()
@click.argument("role")
@said_in_one_sentence
def grant_support(role: str) -> None:
    """Let a role of PostgreSQL read the support views, and nothing else."""
    url = settings.read_settings().database_url
    if is_sqlite(url):
        end(NO_ROLES, EXIT_USAGE)
    with Database(url) as database:
        demand_schema(database)
        more = grant(database, role)
    say(f"{role} can read the support views of the {where(url)}.", on=out)
    if more:
        say(f"warning: {role} can do more than that: {', '.join(more)}. Take a role of its own.")
        sys.exit(EXIT_WRONG)
