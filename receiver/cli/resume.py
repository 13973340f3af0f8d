"""`receiver resume`."""

import click

from receiver.cli.console import out
from receiver.cli.database import demand_schema
from receiver.database.database import Database, Session
from receiver.messages import credentials, pace
from receiver.settings import read_settings


@click.command()
def resume() -> None:
    """Resume sending now, ending any pause for a 429 or for refused credentials."""
    with Database(read_settings().database_url) as database:
        demand_schema(database)
        was_paused = database.write(_end_pauses)
    out.print("Sending was resumed." if was_paused else "Sending was not paused.")


def _end_pauses(session: Session) -> bool:
    was_paused = pace.resume(session)
    return credentials.resume(session) or was_paused
