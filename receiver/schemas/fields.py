"""What the fields of requests and of responses share."""

from datetime import datetime
from typing import Any

from marshmallow import fields

from receiver.core import times


def means(description: str, **more: object) -> dict[str, object]:
    """Metadata for the API's description of a field: a sentence, and perhaps further keywords of JSON Schema."""
    return {"description": description, **more}


def _parse(text: Any) -> datetime:
    """Returns the instant. Raises ValueError."""
    instant = times.parse(text)
    if instant is None:
        raise ValueError
    return instant


class InstantField(fields.DateTime):
    """An RFC 3339 time; without a zone it is UTC. Responses are in UTC and end in Z."""

    default_error_messages = {  # noqa: RUF012
        "invalid": "Must be an RFC 3339 time from 2000 to 2100, such as 2030-01-31T09:30:00Z."
    }
    SERIALIZATION_FUNCS = {"rfc3339": times.rfc3339}  # noqa: RUF012
    DESERIALIZATION_FUNCS = {"rfc3339": _parse}  # noqa: RUF012
    DEFAULT_FORMAT = "rfc3339"
