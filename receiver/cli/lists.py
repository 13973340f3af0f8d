"""The lists: `receiver overdue`, `unlinked`, `unreadable`, `refused`, `unknown`, `failures`, `replies`, `opt-outs` and
`conversation`, each of which prints the newest rows of a support view."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import click

from receiver.cli.console import EXIT_WRONG, fail, out, progress, say
from receiver.cli.database import database_for_query
from receiver.cli.options import OutputFormat, limit_option, output_options
from receiver.cli.output import Row, api_name, api_row, note_more, write_csv, write_json
from receiver.cli.tables import print_rows
from receiver.core.numbers import meant_by
from receiver.core.text import pasted
from receiver.database.database import Database
from receiver.errors import StorageUnavailable
from receiver.events import replay as replaying
from receiver.reports import lists
from receiver.reports.lists import View
from receiver.schemas.responses import with_payload

LONGEST_CELL = 200
"""The most characters in a table's cell; a payload may have millions. JSON and CSV have all of them."""


@dataclass(frozen=True, slots=True)
class Listing:
    """How the rows of a support view are printed."""

    view: View
    name: str
    """The name of the array in JSON."""
    headings: Mapping[str, str]
    """The headings of the table, each with the view's column under it."""
    none: str
    """The sentence that is printed if there are no rows."""
    json_text: Callable[[Row], str] = json.dumps
    """Makes the JSON text of a row."""
    is_wrong: bool = True
    """Whether the command exits 1 if there are rows."""


OVERDUE = Listing(
    view=lists.OVERDUE,
    name="recipients",
    headings={
        "tag": "tag",
        "reference": "reference",
        "recipient": "recipient",
        "status": "status",
        "overdue since": "overdue_at",
    },
    none="No recipient is overdue.",
)
UNLINKED = Listing(
    view=lists.UNLINKED,
    name="events",
    headings={
        "received": "first_received_at",
        "event": "type",
        "recipient": "recipient",
        "message id": "message_id",
        "event tag": "event_tag",
    },
    none="No event is unlinked.",
    json_text=lambda row: with_payload({name: row[name] for name in row if name != "payload"}, row["payload"]),
)
UNREADABLE = Listing(
    view=lists.UNREADABLE,
    name="unreadable",
    headings={"received": "first_received_at", "deliveries": "deliveries", "why": "reason", "payload": "payload"},
    none="No element is unreadable.",
)
_MESSAGE_HEADINGS = {"created": "created_at", "tag": "tag", "reference": "reference", "why": "reason"}
REFUSED = Listing(view=lists.REFUSED, name="messages", headings=_MESSAGE_HEADINGS, none="No message was refused.")
UNKNOWN = Listing(view=lists.UNKNOWN, name="messages", headings=_MESSAGE_HEADINGS, none="No message is unknown.")
REPLIES = Listing(
    view=lists.REPLIES,
    name="replies",
    headings={
        "received": "first_received_at",
        "from": "sender",
        "to": "recipient",
        "text": "text",
        "media": "media",
    },
    none="There are no replies.",
    is_wrong=False,
)
OPT_OUTS = Listing(
    view=lists.OPT_OUTS,
    name="optOuts",
    headings={"since": "opted_out_at", "from": "sender", "to": "recipient", "word": "keyword"},
    none="Nobody has opted out.",
    is_wrong=False,
)
FAILURES = Listing(
    view=lists.FAILURES,
    name="failures",
    headings={"day": "day", "code": "error_code", "recipients": "recipients", "why": "reason", "what to do": "advice"},
    none="No recipient has failed.",
)
CONVERSATION_HEADINGS = {
    "time": "said_at",
    "our number": "our_number",
    "direction": "direction",
    "text": "text",
    "media": "media",
    "status": "status",
    "tag": "tag",
}


@click.command()
@limit_option
@output_options
def overdue(limit: int, form: OutputFormat) -> None:
    """List recipients whose outcome should be known by now, newest first. Exits 1 if there are any."""
    with database_for_query() as database:
        _print_list(database, OVERDUE, form, limit=limit)


@click.command()
@limit_option
@output_options
def unlinked(limit: int, form: OutputFormat) -> None:
    """List events that match no message, newest first. Exits 1 if there are any."""
    with database_for_query() as database:
        _print_list(database, UNLINKED, form, limit=limit)


@click.command()
@click.option("--replay", is_flag=True, help="First parse the elements again and store those that are now understood.")
@limit_option
@output_options
def unreadable(replay: bool, limit: int, form: OutputFormat) -> None:
    """List elements of callbacks that are not events, newest first. Exits 1 if there are any."""
    with database_for_query() as database:
        if replay:
            _replay(database)
        _print_list(database, UNREADABLE, form, limit=limit)


@click.command()
@limit_option
@output_options
def refused(limit: int, form: OutputFormat) -> None:
    """List messages that are known not to have been sent, and why, newest first. Exits 1 if there are any."""
    with database_for_query() as database:
        _print_list(database, REFUSED, form, limit=limit)


@click.command()
@limit_option
@output_options
def unknown(limit: int, form: OutputFormat) -> None:
    """List messages that may or may not have been sent, newest first. Exits 1 if there are any."""
    with database_for_query() as database:
        _print_list(database, UNKNOWN, form, limit=limit)


@click.command()
@limit_option
@output_options
def failures(limit: int, form: OutputFormat) -> None:
    """Count failed recipients by day (UTC) and error code, newest first. Exits 1 if there are any."""
    with database_for_query() as database:
        _print_list(database, FAILURES, form, limit=limit)


@click.command()
@limit_option
@output_options
def replies(limit: int, form: OutputFormat) -> None:
    """List the messages that people sent to our numbers, newest first."""
    with database_for_query() as database:
        _print_list(database, REPLIES, form, limit=limit)


@click.command()
@limit_option
@output_options
def opt_outs(limit: int, form: OutputFormat) -> None:
    """List numbers that sent STOP or an equivalent and have not opted in since, newest first."""
    with database_for_query() as database:
        _print_list(database, OPT_OUTS, form, limit=limit)


@click.command()
@click.argument("number")
@click.option("--ours", metavar="NUMBER", help="Only messages to or from this number of ours.")
@limit_option
@output_options
def conversation(number: str, ours: str | None, limit: int, form: OutputFormat) -> None:
    """Print all messages to and from a number, in chronological order.

    Exits 1 if there are none.
    """
    theirs, with_ours = meant_by(number), None if ours is None else [*meant_by(ours), pasted(ours)]
    if not theirs:
        raise click.BadParameter(f"{number!r} is not a telephone number such as +19195550101.")
    with database_for_query() as database, database.read() as session:
        rows = lists.conversation(session, theirs, with_ours, limit=limit + 1)
    shown, more = rows[:limit][::-1], len(rows) > limit
    match form:
        case OutputFormat.JSON:
            write_json("conversation", (json.dumps(api_row(row)) for row in shown), more=more)
        case OutputFormat.CSV:
            write_csv([api_name(each) for each in lists.CONVERSATIONS.columns], map(api_row, shown))
        case OutputFormat.TABLE if shown:
            print_rows(out, tuple(CONVERSATION_HEADINGS), _cells(shown, CONVERSATION_HEADINGS))
    if not shown:
        fail(f"There are no messages to or from {number}.", EXIT_WRONG)
    note_more(more)


def _print_list(database: Database, listing: Listing, form: OutputFormat, *, limit: int) -> None:
    """Prints the newest rows; exits 1 if there are any and they mean that something is wrong."""
    with database.read() as session:
        rows = lists.newest(session, listing.view, limit=limit + 1)
    shown, more = rows[:limit], len(rows) > limit
    match form:
        case OutputFormat.JSON:
            write_json(listing.name, (listing.json_text(api_row(row)) for row in shown), more=more)
        case OutputFormat.CSV:
            write_csv([api_name(column) for column in listing.view.columns], map(api_row, shown))
        case OutputFormat.TABLE if shown:
            print_rows(out, tuple(listing.headings), _cells(shown, listing.headings))
        case OutputFormat.TABLE:
            say(listing.none)
    note_more(more)
    if shown and listing.is_wrong:
        sys.exit(EXIT_WRONG)


def _cells(rows: Sequence[Row], headings: Mapping[str, str]) -> Iterator[list[object]]:
    return ([_shortened(row[column]) for column in headings.values()] for row in rows)


def _shortened(value: object) -> object:
    return f"{value[:LONGEST_CELL]}…" if isinstance(value, str) and len(value) > LONGEST_CELL else value


def _replay(database: Database) -> None:
    """Parses the stored elements again, and prints what became of them."""
    stored: Counter[str] = Counter()
    with progress() as bars:
        task = bars.add_task("replaying", total=replaying.count_unreadable(database))
        try:
            for batch in replaying.replay(database):
                stored.update(asdict(batch.stored))
                bars.advance(task, batch.rows)
        except StorageUnavailable as error:
            raise StorageUnavailable(f"{error} What was replayed so far is stored; run the command again.") from error
    counts = ", ".join(f"{name}: {stored[name]}" for name in ("recorded", "unlinked", "duplicates"))
    say(f"Replayed: {stored['recorded'] + stored['duplicates']}; {counts}.")
