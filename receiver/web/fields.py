"""Fields of our JSON and our queries."""

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

from receiver.core import numbers, times
from receiver.core.events import is_storable
from receiver.core.tags import is_tag


class Text(fields.String):
    """A string that a database takes."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if not is_storable(text):
            raise ValidationError("Must not contain NUL or a lone surrogate.")
        return text


class Instant(fields.Field[datetime]):
    """RFC 3339; without a zone it is UTC; answers are in UTC and end in Z."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else times.rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        instant = times.parse(value)
        if instant is None:
            raise ValidationError("Must be an RFC 3339 time from 2000 to 2100, such as 2030-01-31T09:30:00Z.")
        return instant


class Number(Text):
    """A telephone number in a query, where ``+`` reads as a space unless it was escaped."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        return "+" + text[1:] if text.startswith(" ") else text


class Count(fields.Field[int]):
    """A number in a query: a few ASCII digits, nothing else that int() would read."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise ValidationError("Must be a number in digits.")
        return int(value)


def check_e164(value: str) -> None:
    if not numbers.is_e164(value):
        raise ValidationError("Must be an E.164 number such as +19195551234.")


def check_sender(value: str) -> None:
    if not numbers.is_sender(value):
        raise ValidationError("Must be an E.164 number such as +19195551234, a short code or an alphanumeric id.")


def check_url(value: str) -> None:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or any(map(str.isspace, value)):
        raise ValidationError("Must be an http or https URL, without white space.")


def check_tag(value: str) -> None:
    if not is_tag(value):
        raise ValidationError("Must be the nextCursor of the page before.")
