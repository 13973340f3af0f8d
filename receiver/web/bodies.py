"""The body of a request, never longer than MAX_BODY_BYTES."""

from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from receiver.core.json_text import DECODER, explain
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
    body = read_body()
    try:
        return DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise NotJSON("The body is compressed; send it as it is, without Content-Encoding.") from error
        raise NotJSON(explain(body, error)) from error
