"""Errors as application/problem+json (RFC 9457). No traceback reaches a caller or the log."""

import json
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from receiver.errors import (
    FieldErrors,
    InvalidFields,
    KeyReused,
    MessageNotFound,
    NotJSON,
    NotQueued,
    SchemaOutdated,
    StorageUnavailable,
    TooFast,
    locate,
)
from receiver.log import get_logger

log = get_logger(__name__)

RETRY_SECONDS = "5"
"""Retry-After when the database did not respond; less than the database's own time-out."""

MAX_FIELDS, MAX_NAME = 5, 80
"""The most fields in ``detail``, and characters of a name there; ``errors`` has everything."""

SENTENCES: dict[type[HTTPException], str] = {
    NotFound: "There is no such path; /docs lists the paths that exist.",
    RequestEntityTooLarge: "The body is longer than MAX_BODY_BYTES; send less, or raise that setting.",
}


class Unauthenticated(Exception):
    """The request has no valid credentials."""

    def __init__(self, challenge: str, detail: str) -> None:
        super().__init__(detail)
        self.challenge = challenge
        """The WWW-Authenticate header of the response (RFC 9110, section 11.6.1)."""
        self.detail = detail
        """What is wrong with the credentials, and what to send."""


class Forbidden(Exception):
    """The key may only read."""


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """A response with a problem details object; ``members`` are further members of it."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(content | members), status, headers=headers, content_type="application/problem+json")


def sentence(text: str) -> str:
    """The text with a full stop, unless it ends with a mark already."""
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def summarize(errors: FieldErrors) -> str:
    """Summarizes the fields' errors, for clients that read only ``detail``."""
    texts = {name: " ".join(map(sentence, found)) for name, found in sorted(errors.items())[:MAX_FIELDS]}
    shown = [f"{_shortened(name)}: {words}" for name, words in texts.items()]
    more = len(errors) - len(shown)
    return " ".join([*shown, f"And {more} more; see errors."] if more else shown)


def _shortened(name: str) -> str:
    """The name of a field, which the client may have made up."""
    return (name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…") or "(empty name)"


def in_own_words(error: HTTPException) -> str:
    """Werkzeug's description of the error, or our own where Werkzeug has only its standard sentence."""
    if isinstance(error, MethodNotAllowed):
        allowed = sorted(set(error.valid_methods or ()) - {"HEAD"})
        return f"This path does not allow this method; it allows {' and '.join(allowed)}."
    return SENTENCES.get(type(error), error.description or "")


def register(app: Flask) -> None:
    """Turns every error of the application into a problem response."""

    def respond(error: Exception) -> Response:
        g.error = error
        return respond_to(error, f"{request.method} {request.url_rule}")

    app.register_error_handler(Exception, respond)


def respond_to(error: Exception, route: str) -> Response:
    """The response to a request for ``route`` that ended with this error."""
    match error:
        case Unauthenticated():
            return problem(401, error.detail, headers={"WWW-Authenticate": error.challenge})
        case Forbidden():
            return problem(403, "This key may only read; use one of API_KEYS.")
        case InvalidFields():
            return problem(422, summarize(error.errors), errors=error.errors)
        case NotJSON():
            return problem(400, str(error))
        case KeyReused():
            return problem(
                422, str(error), errors={"Idempotency-Key": ["Has been used with another body; use a new key."]}
            )
        case MessageNotFound():
            return problem(404, f"{error} GET /messages finds one by your reference or by Bandwidth's messageId.")
        case NotQueued():
            return problem(409, str(error), tag=error.tag, sendStatus=error.send_status)
        case TooFast():
            detail = f"{error} Or queue it now with `Prefer: respond-async`."
            return problem(429, detail, headers={"Retry-After": str(error.retry_after)})
        case StorageUnavailable():
            return problem(503, str(error), headers={"Retry-After": RETRY_SECONDS})
        case SchemaOutdated():
            return problem(503, str(error))
        case HTTPException():
            headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
            return problem(error.code or 500, in_own_words(error), headers=headers)
    log.error("internal error", route=route, error=type(error).__name__, place=locate(error))
    return problem(500, "An internal error occurred; the log shows where.")
