"""`receiver restored`."""

import click

from receiver.cli.console import counted, demand_consent, out, progress
from receiver.cli.database import demand_schema
from receiver.cli.options import yes_option
from receiver.database.database import Database
from receiver.maintenance import restored as restoring
from receiver.settings import read_settings


@click.command()
@yes_option
def restored(yes: bool) -> None:
    """After restoring a backup, mark messages that may have been sent since as unknown.

    They will not be sent again. Run this before any server or worker starts.
    """
    settings = read_settings()
    with Database(settings.database_url) as database:
        demand_schema(database)
        pks = restoring.find_unsent(database)
        if pks:
            out.print(f"{counted(len(pks), 'messages')} would be sent by a worker, or when requested again.")
            demand_consent("Mark as unknown?", yes=yes)
        with progress() as bars:
            task = bars.add_task("messages", total=len(pks))
            for number in restoring.make_unknown(database, pks, overdue_after=settings.overdue_after):
                bars.advance(task, number)
    out.print(f"{counted(len(pks), 'messages')} became unknown.")
