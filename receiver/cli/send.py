"""`receiver send`."""

import sys
from typing import Any

import click

from receiver.app import make_sender
from receiver.cli.console import EXIT_UNKNOWN, EXIT_WRONG, fail, out
from receiver.cli.database import demand_schema
from receiver.cli.message_tables import print_message
from receiver.cli.signals import TERMINATION, deferred
from receiver.core.send_status import SendStatus
from receiver.database.database import Database
from receiver.schemas.requests import read_message
from receiver.settings import read_settings


@click.command()
@click.option("--to", multiple=True, required=True, help="Number of a recipient; repeat it for a group.")
@click.option("--from", "sender", help="Sender; default: BANDWIDTH_FROM.")
@click.option("--text", help="Text of the message; required unless there is media.")
@click.option("--media", multiple=True, help="URL of a media file; may be repeated.")
@click.option("--application-id", help="Bandwidth application; default: BANDWIDTH_APPLICATION_ID.")
@click.option("--priority", help="Priority: default or high.")
@click.option("--expiration", help="RFC 3339 time after which Bandwidth must not send the message.")
@click.option("--reference", help="Your own identifier for the message.")
def send(to: tuple[str, ...], sender: str | None, media: tuple[str, ...], **fields: Any) -> None:
    """Send one group message. Exits 1 if it was refused, 3 if it is unknown whether it was sent."""
    settings = read_settings(sending=True)
    fields["applicationId"] = fields.pop("application_id")
    message = read_message({"to": list(to), "from": sender, "media": list(media), **fields}, settings)
    # If the call to Bandwidth were cut off, it would be unknown whether the message was sent.
    with deferred(*TERMINATION), Database(settings.database_url) as database:
        demand_schema(database)
        sent = make_sender(settings, database).send(message)
    if sent.message is None:
        fail(f"{sent.tag}: it is unknown whether this was sent; do not send it again.", EXIT_UNKNOWN)
    print_message(out, sent.message)
    if sent.message.send_status is not SendStatus.ACCEPTED:
        sys.exit(EXIT_WRONG if sent.message.send_status is SendStatus.REFUSED else EXIT_UNKNOWN)
