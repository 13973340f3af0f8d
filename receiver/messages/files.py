"""Queues the messages of a file: all of it is checked first, and each of its lines is queued once.

A line is known again by the name of its batch, by what it says, and by how many lines before it say the same: not by
its place. So a file may be given again after a run that was killed, by two at the same time, or with lines added.
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
"""Lines of one transaction."""

MOST_PROBLEMS = 100
"""Shown of a file; whoever has more has one cause for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the lines of a file have in common."""

    name: str
    reference: str
    """Begins the reference of a line that has none; its number is the end."""
    settings: Settings
    """Whose defaults apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A line, and the message that it asks for; if there is none, a problem is."""

    number: int
    key: IdempotencyKey | None = None
    message: OutboundMessage | None = None
    problem: str = ""
    """One or more lines of text."""


@dataclass(slots=True)
class Outcome:
    """What became of the lines of a file."""

    lines: int = 0
    queued: int = 0
    """Those that were queued just now."""
    wrong: int = 0
    """Those that never were queued and cannot be. All others had been queued before."""
    first_wrong: list[Checked] = field(default_factory=list)
    """The first MOST_PROBLEMS of those."""
    references: list[str] = field(default_factory=list)
    """The one text that the references of all messages begin with; none if there is no message."""


def walk(sender: Sender, lines: Iterable[Line], batch: Batch, *, queue: bool) -> Outcome:
    """Checks every line and, if ``queue``, queues what is right and was not queued before.

    Raises WrongFile when there is no line, and StorageUnavailable; what was queued by then is not queued again.
    """
    outcome, checked = Outcome(), check(lines, batch)
    while chunk := list(islice(checked, CHUNK)):
        right = [(each.message, each.key) for each in chunk if each.message and each.key]
        wrong = _never_queued(sender, [each for each in chunk if not each.message])
        outcome.lines += len(chunk)
        outcome.queued += sender.queue_all(right) if queue else 0
        outcome.wrong += len(wrong)
        outcome.first_wrong += wrong[: MOST_PROBLEMS - len(outcome.first_wrong)]
        references = outcome.references + [message.reference or "" for message, _ in right]
        outcome.references = [commonprefix(references)] if references else []  # noqa: RUF071 - no paths
    if not outcome.lines:
        raise WrongFile("The file holds no message.")
    return outcome


def check(lines: Iterable[Line], batch: Batch) -> Iterator[Checked]:
    """Every line with its message, or with its problem."""
    occurrences: Counter[str] = Counter()
    for line in lines:
        if line.problem:
            yield Checked(number=line.number, problem=line.problem)
            continue
        sha256 = fingerprint(line.asked)
        occurrences[sha256] += 1
        key = _key(batch.name, sha256, occurrences[sha256])
        try:
            message = read_message(_with_reference(line, batch), batch.settings)
        except InvalidFields as error:
            yield Checked(number=line.number, key=key, problem=str(_with_remedies(error, line.asked)))
        else:
            yield Checked(number=line.number, key=key, message=message)


def _with_remedies(error: InvalidFields, asked: Any) -> InvalidFields:
    """The same, and what to do about a number that a spreadsheet spoilt."""
    given = dict(asked) if isinstance(asked, dict) else {}
    to = given.pop("to", None)
    given |= {f"to[{place}]": number for place, number in enumerate(to)} if isinstance(to, list) else {}
    told = {
        name: [*found, remedy] if (remedy := _remedy(name, given.get(name))) else found
        for name, found in error.errors.items()
    }
    return InvalidFields(told)


def _remedy(name: str, number: Any) -> str | None:
    if not isinstance(number, str) or not (name == "from" or name.startswith("to[")):
        return None
    if lost_its_digits(number):
        return f"A spreadsheet shortened it to {number}: format that column as text there, and enter the number again."
    if lost_its_plus(number):
        return "It has no +; pass its country code, for example --country 1, or write it with + and that code."
    return None


def _key(batch: str, sha256: str, occurrence: int) -> IdempotencyKey:
    key = f"{batch}:{sha256}:{occurrence}"
    if len(key) > MAX_KEY or not is_storable(key):
        key = fingerprint(key)
    return IdempotencyKey(api_key="", key=key, sha256=sha256, expires_at=None)


def _with_reference(line: Line, batch: Batch) -> object:
    """What the line asks for; a tag is a reference too."""
    asked = line.asked
    if not isinstance(asked, dict) or asked.get("reference") is not None or asked.get("tag") is not None:
        return asked
    return asked | {"reference": f"{batch.reference}-{line.number}"}


def _never_queued(sender: Sender, wrong: list[Checked]) -> list[Checked]:
    """Those of the wrong lines that were not right, and queued, at another time: an expiration may have passed."""
    known = sender.known([each.key for each in wrong if each.key])
    return [each for each in wrong if each.key is None or each.key.place not in known]
