"""What all views share: the services they use, the body of a request, and the headers of every response."""

from dataclasses import dataclass
from typing import Any, cast

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from receiver.core.json_text import DECODER, explain
from receiver.database.database import Database
from receiver.errors import NotJSON
from receiver.events.committer import Committer
from receiver.messages.sender import Sender
from receiver.settings import Settings

EXTENSION = "receiver"

HEADERS = {
    "Cache-Control": "no-store",  # responses hold numbers and texts
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # a path holds a tag
    "X-Content-Type-Options": "nosniff",
}
"""The headers of every response by name, which keep a browser from doing more with it than showing it; a view may set
another value. Strict-Transport-Security is not among them: it may only be sent over TLS (RFC 6797, section 7.2), which
ends at the proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that the views of one application share."""

    settings: Settings
    sender: Sender
    database: Database
    committing: Database
    """The committer's database: on PostgreSQL one with a connection of its own, on SQLite the same."""
    committer: Committer

    def close(self) -> None:
        """Stores the callbacks that were taken, then closes all connections."""
        self.committer.close()
        self.committing.close()
        self.database.close()


def services() -> Services:
    """The services of the application that serves the present request."""
    return cast("Services", current_app.extensions[EXTENSION])


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


def register(app: Flask) -> None:
    """Adds the headers to every response of the application."""
    app.after_request(complete)


def complete(response: Response) -> Response:
    """Adds those of the headers that the response lacks; returns it."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
