"""Files of messages: every line is checked, and each is queued once. The module ``lines`` reads the file.

A line is identified by the name of its file, its content, and the number of equal lines before it, not by its number.
So a file may be queued again after a run was killed, by two processes at once, or with lines added.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from os.path import commonprefix
from typing import Any

from receiver.core.events import is_storable
from receiver.core.messages import MAX_KEY, IdempotencyKey, OutboundMessage, fingerprint
from receiver.core.numbers import lost_its_digits, lost_its_plus
from receiver.errors import InvalidFields, WrongFile
from receiver.messages.lines import Line
from receiver.messages.sender import Sender
from receiver.schemas.requests import read_message
from receiver.settings import Settings

CHUNK = 200
"""The number of lines that one transaction queues."""

MOST_PROBLEMS = 100
"""The number of wrong lines that are reported; where there are more, most have the same cause."""


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
    first_wrong: list[CheckedLine] = field(default_factory=list)
    """The first MOST_PROBLEMS wrong lines."""
    references: list[str] = field(default_factory=list)
    """The text that the references of all messages begin with, as the only element; empty if there is no message."""


def walk(sender: Sender, lines: Iterable[Line], file: MessageFile, *, queue: bool) -> FileReport:
    """Checks every line and, with ``queue``, queues the valid ones that were not queued before.

    Raises WrongFile if there is no line, and StorageUnavailable; a later run does not queue again what this one queued.
    """
    report, checked = FileReport(), check(lines, file)
    while chunk := list(islice(checked, CHUNK)):
        right = [(each.message, each.key) for each in chunk if each.message and each.key]
        wrong = _never_queued(sender, [each for each in chunk if not each.message])
        report.lines += len(chunk)
        report.queued += sender.queue_all(right) if queue else 0
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
        return "It has no +; pass the country code, for example --country 1, or write the number with + and that code."
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
    return [each for each in wrong if each.key is None or each.key.place not in known]
