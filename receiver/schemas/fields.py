"""Field types and validators of our JSON and our queries."""

import re
from datetime import datetime
from typing import Any

from marshmallow import ValidationError, fields, validate

from receiver.core import numbers, tags, times
from receiver.core.events import is_storable


def means(description: str, **more: object) -> dict[str, object]:
    """Metadata for the API's description of a field: a sentence, and perhaps further keywords of JSON Schema."""
    return {"description": description, **more}


class TextField(fields.String):
    """A string that a database can store."""

    default_error_messages = {"invalid": "Must be a string.", "null": "Must be a string."}  # noqa: RUF012

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if not is_storable(text):
            raise ValidationError("Must not contain NUL or a lone surrogate.")
        return text


class InstantField(fields.Field[datetime]):
    """An RFC 3339 time; without a zone it is UTC. Responses are in UTC and end in Z."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else times.rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        instant = times.parse(value)
        if instant is None:
            raise ValidationError("Must be an RFC 3339 time from 2000 to 2100, such as 2030-01-31T09:30:00Z.")
        return instant


class NumberField(TextField):
    """A telephone number in a query, where an unescaped ``+`` is decoded to a blank."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        return "+" + text[1:] if text.startswith(" ") else text


class CountField(fields.Field[int]):
    """An integer in a query: up to nine ASCII digits, and nothing else that int() would accept."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise ValidationError("Must be a number in digits.")
        return int(value)


def characters(shortest: int, longest: int) -> validate.Length:
    """A validator: the text has that many characters."""
    return validate.Length(shortest, longest, error="Must have {min} to {max} characters.")


class Shape:
    """A validator: the whole text matches a regular expression."""

    def __init__(self, pattern: str, error: str) -> None:
        self.regex = re.compile(f"^(?:{pattern})$")
        """The pattern in the API's description; apispec looks for this attribute."""
        self._error = error

    def __call__(self, value: str) -> None:
        if not self.regex.fullmatch(value):
            raise ValidationError(self._error)


IS_E164 = Shape(numbers.E164, "Must be an E.164 number such as +19195551234.")
IS_SENDER = Shape(numbers.SENDER, "Must be an E.164 number such as +19195551234, a short code or an alphanumeric id.")
# RFC 3986 allows ASCII only; of that neither white space nor a quotation mark.
_IN_URL = "[!#-~]"
IS_URL = Shape(
    rf"[Hh][Tt][Tt][Pp][Ss]?://(?:\[[0-9A-Fa-f:.]+\]|(?![/?#\[]){_IN_URL}){_IN_URL}*",
    "Must be an http or https URL; percent-encode white space, quotation marks and letters outside ASCII.",
)
IS_CURSOR = Shape(tags.SHAPE, "Must be the nextCursor of the page before.")
