"""Commands about one message: send it, and see what became of it."""

import json
import sys
from typing import Any

import click

from receiver import terminal
from receiver.app import make_sender
from receiver.cli.base import (
    EXIT_UNKNOWN,
    EXIT_WRONG,
    HELD,
    database_to_ask,
    demand_schema,
    end,
    finishing,
    main,
    out,
    said_in_one_sentence,
)
from receiver.cli.forms import (
    OF_RESOLUTION,
    RECIPIENT_COLUMNS,
    Form,
    api_row,
    in_form,
    of_message,
    recipient_rows,
    write_csv,
)
from receiver.core.send_status import SendStatus
from receiver.database.database import Database
from receiver.messages.sender import cancel as cancel_message
from receiver.reports import support
from receiver.schemas.requests import read_message
from receiver.schemas.responses import MESSAGE, event_text
from receiver.settings import read_settings


@main.command()
@click.option("--to", multiple=True, required=True, help="A recipient's number; repeat it for a group.")
@click.option("--from", "sender", help="The sender; BANDWIDTH_FROM unless given.")
@click.option("--text", help="What it says; required unless there is media.")
@click.option("--media", multiple=True, help="URL of a picture; may be repeated.")
@click.option("--application-id", help="BANDWIDTH_APPLICATION_ID unless given.")
@click.option("--priority", help="default or high.")
@click.option("--expiration", help="RFC 3339 time after which Bandwidth must not send it.")
@click.option("--reference", help="Your own identifier of the message.")
@said_in_one_sentence
def send(to: tuple[str, ...], sender: str | None, media: tuple[str, ...], **fields: Any) -> None:
    """Send one group message. Exits 1 if it was refused and 3 if nobody can say whether it was sent."""
    settings = read_settings(sending=True)
    fields["applicationId"] = fields.pop("application_id")
    message = read_message({"to": list(to), "from": sender, "media": list(media), **fields}, settings)
    # A call to Bandwidth that is cut off leaves a message of which nobody can say whether it was sent.
    with finishing(*HELD), Database(settings.database_url) as database:
        demand_schema(database)
        sent = make_sender(settings, database).send(message)
    if sent.message is None:
        end(f"{sent.tag}: nobody can say whether this was sent; do not send it again.", EXIT_UNKNOWN)
    terminal.show_message(out, sent.message)
    if sent.message.send_status is not SendStatus.ACCEPTED:
        sys.exit(EXIT_WRONG if sent.message.send_status is SendStatus.REFUSED else EXIT_UNKNOWN)


@main.command()
@of_message
@in_form
@said_in_one_sentence
def show(tag: str, form: Form) -> None:
    """What became of a message: each recipient's outcome, and the timeline of events behind it.

    CSV has the recipients only. Exits 1 if there is no such message.
    """
    with database_to_ask() as database:
        message, events = support.message(database, tag), support.events(database, tag)
        resolutions = support.resolutions(database, tag)
    match form:
        case Form.JSON:
            decided = [api_row({name: getattr(each, name) for name in OF_RESOLUTION}) for each in resolutions]
            text = json.dumps(MESSAGE.dump(message) | {"resolutions": decided})
            click.echo(f'{text[:-1]}, "events": [{", ".join(map(event_text, events))}]}}')
        case Form.CSV:
            write_csv(RECIPIENT_COLUMNS, recipient_rows(message, message.recipients))
        case Form.TABLE:
            terminal.show_message(out, message)
            terminal.show_resolutions(out, resolutions)
            terminal.show_events(out, events)


@main.command()
@of_message
@said_in_one_sentence
def cancel(tag: str) -> None:
    """Withdraw a message that is still queued. Exits 1 if it is not, and 3 if nobody can say."""
    with database_to_ask() as database:
        cancelled = cancel_message(database, tag)
    terminal.show_message(out, cancelled)
