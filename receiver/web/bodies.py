"""The body of a request, never longer than MAX_BODY_BYTES."""

import json
from typing import Any, NoReturn

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from receiver.errors import NotJSON
from receiver.web.services import services


def read_body() -> bytes:
    """The whole body. Raises RequestEntityTooLarge, by its Content-Length before anything is read."""
    longest = services().settings.max_body_bytes
    # One byte more is let in than is allowed: of a chunked body Werkzeug returns what fits, as if that were all.
    request.max_content_length = longest + 1
    body = request.get_data(cache=False)
    if len(body) > longest:
        raise RequestEntityTooLarge
    return body


def read_json() -> Any:
    """The body as JSON (RFC 8259: no NaN, no Infinity), whatever its content type says. Raises NotJSON."""
    try:
        return json.loads(read_body().decode(), parse_constant=_refuse_constant, parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise NotJSON("The body is not JSON.") from error


def _number(literal: str) -> int | float:
    # int() refuses more than 4,300 digits, which are JSON all the same.
    return int(literal) if len(literal) < 20 else float(literal)


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not a JSON number")
