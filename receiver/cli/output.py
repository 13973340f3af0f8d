"""JSON and CSV for other programs, with the field names of the API."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import click

from receiver.cli.console import say
from receiver.core import times
from receiver.core.numbers import is_e164
from receiver.core.text import one_line
from receiver.messages.outbox import MessageReport, RecipientReport
from receiver.schemas.responses import MESSAGE, RecipientSchema

Row = Mapping[str, Any]


def write_json(name: str, texts: Iterable[str], *, more: bool) -> None:
    """Writes an object with the array ``name`` of these JSON texts, one a line, and whether there are more."""
    click.echo(f'{{"{name}": [' + ",\n".join(texts) + f'], "more": {json.dumps(more)}}}')


def write_csv(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Writes a header, and a line for each row."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    sys.stdout.flush()  # so that a broken pipe raises here


_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\uff0b\uff0d\uff1d\uff20])")
"""The places after which a spreadsheet takes text for a formula (OWASP, "CSV Injection"). In much of Europe a semicolon
ends a cell, even inside quotation marks that protect commas."""


def _cell(value: Any) -> str:
    """Returns the value as text that no spreadsheet evaluates: a formula, unlike a number, gets an apostrophe."""
    if isinstance(value, bool):
        return json.dumps(value)
    words = value if isinstance(value, list) else ["" if value is None else value]
    text = one_line(" ".join(map(str, words)))
    return text if is_e164(text) else _FORMULA.sub(r"\1'", text)


_NAMES = {"recipient": "to", "sender": "from"}


def api_name(column: str) -> str:
    """The API's name of a column of the support views."""
    first, *others = column.split("_")
    return _NAMES.get(column) or first + "".join(map(str.title, others))


def api_row(row: Row) -> dict[str, Any]:
    """A row of a support view with the names and values of the API."""
    return {api_name(column): _api_value(value) for column, value in row.items()}


def _api_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return times.rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    return None if value == "" else value  # the views' recipient of an event without one


RESOLUTION_COLUMNS = ("send_status", "reason", "resolved_by", "resolved_at")
"""The columns of a resolution that are printed."""

MESSAGE_COLUMNS = ("tag", "reference", "messageId", "from", "sendStatus", "refusedBecause", "createdAt")
"""The columns of a message that every row about one of its recipients repeats."""

RECIPIENT_COLUMNS = (*MESSAGE_COLUMNS, *(each.data_key or name for name, each in RecipientSchema().dump_fields.items()))
"""The columns of a row about a recipient."""


def recipient_rows(message: MessageReport, recipients: Sequence[RecipientReport]) -> list[dict[str, Any]]:
    """Returns a row of RECIPIENT_COLUMNS for each of these recipients of the message."""
    whole = MESSAGE.dump(message)
    repeated = {name: whole[name] for name in MESSAGE_COLUMNS}
    return [repeated | each for each in RecipientSchema(many=True).dump(recipients)]


def note_more(more: bool) -> None:
    """Prints a hint on stderr if there are more results than were printed."""
    if more:
        say("More results exist; raise --limit to see them.")
