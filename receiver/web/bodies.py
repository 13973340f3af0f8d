"""The body of a request, never longer than MAX_BODY_BYTES."""

from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from receiver.core.json_text import DECODER, explain
from receiver.errors import NotJSON
from receiver.web.services import services


def read_body() -> bytes:
    """The whole body, in bytes.

    Raises RequestEntityTooLarge; if the Content-Length is too high, before anything is read.
    """
    longest = services().settings.max_body_bytes
    # One byte more than is allowed: of a longer chunked body, Werkzeug returns the part that fits as if it were all.
    request.max_content_length = longest + 1
    body = request.get_data(cache=False)
    if len(body) > longest:
        raise RequestEntityTooLarge
    return body


def read_json() -> Any:
    """The value of the JSON body, whatever its content type. Raises NotJSON, also for NaN and Infinity (RFC 8259)."""
    body = read_body()
    try:
        return DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise NotJSON("The body is compressed; send it as it is, without Content-Encoding.") from error
        raise NotJSON(explain(body, error)) from error
