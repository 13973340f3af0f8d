"""Finds messages for `receiver find` by one word, which may be a number, a reference, a message id or a tag."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from receiver.core.events import is_storable
from receiver.core.numbers import last_digits, meant_by
from receiver.core.text import pasted
from receiver.database.database import Database
from receiver.errors import MessageNotFound
from receiver.messages.outbox import MessageReport, RecipientReport
from receiver.reports import support
from receiver.reports.messages import MessageFilter


class FoundBy(StrEnum):
    """The field of a message that matched, under the API's name."""

    TAG = "tag"
    REFERENCE = "reference"
    MESSAGE_ID = "messageId"
    TO = "to"
    TO_ENDING = "toEnding"
    """The last four digits of a recipient's number, as people quote and logs show them."""
    FROM = "from"


@dataclass(frozen=True, slots=True)
class Found:
    """A message, and the fields of it that matched."""

    message: MessageReport
    by: Sequence[FoundBy]
    recipients: Sequence[RecipientReport]
    """Only those whose number matched, if nothing else did; otherwise all."""


def find(database: Database, word: str, *, limit: int) -> tuple[list[Found], bool]:
    """Returns the newest messages that ``word`` matches, at most ``limit``, and whether there are more."""
    found: dict[str, MessageReport] = {}
    by: dict[str, dict[FoundBy, None]] = {}  # an ordered set for each tag
    for field, messages in _by_every_field(database, word, limit=limit + 1):
        for each in messages:
            found[each.tag] = each
            by.setdefault(each.tag, {})[field] = None
    newest = sorted(found.values(), key=lambda each: (each.created_at, each.key), reverse=True)
    return [_found(each, list(by[each.tag]), word) for each in newest[:limit]], len(newest) > limit


def _by_every_field(database: Database, word: str, *, limit: int) -> Iterator[tuple[FoundBy, Sequence[MessageReport]]]:
    if not is_storable(word):  # then no message can have it
        return
    seen = pasted(word)
    with suppress(MessageNotFound):
        yield FoundBy.TAG, [support.message(database, seen.upper())]  # our tags are in capitals
    wanted = [
        *((FoundBy.REFERENCE, MessageFilter(reference=each)) for each in {word, word.strip(), seen}),
        *((FoundBy.MESSAGE_ID, MessageFilter(message_id=each)) for each in {word, word.strip(), seen, seen.lower()}),
        *((FoundBy.FROM, MessageFilter(sender=each)) for each in {word, seen}),
    ]
    for number in meant_by(word):
        wanted.append((FoundBy.TO, MessageFilter(to=number)))
        if number not in (word, seen):
            wanted.append((FoundBy.FROM, MessageFilter(sender=number)))
    for field, each in wanted:
        yield field, support.messages(database, each, limit=limit)
    if digits := last_digits(word):
        yield FoundBy.TO_ENDING, support.messages_by_last_digits(database, digits, limit=limit)


def _found(message: MessageReport, by: Sequence[FoundBy], word: str) -> Found:
    recipients: Sequence[RecipientReport] = message.recipients
    if by == [FoundBy.TO]:
        recipients = [each for each in recipients if each.to in meant_by(word)]
    elif by == [FoundBy.TO_ENDING]:
        recipients = [each for each in recipients if each.to.endswith(last_digits(word) or "")]
    return Found(message, by, recipients)
