"""`receiver results`."""

import json
from collections.abc import Sequence

import click

from receiver.cli.console import EXIT_WRONG, fail, out
from receiver.cli.database import database_for_query
from receiver.cli.message_tables import meaning, outcome, unless_accepted
from receiver.cli.options import OutputFormat, output_options
from receiver.cli.output import RECIPIENT_COLUMNS, recipient_rows, write_csv, write_json
from receiver.cli.tables import MEANING, add_row, new_table, print_table
from receiver.messages.report import MessageReport
from receiver.reports import support
from receiver.schemas.responses import MESSAGE


@click.command()
@click.argument("reference_prefix")
@output_options
def results(reference_prefix: str, form: OutputFormat) -> None:
    """Print the outcome of all messages whose reference begins with a prefix.

    They are sorted by reference; those of a file share its name as their prefix. Exits 1 if there are none.
    """
    with database_for_query() as database:
        found = list(support.results(database, reference_prefix))
    match form:
        case OutputFormat.JSON:
            write_json("messages", (json.dumps(MESSAGE.dump(each)) for each in found), more=False)
        case OutputFormat.CSV:
            write_csv(RECIPIENT_COLUMNS, (row for each in found for row in recipient_rows(each, each.recipients)))
        case OutputFormat.TABLE if found:
            _print_results(found)
    if not found:
        fail(f"No message has a reference that begins with {reference_prefix}.", EXIT_WRONG)


def _print_results(messages: Sequence[MessageReport]) -> None:
    """Prints a table with a row for each recipient."""
    table = new_table("reference", "recipient", "status", "code", MEANING)
    for message in messages:
        for each in message.recipients:
            status = outcome(each).append(unless_accepted(message.send_status))
            add_row(table, message.reference, each.to, status, each.error_code, meaning(each))
    print_table(out, table)
