"""`receiver resolve`."""

import getpass

import click

from receiver.cli.console import out
from receiver.cli.database import demand_schema
from receiver.cli.message_tables import print_message, print_resolutions
from receiver.cli.options import tag_argument
from receiver.core.send_status import SendStatus
from receiver.database.database import Database
from receiver.maintenance import resolve as resolving
from receiver.reports import messages
from receiver.settings import read_settings


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container's user may have no name
        raise click.UsageError("Cannot determine your login name; pass --by NAME.") from error


@click.command()
@tag_argument
@click.option(
    "--as",
    "send_status",
    type=click.Choice([SendStatus.ACCEPTED.value, SendStatus.REFUSED.value]),
    required=True,
    help="accepted: Bandwidth has it. refused: it was never sent.",
)
@click.option("--reason", required=True, help="How you know; stored with the message.")
@click.option("--by", default=_login_name, show_default="your login name", help="Who decides; stored with the message.")
def resolve(tag: str, send_status: str, reason: str, by: str) -> None:
    """Record a person's decision about an unknown message. A later event overrides it."""
    if not (reason.strip() and by.strip()):
        raise click.UsageError("--reason and --by must not be blank.")
    with Database(read_settings().database_url) as database:
        demand_schema(database)
        resolving.resolve(database, tag, SendStatus(send_status), reason=reason.strip(), by=by.strip())
        print_message(out, messages.message(database, tag))
        print_resolutions(out, messages.resolutions(database, tag))
