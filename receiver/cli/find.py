"""`receiver find` and `receiver show`."""

import json
from collections.abc import Sequence

import click
from rich.text import Text

from receiver.cli.console import EXIT_WRONG, fail, out
from receiver.cli.database import database_for_query
from receiver.cli.options import OutputFormat, limit_option, output_options, tag_argument
from receiver.cli.output import (
    RECIPIENT_COLUMNS,
    RESOLUTION_COLUMNS,
    api_row,
    note_more,
    recipient_rows,
    write_csv,
    write_json,
)
from receiver.cli.tables import (
    add_row,
    format_outcome,
    format_time,
    new_table,
    note_unless_accepted,
    print_events,
    print_message,
    print_resolutions,
    print_table,
)
from receiver.reports import find as reports
from receiver.reports import support
from receiver.reports.find import Found, FoundBy
from receiver.schemas.responses import MESSAGE, event_text

NAMES = {
    FoundBy.TAG: "tag",
    FoundBy.REFERENCE: "reference",
    FoundBy.MESSAGE_ID: "message id",
    FoundBy.TO: "recipient",
    FoundBy.TO_ENDING: "last digits of a recipient",
    FoundBy.FROM: "sender",
}


@click.command()
@click.argument("word", metavar="NUMBER|REFERENCE|MESSAGE-ID|TAG")
@limit_option
@output_options
def find(word: str, limit: int, form: OutputFormat) -> None:
    """Find messages by number, reference, message id or tag, newest first.

    The command detects which of them was given. Exits 1 if no message matches.
    """
    with database_for_query() as database:
        found, more = reports.find(database, word, limit=limit)
    match form:
        case OutputFormat.JSON:
            write_json("messages", map(_message_json, found), more=more)
        case OutputFormat.CSV:
            rows = [
                {"foundBy": each.by} | row for each in found for row in recipient_rows(each.message, each.recipients)
            ]
            write_csv(("foundBy", *RECIPIENT_COLUMNS), rows)
        case OutputFormat.TABLE if found:
            _print_found(found)
    if not found:
        fail(f"No message has {word} as its tag, reference, message id, recipient or sender.", EXIT_WRONG)
    note_more(more)


def _message_json(found: Found) -> str:
    return json.dumps({"foundBy": found.by} | MESSAGE.dump(found.message))


def _print_found(found: Sequence[Found]) -> None:
    """Prints which fields matched, and a table with a row for each recipient in question."""
    kinds = dict.fromkeys(kind for each in found for kind in each.by)
    out.print(Text(f"Found by {' and '.join(NAMES[kind] for kind in kinds)}."), soft_wrap=True)
    table = new_table("created", "tag", "reference", "recipient", "status")
    for each in found:
        message = each.message
        for recipient in each.recipients:
            code = f" {recipient.error_code}" if recipient.error_code else ""
            status = format_outcome(recipient).append(code).append(note_unless_accepted(message.send_status))
            add_row(table, format_time(message.created_at), message.tag, message.reference, recipient.to, status)
    print_table(out, table)


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
