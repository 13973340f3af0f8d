"""`receiver results` and `receiver watch`, about all messages whose reference begins with a prefix."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import zip_longest

import click
from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from receiver.cli.console import EXIT_WRONG, fail, out, say
from receiver.cli.database import database_for_query
from receiver.cli.options import OutputFormat, output_options
from receiver.cli.output import RECIPIENT_COLUMNS, recipient_rows, write_csv, write_json
from receiver.cli.tables import (
    MEANING,
    add_row,
    colour,
    explain_outcome,
    format_outcome,
    new_table,
    note_unless_accepted,
    print_table,
)
from receiver.core.send_status import SendStatus
from receiver.core.status import RecipientStatus
from receiver.database.database import Database
from receiver.messages.outbox import MessageReport
from receiver.reports import results as reports
from receiver.reports.results import Summary
from receiver.schemas.responses import MESSAGE


@click.command()
@click.argument("reference_prefix")
@output_options
def results(reference_prefix: str, form: OutputFormat) -> None:
    """Print the outcomes of all messages whose reference begins with a prefix.

    They are sorted by reference; those of a file share its name as their prefix. Exits 1 if there are none.
    """
    with database_for_query() as database:
        found = list(reports.results(database, reference_prefix))
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
            status = format_outcome(each).append(note_unless_accepted(message.send_status))
            add_row(table, message.reference, each.to, status, each.error_code, explain_outcome(each))
    print_table(out, table)


def _read_seconds(_context: click.Context, _option: click.Parameter, given: float | None) -> float | None:
    if given is not None and math.isnan(given):  # which a range does not exclude
        raise click.BadParameter(f"{given} is not a number of seconds.")
    return given


@click.command()
@click.argument("reference_prefix")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    callback=_read_seconds,
    metavar="SECONDS",
    help="Stop after this many seconds.",
)
@click.option("--once", is_flag=True, help="Print the current state, and stop.")
def watch(reference_prefix: str, timeout: float | None, once: bool) -> None:
    """Show the progress of all messages whose reference begins with a prefix.

    Stops when all are complete. Exits 1 if there are none, if every missing outcome is overdue, or if one is missing
    when it stops.
    """
    if once and timeout is not None:
        raise click.UsageError("--once and --timeout are mutually exclusive.")
    with database_for_query() as database:
        last = _follow(database, reference_prefix, seconds=0 if once else timeout)
    if not last.messages:
        fail(f"No message has a reference that begins with {reference_prefix}.", EXIT_WRONG)
    if last.open:
        overdue = "; all of them are overdue" if last.open == last.overdue else ""
        fail(f"No final outcome yet for {last.open} of {last.total} recipients{overdue}.", EXIT_WRONG)


def _follow(database: Database, prefix: str, *, seconds: float | None) -> Summary:
    """Redraws the summary on a terminal, and prints a line for every change elsewhere. Returns the last one."""
    shown = None
    with Live(console=out) if out.is_terminal else nullcontext() as live:
        for summary in reports.watch(database, prefix, seconds=seconds):
            if live:
                live.update(_summary_panel(summary))
            elif summary.messages and summary != shown:
                say(_summary_line(summary), on=out)
            shown = summary
    assert shown is not None  # noqa: S101 - at least one is yielded
    return shown


def _summary_line(summary: Summary) -> str:
    overdue = f"; overdue: {summary.overdue}" if summary.overdue else ""
    return (
        f"messages: {_listed(summary.messages)}; recipients: {_listed(summary.recipients)};"
        f" complete: {summary.total - summary.open} of {summary.total}{overdue}"
    )


def _listed(counts: Mapping[SendStatus, int] | Mapping[RecipientStatus, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _summary_panel(summary: Summary) -> Group:
    """A table of the counts with a progress bar below it."""
    table = new_table("send status", "messages", "status", "recipients")
    for sent, reached in zip_longest(summary.messages.items(), summary.recipients.items(), fillvalue=("", "")):
        add_row(table, colour(sent[0]), sent[1], colour(reached[0]), reached[1])
    complete = Text(f"{summary.total - summary.open} of {summary.total} complete")
    overdue = Text(f"{summary.overdue} overdue" if summary.overdue else "", style="yellow")
    bar = ProgressBar(total=summary.total or 1, completed=summary.total - summary.open, width=40)
    return Group(table, Columns([bar, complete, overdue]))
