"""The body of a create-message request, checked as Bandwidth checks it.

Bandwidth, "Create message" reference. The sentences about `from`, `to` and `text` are those that the live API
returns; Bandwidth publishes none for the other fields, so theirs are in the same manner.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from receiver.core.messages import units
from receiver.simulator.refusals import request_validation

MOST_RECIPIENTS = 10
MOST_TEXT, MOST_URL, MOST_TAG = 2048, 4096, 1024  # characters

E164 = re.compile(r"\+[1-9][0-9]{1,14}")
SHORT_CODE = re.compile(r"[0-9]{3,8}")
# may hold a plus sign, but what begins with one is meant as a number: the live API says so of '+invalid'
SENDER_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 _&-][A-Za-z0-9 +_&-]{0,10}")

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRequest:
    """A request that Bandwidth accepts."""

    to: tuple[str, ...]
    """Distinct, in the request's order: what Bandwidth makes of a repeated number is not documented."""
    sender: str
    application_id: str
    text: str | None
    media: tuple[str, ...]
    tag: str | None
    priority: str
    expiration: str | None
    """As it was written."""

    @property
    def units(self) -> int:
        """How many messages the account's rate counts: one for each segment to each recipient."""
        return units(recipients=len(self.to), text=self.text, media=bool(self.media))

    @property
    def segments(self) -> int:
        return self.units // len(self.to)


def read(raw: bytes) -> MessageRequest:
    """Reads a body; raises Refusal 400 that names every field at fault."""
    fields = _decode(raw)
    errors = [(name, said) for name, check in CHECKS.items() for said in check(fields)]
    if errors:
        raise request_validation(errors)
    return MessageRequest(
        to=tuple(dict.fromkeys(_listed(fields.get("to")))),
        sender=_listed(fields["from"])[0],
        application_id=fields["applicationId"],
        text=fields.get("text"),
        media=tuple(fields.get("media") or ()),
        tag=fields.get("tag"),
        priority=fields.get("priority") or "default",
        expiration=fields.get("expiration"),
    )


def _decode(raw: bytes) -> Fields:
    try:
        body = json.loads(raw, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise request_validation() from None
    if not isinstance(body, dict):
        raise request_validation()
    return body


def _not_json(constant: str) -> NoReturn:
    raise ValueError(constant)


def _listed(value: object) -> list[Any]:
    """Numbers come as an array or as one bare string; null and the empty string are none."""
    if isinstance(value, list):
        return value
    return [] if value is None or value == "" else [value]


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _application_id(fields: Fields) -> Iterator[str]:
    if not (isinstance(fields.get("applicationId"), str) and fields["applicationId"]):
        yield "'applicationId' is required"


def _expiration(fields: Fields) -> Iterator[str]:
    if fields.get("expiration") is None:
        return
    try:
        future = datetime.fromisoformat(fields["expiration"]) > datetime.now(UTC)
    except (TypeError, ValueError):  # a comparison with a time that names no zone is a TypeError
        yield "'expiration' must be a valid RFC-3339 date-time"
        return
    if not future:
        yield "'expiration' must be in the future"


def _from(fields: Fields) -> Iterator[str]:
    senders = _listed(fields.get("from"))
    if len(senders) != 1:
        yield "'from' must contain exactly one telephone number"
    elif not any(_matches(pattern, senders[0]) for pattern in (E164, SHORT_CODE, SENDER_ID)):
        yield f"'{senders[0]}' must be replaced with a valid E164 formatted telephone number"


def _media(fields: Fields) -> Iterator[str]:
    media = fields.get("media")
    if media is None:
        return
    if not isinstance(media, list) or not all(isinstance(url, str) and url for url in media):
        yield "'media' must be a list of URLs"
    elif any(len(url) > MOST_URL for url in media):
        yield f"'media' must contain URLs of at most {MOST_URL} characters"


def _priority(fields: Fields) -> Iterator[str]:
    if fields.get("priority") not in (None, "default", "high"):
        yield "'priority' must be one of 'default', 'high'"


def _tag(fields: Fields) -> Iterator[str]:
    tag = fields.get("tag")
    if tag is not None and not (isinstance(tag, str) and len(tag) <= MOST_TAG):
        yield f"'tag' must be a string of at most {MOST_TAG} characters"


def _text(fields: Fields) -> Iterator[str]:
    text = fields.get("text")
    if text is None or text == "":
        if not fields.get("media"):
            yield "'text' is required unless media is included"
    elif not (isinstance(text, str) and len(text) <= MOST_TEXT):
        yield f"'text' must be a string of at most {MOST_TEXT} characters"


def _to(fields: Fields) -> Iterator[str]:
    recipients = _listed(fields.get("to"))
    if not recipients:
        yield "'to' must contain at least one telephone number"
    if len(recipients) > MOST_RECIPIENTS:
        yield f"'to' must contain at most {MOST_RECIPIENTS} telephone numbers"
    for number in recipients:
        if not _matches(E164, number):
            yield f"'{number}' must be replaced with a valid E164 formatted telephone number"


CHECKS: dict[str, Callable[[Fields], Iterator[str]]] = {
    "applicationId": _application_id,
    "expiration": _expiration,
    "from": _from,
    "media": _media,
    "priority": _priority,
    "tag": _tag,
    "text": _text,
    "to": _to,
}
"""In the order in which the errors are listed, which is Bandwidth's: by name."""
