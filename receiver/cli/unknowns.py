"""Commands about messages whose fate is not known: ask Bandwidth, or let a person decide."""

import getpass

import click

from receiver import config, reporting, resolving, terminal
from receiver.cli.base import demand_schema, main, out, said_in_one_sentence
from receiver.core.send_status import SendStatus
from receiver.storage.database import Database


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container's user may have no name
        raise click.UsageError("Nobody knows your login name: say --by NAME.") from error


@main.command()
@click.argument("tag")
@click.option(
    "--as",
    "send_status",
    type=click.Choice([SendStatus.ACCEPTED.value, SendStatus.REFUSED.value]),
    required=True,
    help="accepted: Bandwidth has it. refused: it was never sent.",
)
@click.option("--reason", required=True, help="How you know; kept with the message.")
@click.option("--by", default=_login_name, show_default="your login name", help="Who decides; kept with the message.")
@said_in_one_sentence
def resolve(tag: str, send_status: str, reason: str, by: str) -> None:
    """Decide what became of an unknown message. An event that comes later corrects it."""
    if not (reason.strip() and by.strip()):
        raise click.UsageError("Neither the reason nor the name may be blank.")
    with Database(config.read_settings().database_url) as database:
        demand_schema(database)
        resolving.resolve(database, tag, SendStatus(send_status), reason=reason.strip(), by=by.strip())
        terminal.show_message(out, reporting.message(database, tag))
        terminal.show_resolutions(out, reporting.resolutions(database, tag))
