"""Commands that answer the questions of support: find messages, and what is overdue, unlinked or unreadable."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import click

from receiver import finding, replaying, terminal
from receiver.cli.base import EXIT_WRONG, database_to_ask, end, main, out, progress, said_in_one_sentence, say
from receiver.cli.forms import (
    RECIPIENT_COLUMNS,
    Form,
    Row,
    api_name,
    api_row,
    in_form,
    recipient_rows,
    write_csv,
    write_json,
)
from receiver.errors import StorageUnavailable
from receiver.finding import Found
from receiver.storage.database import Database
from receiver.storage.listing import OVERDUE, UNLINKED, UNREADABLE, View, newest
from receiver.web.answers import MESSAGE
from receiver.web.events import with_payload

limited = click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="At most so many; the newest."
)

LONGEST_CELL = 200
"""Characters of a cell in a table: payloads may have millions. JSON and CSV have all."""


@main.command()
@click.argument("word", metavar="NUMBER|REFERENCE|MESSAGE-ID|TAG")
@limited
@in_form
@said_in_one_sentence
def find(word: str, limit: int, form: Form) -> None:
    """Find messages by a number, a reference, a message id or a tag, whichever it is; newest first.

    Exits 1 if there is none.
    """
    with database_to_ask() as database:
        found, more = finding.find(database, word, limit=limit)
    match form:
        case Form.JSON:
            write_json("messages", map(_message_json, found), more=more)
        case Form.CSV:
            rows = [
                {"foundBy": each.by} | row for each in found for row in recipient_rows(each.message, each.recipients)
            ]
            write_csv(("foundBy", *RECIPIENT_COLUMNS), rows)
        case Form.TABLE if found:
            terminal.show_found(out, found)
    if not found:
        end(f"No message has {word} as its tag, reference, message id, recipient or sender.", EXIT_WRONG)
    _tell_of_more(more)


def _message_json(found: Found) -> str:
    return json.dumps({"foundBy": found.by} | MESSAGE.dump(found.message))


@dataclass(frozen=True, slots=True)
class Listing:
    """How the rows of a view are shown."""

    view: View
    name: str
    """Of the array in JSON."""
    headings: Mapping[str, str]
    """Of the table, and the column of the view under each."""
    none: str
    """What to say when there are none."""
    json_text: Callable[[Row], str] = json.dumps
    """A row's JSON text."""


OVERDUE_RECIPIENTS = Listing(
    view=OVERDUE,
    name="recipients",
    headings={
        "tag": "tag",
        "reference": "reference",
        "recipient": "recipient",
        "status": "status",
        "overdue since": "overdue_at",
    },
    none="Nothing is overdue.",
)
UNLINKED_EVENTS = Listing(
    view=UNLINKED,
    name="events",
    headings={
        "received": "first_received_at",
        "event": "type",
        "recipient": "recipient",
        "message id": "message_id",
        "tag it came with": "event_tag",
    },
    none="Nothing is unlinked.",
    json_text=lambda row: with_payload({name: row[name] for name in row if name != "payload"}, row["payload"]),
)
UNREADABLE_ELEMENTS = Listing(
    view=UNREADABLE,
    name="unreadable",
    headings={"received": "first_received_at", "times": "deliveries", "why": "reason", "payload": "payload"},
    none="Nothing is unreadable.",
)


@main.command()
@limited
@in_form
@said_in_one_sentence
def overdue(limit: int, form: Form) -> None:
    """List recipients whose outcome should be known by now; newest first. Exits 1 if there are any."""
    with database_to_ask() as database:
        _list(database, OVERDUE_RECIPIENTS, form, limit=limit)


@main.command()
@limited
@in_form
@said_in_one_sentence
def unlinked(limit: int, form: Form) -> None:
    """List events that belong to no message of ours; newest first. Exits 1 if there are any."""
    with database_to_ask() as database:
        _list(database, UNLINKED_EVENTS, form, limit=limit)


@main.command()
@click.option("--replay", is_flag=True, help="First read them again, and record what this version understands.")
@limited
@in_form
@said_in_one_sentence
def unreadable(replay: bool, limit: int, form: Form) -> None:
    """List elements of callbacks that are no events; newest first. Exits 1 if there are any."""
    with database_to_ask() as database:
        if replay:
            _replay(database)
        _list(database, UNREADABLE_ELEMENTS, form, limit=limit)


def _list(database: Database, listing: Listing, form: Form, *, limit: int) -> None:
    with database.read() as session:
        rows = newest(session, listing.view, limit=limit + 1)
    shown, more = rows[:limit], len(rows) > limit
    match form:
        case Form.JSON:
            write_json(listing.name, (listing.json_text(api_row(row)) for row in shown), more=more)
        case Form.CSV:
            write_csv([api_name(column) for column in listing.view.columns], map(api_row, shown))
        case Form.TABLE if shown:
            cells = ([_beginning(row[column]) for column in listing.headings.values()] for row in shown)
            terminal.show_rows(out, tuple(listing.headings), cells)
        case Form.TABLE:
            say(listing.none)
    _tell_of_more(more)
    if shown:
        sys.exit(EXIT_WRONG)


def _beginning(value: object) -> object:
    return f"{value[:LONGEST_CELL]}…" if isinstance(value, str) and len(value) > LONGEST_CELL else value


def _tell_of_more(more: bool) -> None:
    if more:
        say("There are more: say with --limit how many to list.")


def _replay(database: Database) -> None:
    stored: Counter[str] = Counter()
    with progress() as bars:
        task = bars.add_task("reading again", total=replaying.kept(database))
        try:
            for batch in replaying.replay(database):
                stored.update(asdict(batch.stored))
                bars.advance(task, batch.rows)
        except StorageUnavailable as error:
            raise StorageUnavailable(f"{error} What was read again by now is stored; run this again.") from error
    words = ", ".join(f"{name}: {stored[name]}" for name in ("recorded", "unlinked", "duplicates"))
    say(f"Read again: {stored['recorded'] + stored['duplicates']}; {words}.")
