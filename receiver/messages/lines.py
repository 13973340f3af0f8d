"""The lines of a file of messages: CSV or TSV with a header, or JSON Lines, each with a body of ``POST /messages``.

``files`` checks and queues the lines; this module knows neither messages nor the database.
"""

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from json import JSONDecodeError
from typing import Any, BinaryIO, TypeVar

from receiver.core import numbers
from receiver.core.json_text import DECODER, find_fault
from receiver.errors import WrongFile


class FileFormat(StrEnum):
    """The format of a file."""

    CSV = "csv"
    TSV = "tsv"
    """CSV with tabs."""
    JSONL = "jsonl"


SUFFIXES = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.TSV,
    ".tab": FileFormat.TSV,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
}

WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers"})
"""The suffixes of spreadsheets' native files."""

NO_WORKBOOK = "This is a spreadsheet's native file; save it as CSV in UTF-8, and pass that file."
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""The first bytes of these files, whatever their names."""

SEPARATORS = {"to": re.compile(r"[\s;]+"), "media": re.compile(r"\s+")}
"""The fields that take several values, and what separates the values in a cell; such a field may also have several
columns. A semicolon does not separate URLs, because it may be part of one."""

JOINED_URLS = re.compile(r"(?:^|\s);|;(?=https?://|\s|$)", re.IGNORECASE)
"""Semicolons that were meant to separate URLs."""

FIELDS = (*sorted(SEPARATORS), "from", "text", "applicationId", "priority", "expiration", "reference", "tag")

DELIMITERS = ",;\t"
"""The separators that a CSV file may have: spreadsheets write semicolons where the comma is the decimal point."""

NOT_UTF_8 = "Not UTF-8; save the file in that encoding."

RawLine = TypeVar("RawLine", str, list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the file: a body, or the problem that prevents reading one. It may span several physical lines."""

    number: int
    """The number of the physical line where it begins, from 1."""
    body: Any = None
    """The body of ``POST /messages`` that the line stands for; not validated."""
    problem: str | None = None
    """Why the line cannot be read."""


class _BadLine(Exception):
    """The line cannot be read; the message says why."""


def read_lines(
    file: BinaryIO, form: FileFormat, columns: Mapping[str, str], *, country: str | None = None
) -> Iterator[Line]:
    """Yields every line that is not blank.

    ``columns`` maps names of CSV columns to fields; a column mapped to the empty field is ignored. ``country`` is the
    country code of numbers that are written without a plus sign. Raises WrongFile if the header cannot be understood,
    or if the file is a spreadsheet's native file.
    """
    text = _PhysicalLines(file)
    if form is FileFormat.JSONL:
        return _lines(text, text, lambda line: _json_body(line, country))
    return _csv_lines(text, columns, "\t" if form is FileFormat.TSV else DELIMITERS, country)


class _PhysicalLines(Iterator[str]):
    """The physical lines of a file in UTF-8, with or without a byte order mark."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = iter(file)
        self.number = 0
        """The number of the line that was read last, from 1."""

    def __next__(self) -> str:
        line = next(self._file)
        self.number += 1
        if self.number == 1 and line.startswith(_WORKBOOKS):
            raise WrongFile(NO_WORKBOOK)
        return (line.removeprefix(codecs.BOM_UTF8) if self.number == 1 else line).decode()


def _lines(text: _PhysicalLines, raw: Iterator[RawLine], read: Callable[[RawLine], Any]) -> Iterator[Line]:
    """Yields a Line for every raw line, which ``raw`` takes from one or more physical lines of ``text``."""
    while True:
        number = text.number + 1
        try:
            line = next(raw)
            if "".join(line).strip():
                yield Line(number=number, body=read(line))
        except StopIteration:
            return
        except UnicodeDecodeError:
            yield Line(number=number, problem=NOT_UTF_8)
        except csv.Error as error:
            yield Line(number=number, problem=f"Not CSV: {error}.")
        except _BadLine as error:
            yield Line(number=number, problem=str(error))


def _json_body(line: str, country: str | None) -> Any:
    try:
        body = DECODER.decode(line.rstrip())
    except JSONDecodeError as error:
        fault, position = find_fault(line.rstrip(), error)
        raise _BadLine(f"Not JSON at character {position + 1}: {fault}.") from error
    except RecursionError as error:
        raise _BadLine("Nested too deeply.") from error
    if country and isinstance(body, dict):
        if isinstance(to := body.get("to"), list):
            body["to"] = [_number(each, country) if isinstance(each, str) else each for each in to]
        if isinstance(sender := body.get("from"), str):
            body["from"] = _sender(sender, country)
    return body


def _number(text: str, country: str | None) -> str:
    """Returns the number in E.164 if the text can only mean that one, otherwise the text unchanged."""
    return numbers.written_for(text, country) or text


def _sender(text: str, country: str | None) -> str:
    """Like _number(), but keeps a short code, which is not a number that lost its plus sign."""
    return text if numbers.is_sender(text) else _number(text, country)


def _numbers(cell: str, country: str | None) -> Iterator[str]:
    """Yields the numbers of a cell. A number that is written with blanks is not split at them."""
    for part in re.split(r"[;\r\n]+|(?<!\s)\s+(?=\S?\+)", cell):
        if number := numbers.written_for(part, country):
            yield number
        else:
            yield from (_number(each, country) for each in SEPARATORS["to"].split(part) if each)


_DECLARED = re.compile(r'"?sep=([,;\t])"?\s*', re.IGNORECASE)
"""The first line of a file that declares its separator, as Excel reads and writes it."""


def _csv_lines(
    text: _PhysicalLines, columns: Mapping[str, str], delimiters: str, country: str | None
) -> Iterator[Line]:
    try:
        filled = (line for line in text if line.strip())
        first = next(filled, None)
        if first is not None and (declared := _DECLARED.fullmatch(first)):
            delimiters, first = declared[1], next(filled, None)
        if first is None:
            return iter(())
        # csv.Sniffer guesses from the contents of cells. The names in a header contain no delimiter.
        delimiter = max(delimiters, key=lambda each: len(next(csv.reader([first], delimiter=each))))
        records = csv.reader(chain([first], text), delimiter=delimiter, strict=True)
        fields = _fields(next(records), columns)
    except UnicodeDecodeError as error:
        raise WrongFile(f"The header: {NOT_UTF_8}") from error
    except csv.Error as error:
        raise WrongFile(f"The header is not CSV: {error}.") from error
    return _lines(text, records, lambda cells: _csv_body(fields, cells, country))


def _fields(header: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """Returns the field of each column. Raises WrongFile."""
    known = {_plain(name): field for name, field in ({each: each for each in FIELDS} | dict(columns)).items()}
    unknown = [name for name in header if _plain(name) not in known]
    if unknown:
        raise WrongFile(
            f"The header has columns that are not fields of a message: {', '.join(map(repr, unknown))}."
            f" The fields are {', '.join(FIELDS)}. Map a column to a field with --column 'NAME=FIELD',"
            " or ignore it with --column 'NAME='."
        )
    fields = [known[_plain(name)] for name in header]
    if "to" not in fields:
        raise WrongFile("The header has no column 'to'; map one to it with --column 'NAME=to'.")
    if twice := {each for each in fields if fields.count(each) > 1} - SEPARATORS.keys() - {""}:
        raise WrongFile(f"The header has two columns for {', '.join(sorted(twice))}.")
    return fields


def _plain(name: str) -> str:
    return name.strip().casefold()


def _csv_body(fields: Sequence[str], cells: Sequence[str], country: str | None) -> dict[str, Any]:
    if len(cells) != len(fields):
        raise _BadLine(
            f"The cell count is {len(cells)}, but the header has {len(fields)};"
            " quote every cell that contains the separator or a line break."
        )
    body: dict[str, Any] = {}
    for field, cell in zip(fields, cells, strict=True):
        if field == "media" and JOINED_URLS.search(cell.strip()):
            raise _BadLine("media: Separate URLs with spaces, not semicolons; write a semicolon in a URL as %3B.")
        if field == "to":
            body[field] = [*body.get(field, []), *_numbers(cell, country)]
        elif field == "from" and cell.strip():
            body[field] = _sender(cell.strip(), country)
        elif field in SEPARATORS:
            body[field] = body.get(field, []) + [each for each in SEPARATORS[field].split(cell) if each]
        elif field and cell.strip():
            body[field] = cell if field == "text" else cell.strip()
    return {field: value for field, value in body.items() if value}
