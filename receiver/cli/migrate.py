"""`receiver migrate`."""

import click

from receiver.cli.console import out, say
from receiver.database import schema
from receiver.database.engine import where
from receiver.settings import read_settings


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
