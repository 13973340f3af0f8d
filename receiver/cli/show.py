"""`receiver show`."""

import json

import click

from receiver.cli.console import out
from receiver.cli.database import database_for_query
from receiver.cli.message_tables import print_events, print_message, print_resolutions
from receiver.cli.options import OutputFormat, output_options, tag_argument
from receiver.cli.output import RECIPIENT_COLUMNS, RESOLUTION_COLUMNS, api_row, recipient_rows, write_csv
from receiver.reports import support
from receiver.schemas.responses import MESSAGE, event_text


@click.command()
@tag_argument
@output_options
def show(tag: str, form: OutputFormat) -> None:
    """Show a message: its text, the outcome of each recipient, and the timeline of events.

    CSV has the recipients only. Exits 1 if there is no such message.
    """
    with database_for_query() as database:
        message, events = support.message(database, tag), support.events(database, tag)
        resolutions = support.resolutions(database, tag)
    match form:
        case OutputFormat.JSON:
            decided = [api_row({name: getattr(each, name) for name in RESOLUTION_COLUMNS}) for each in resolutions]
            text = json.dumps(MESSAGE.dump(message) | {"resolutions": decided})
            click.echo(f'{text[:-1]}, "events": [{", ".join(map(event_text, events))}]}}')
        case OutputFormat.CSV:
            write_csv(RECIPIENT_COLUMNS, recipient_rows(message, message.recipients))
        case OutputFormat.TABLE:
            print_message(out, message)
            print_resolutions(out, resolutions)
            print_events(out, events)
