"""`receiver cancel`."""

import click

from receiver.cli.console import out
from receiver.cli.database import database_for_query
from receiver.cli.message_tables import print_message
from receiver.cli.options import tag_argument
from receiver.messages import sender


@click.command()
@tag_argument
def cancel(tag: str) -> None:
    """Cancel a message that is still queued.

    Exits 1 if it is not queued, 3 if the database cannot be reached.
    """
    with database_for_query() as database:
        cancelled = sender.cancel(database, tag)
    print_message(out, cancelled)
