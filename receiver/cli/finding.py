"""Commands that answer the questions of support: find messages, read a conversation, and list what is overdue, refused,
unknown, unlinked or unreadable, what people replied, who opted out, and what failed."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import click

from receiver import terminal
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
from receiver.core.numbers import meant_by
from receiver.core.text import pasted
from receiver.database.database import Database
from receiver.errors import StorageUnavailable
from receiver.events import replay as replaying
from receiver.reports import find as finding
from receiver.reports import lists
from receiver.reports.find import Found
from receiver.reports.lists import (
    FAILURES,
    OPT_OUTS,
    OVERDUE,
    REFUSED,
    REPLIES,
    UNKNOWN,
    UNLINKED,
    UNREADABLE,
    View,
    newest,
)
from receiver.schemas.responses import MESSAGE, with_payload

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
    is_wrong: bool = True
    """Whether the command exits 1 if there are any."""


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


_OF_MESSAGE = {"created": "created_at", "tag": "tag", "reference": "reference", "why": "reason"}
REFUSED_MESSAGES = Listing(view=REFUSED, name="messages", headings=_OF_MESSAGE, none="Nothing is refused.")
UNKNOWN_MESSAGES = Listing(view=UNKNOWN, name="messages", headings=_OF_MESSAGE, none="Nothing is unknown.")
INBOUND = Listing(
    view=REPLIES,
    name="replies",
    headings={
        "received": "first_received_at",
        "from": "sender",
        "to": "recipient",
        "text": "text",
        "media": "media",
    },
    none="Nobody has replied.",
    is_wrong=False,
)
OPTED_OUT = Listing(
    view=OPT_OUTS,
    name="optOuts",
    headings={"since": "opted_out_at", "from": "sender", "to": "recipient", "word": "keyword"},
    none="Nobody has opted out.",
    is_wrong=False,
)
FAILED = Listing(
    view=FAILURES,
    name="failures",
    headings={"day": "day", "code": "error_code", "recipients": "recipients", "why": "reason", "what to do": "advice"},
    none="Nothing has failed.",
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
@limited
@in_form
@said_in_one_sentence
def refused(limit: int, form: Form) -> None:
    """List messages that are known not to have been sent, and why; newest first. Exits 1 if there are any."""
    with database_to_ask() as database:
        _list(database, REFUSED_MESSAGES, form, limit=limit)


@main.command()
@limited
@in_form
@said_in_one_sentence
def unknown(limit: int, form: Form) -> None:
    """List messages of which nobody knows whether they were sent; newest first. Exits 1 if there are any."""
    with database_to_ask() as database:
        _list(database, UNKNOWN_MESSAGES, form, limit=limit)


@main.command()
@limited
@in_form
@said_in_one_sentence
def replies(limit: int, form: Form) -> None:
    """List what people wrote to us; newest first."""
    with database_to_ask() as database:
        _list(database, INBOUND, form, limit=limit)


@main.command(name="opt-outs")
@limited
@in_form
@said_in_one_sentence
def opt_outs(limit: int, form: Form) -> None:
    """List who answered STOP, or another word that means it, and has not opted in since; newest first."""
    with database_to_ask() as database:
        _list(database, OPTED_OUT, form, limit=limit)


@main.command()
@limited
@in_form
@said_in_one_sentence
def failures(limit: int, form: Form) -> None:
    """Count the recipients that failed, by day (UTC) and error code; newest first. Exits 1 if there are any."""
    with database_to_ask() as database:
        _list(database, FAILED, form, limit=limit)


@main.command()
@click.argument("number")
@click.option("--ours", metavar="NUMBER", help="Only with this number of ours.")
@limited
@in_form
@said_in_one_sentence
def conversation(number: str, ours: str | None, limit: int, form: Form) -> None:
    """Print everything that was said to and by a number, both ways, in the order in which it was said.

    Exits 1 if there is nothing.
    """
    theirs, with_ours = meant_by(number), None if ours is None else [*meant_by(ours), pasted(ours)]
    if not theirs:
        raise click.BadParameter(f"{number} is not a telephone number such as +19195550101.")
    with database_to_ask() as database, database.read() as session:
        rows = lists.conversation(session, theirs, with_ours, limit=limit + 1)
    shown, more = rows[:limit][::-1], len(rows) > limit
    match form:
        case Form.JSON:
            write_json("conversation", (json.dumps(api_row(row)) for row in shown), more=more)
        case Form.CSV:
            write_csv([api_name(each) for each in lists.CONVERSATIONS.columns], map(api_row, shown))
        case Form.TABLE if shown:
            cells = ([_beginning(row[column]) for column in CONVERSATION.values()] for row in shown)
            terminal.show_rows(out, tuple(CONVERSATION), cells)
    if not shown:
        end(f"Nothing was said to or by {number}.", EXIT_WRONG)
    _tell_of_more(more)


CONVERSATION = {
    "said": "said_at",
    "our number": "our_number",
    "direction": "direction",
    "text": "text",
    "media": "media",
    "status": "status",
    "tag": "tag",
}
"""Headings of the table of a conversation, and the column of the view under each."""


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


def _list(database: Database, wanted: Listing, form: Form, *, limit: int) -> None:
    with database.read() as session:
        rows = newest(session, wanted.view, limit=limit + 1)
    shown, more = rows[:limit], len(rows) > limit
    match form:
        case Form.JSON:
            write_json(wanted.name, (wanted.json_text(api_row(row)) for row in shown), more=more)
        case Form.CSV:
            write_csv([api_name(column) for column in wanted.view.columns], map(api_row, shown))
        case Form.TABLE if shown:
            cells = ([_beginning(row[column]) for column in wanted.headings.values()] for row in shown)
            terminal.show_rows(out, tuple(wanted.headings), cells)
        case Form.TABLE:
            say(wanted.none)
    _tell_of_more(more)
    if shown and wanted.is_wrong:
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
