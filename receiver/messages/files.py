"""Files of messages, CSV or TSV with a header or JSON Lines: every line is read and checked, and each is queued once.

A line is identified by the name of its file, its content, and the number of equal lines before it, not by its number.
So a file may be queued again after a run was killed, by two processes at once, or with lines added.
"""

import codecs
import csv
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from json import JSONDecodeError
from os.path import commonprefix
from typing import Any, BinaryIO, TypeVar

from receiver.core import numbers
from receiver.core.events import is_storable
from receiver.core.json_text import DECODER, find_fault
from receiver.core.messages import MAX_KEY, IdempotencyKey, OutboundMessage, fingerprint
from receiver.core.numbers import lost_its_digits, lost_its_plus
from receiver.errors import InvalidFields, WrongFile
from receiver.messages.sender import Sender
from receiver.schemas.requests import read_message
from receiver.settings import Settings

CHUNK = 200
"""The number of lines that one transaction queues."""

MOST_PROBLEMS = 100
"""The number of wrong lines that are reported; where there are more, most have the same cause."""


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

NOT_UTF_8 = "Not UTF-8; save the file in UTF-8."

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
        raise _BadLine("Nested too deeply; use fewer levels.") from error
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
            f"The number of cells is {len(cells)}, but the header has {len(fields)};"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFile:
    """The name, reference and settings that all lines of a file share."""

    name: str
    """Identifies its lines, together with their content."""
    reference: str
    """The beginning of the reference that a line without one gets; the line's number follows it."""
    settings: Settings
    """The settings from which a message gets its default fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLine:
    """A line with the message that it requests or, if it is invalid, with the problem."""

    number: int
    key: IdempotencyKey | None = None
    message: OutboundMessage | None = None
    problem: str = ""
    """One or more lines of text."""


@dataclass(slots=True)
class FileReport:
    """The numbers of lines in a file that were read, queued and invalid, and the first invalid lines."""

    lines: int = 0
    queued: int = 0
    """The number of lines that this run queued."""
    wrong: int = 0
    """The number of invalid lines, except those that were valid and queued in an earlier run."""
    first_wrong: list[CheckedLine] = dataclasses.field(default_factory=list)
    """The first MOST_PROBLEMS wrong lines."""
    references: list[str] = dataclasses.field(default_factory=list)
    """The text that the references of all messages begin with, as the only element; empty if there is no message."""


def queue_lines(sender: Sender, lines: Iterable[Line], file: MessageFile, *, dry_run: bool) -> FileReport:
    """Checks every line and, unless it is a ``dry_run``, queues the valid ones that were not queued before.

    Raises WrongFile if there is no line, and StorageUnavailable; a later run does not queue again what this one queued.
    """
    report, checked = FileReport(), check(lines, file)
    while chunk := list(islice(checked, CHUNK)):
        right = [(each.message, each.key) for each in chunk if each.message and each.key]
        wrong = _never_queued(sender, [each for each in chunk if not each.message])
        report.lines += len(chunk)
        report.queued += 0 if dry_run else sender.queue_all(right)
        report.wrong += len(wrong)
        report.first_wrong += wrong[: MOST_PROBLEMS - len(report.first_wrong)]
        references = report.references + [message.reference or "" for message, _ in right]
        report.references = [commonprefix(references)] if references else []  # noqa: RUF071 - not paths
    if not report.lines:
        raise WrongFile("The file contains no messages.")
    return report


def check(lines: Iterable[Line], file: MessageFile) -> Iterator[CheckedLine]:
    """Yields every line with its message, or with its problem."""
    occurrences: Counter[str] = Counter()
    for line in lines:
        if line.problem:
            yield CheckedLine(number=line.number, problem=line.problem)
            continue
        sha256 = fingerprint(line.body)
        occurrences[sha256] += 1
        key = _key(file.name, sha256, occurrences[sha256])
        try:
            message = read_message(_with_reference(line, file), file.settings)
        except InvalidFields as error:
            yield CheckedLine(number=line.number, key=key, problem=str(_with_remedies(error, line.body)))
        else:
            yield CheckedLine(number=line.number, key=key, message=message)


def _with_remedies(error: InvalidFields, body: Any) -> InvalidFields:
    """Returns the same errors with a remedy for each number that a spreadsheet has altered."""
    given = dict(body) if isinstance(body, dict) else {}
    to = given.pop("to", None)
    given |= {f"to[{place}]": number for place, number in enumerate(to)} if isinstance(to, list) else {}
    errors = {
        name: [*found, remedy] if (remedy := _remedy(name, given.get(name))) else found
        for name, found in error.errors.items()
    }
    return InvalidFields(errors)


def _remedy(name: str, number: Any) -> str | None:
    if not isinstance(number, str) or not (name == "from" or name.startswith("to[")):
        return None
    if lost_its_digits(number):
        return f"A spreadsheet shortened it to {number}; format the column as text there, and enter the number again."
    if lost_its_plus(number):
        return "It has no +; pass the country code, such as --country 1, or write the number with + and that code."
    return None


def _key(file: str, sha256: str, occurrence: int) -> IdempotencyKey:
    key = f"{file}:{sha256}:{occurrence}"
    if len(key) > MAX_KEY or not is_storable(key):
        key = fingerprint(key)
    return IdempotencyKey(api_key="", key=key, sha256=sha256, expires_at=None)


def _with_reference(line: Line, file: MessageFile) -> object:
    """Returns the body of the line, with a reference added if it has none. A tag in the body counts as a reference."""
    body = line.body
    if not isinstance(body, dict) or body.get("reference") is not None or body.get("tag") is not None:
        return body
    return body | {"reference": f"{file.reference}-{line.number}"}


def _never_queued(sender: Sender, wrong: list[CheckedLine]) -> list[CheckedLine]:
    """Returns the invalid lines, except those queued by an earlier run, such as before their expiration passed."""
    known = sender.known([each.key for each in wrong if each.key])
    return [each for each in wrong if each.key is None or each.key.identity not in known]
