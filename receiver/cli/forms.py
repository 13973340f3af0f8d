"""How answers are written: tables for people; for other programs JSON and CSV, with the field names of the API."""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import Enum, auto
from functools import wraps
from typing import Any

import click

from receiver.core import times
from receiver.core.numbers import is_e164
from receiver.core.tags import is_tag
from receiver.core.text import one_line, pasted
from receiver.messages.report import MessageReport, RecipientReport
from receiver.schemas.responses import MESSAGE, RecipientSchema

Row = Mapping[str, Any]


class Form(Enum):
    """What an answer is written as."""

    TABLE = auto()
    JSON = auto()
    CSV = auto()


def in_form(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options --json and --csv, of which it hears as ``form``."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a header.")
    @wraps(command)
    def formed(*args: Any, as_json: bool, as_csv: bool, **kwargs: Any) -> None:
        if as_json and as_csv:
            raise click.UsageError("--json and --csv exclude each other; give one of them.")
        command(*args, form=Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE, **kwargs)

    return formed


def of_message(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the argument TAG, which is read as the eye reads it, in either case."""

    def read(_context: click.Context, _argument: click.Parameter, given: str) -> str:
        seen = pasted(given).upper()
        return seen if is_tag(seen) else given

    return click.argument("tag", callback=read)(command)


def write_json(name: str, texts: Iterable[str], *, more: bool) -> None:
    """An object with an array of these JSON texts, one a line."""
    click.echo(f'{{"{name}": [' + ",\n".join(texts) + f'], "more": {json.dumps(more)}}}')


def write_csv(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """The header, and a line for each row."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    sys.stdout.flush()  # here, where it is noticed that nobody reads any more


_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\uff0b\uff0d\uff1d\uff20])")
"""Where a spreadsheet takes what follows for a formula (OWASP, "CSV Injection"). In much of Europe a semicolon ends a
cell, whatever is quoted in commas' way."""


def _cell(value: Any) -> str:
    """No cell is a formula: after an apostrophe it is text. A telephone number is none, and stays as it is."""
    if isinstance(value, bool):
        return json.dumps(value)
    words = value if isinstance(value, list) else ["" if value is None else value]
    text = one_line(" ".join(map(str, words)))
    return text if is_e164(text) else _FORMULA.sub(r"\1'", text)


_NAMES = {"recipient": "to", "sender": "from"}


def api_name(column: str) -> str:
    """What the API calls a column of the views."""
    first, *others = column.split("_")
    return _NAMES.get(column) or first + "".join(map(str.title, others))


def api_row(row: Row) -> dict[str, Any]:
    """A row of a view as the API would answer it."""
    return {api_name(column): _api_value(value) for column, value in row.items()}


def _api_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return times.rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    return None if value == "" else value  # the recipient of an event that names none


OF_RESOLUTION = ("send_status", "reason", "resolved_by", "resolved_at")
"""Columns of a resolution that are shown."""

OF_MESSAGE = ("tag", "reference", "messageId", "from", "sendStatus", "refusedBecause", "createdAt")
OF_RECIPIENT = tuple(field.data_key or name for name, field in RecipientSchema().dump_fields.items())
RECIPIENT_COLUMNS = (*OF_MESSAGE, *OF_RECIPIENT)


def recipient_rows(message: MessageReport, recipients: Sequence[RecipientReport]) -> list[dict[str, Any]]:
    """A row for each of these recipients of the message, for CSV."""
    whole = MESSAGE.dump(message)
    of_message = {name: whole[name] for name in OF_MESSAGE}
    return [of_message | each for each in RecipientSchema(many=True).dump(recipients)]
