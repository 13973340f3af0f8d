"""Errors as application/problem+json (RFC 9457). No traceback reaches a caller or the log."""

import json
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from receiver.errors import (
    InvalidFields,
    KeyReused,
    MessageNotFound,
    NotJSON,
    NotQueued,
    SchemaOutdated,
    StorageUnavailable,
    TooFast,
    place,
)
from receiver.logs import get_logger

log = get_logger(__name__)

RETRY_SECONDS = "5"
"""What a caller is told to wait when the database did not answer; less than its own time-out."""


class Unauthenticated(Exception):
    """The request has no credentials that verify."""

    def __init__(self, challenge: str) -> None:
        super().__init__(challenge)
        self.challenge = challenge
        """The WWW-Authenticate header to answer with (RFC 9110, section 11.6.1)."""


class Forbidden(Exception):
    """The key may only read."""


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """A problem details object; ``members`` are further members of it."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(content | members), status, headers=headers, content_type="application/problem+json")


def register(app: Flask) -> None:
    """Makes every error of the application a problem."""

    def answered(error: Exception) -> Response:
        g.error = error
        return answer(error, f"{request.method} {request.url_rule}")

    app.register_error_handler(Exception, answered)


def answer(error: Exception, route: str) -> Response:
    """The answer to a request for ``route`` that ended with this error."""
    match error:
        case Unauthenticated():
            detail = "The request has no credentials, or none that verify."
            return problem(401, detail, headers={"WWW-Authenticate": error.challenge})
        case Forbidden():
            return problem(403, "This key may only read; use one of API_KEYS.")
        case InvalidFields():
            return problem(422, f"Wrong: {', '.join(sorted(error.errors))}.", errors=error.errors)
        case NotJSON():
            return problem(400, str(error))
        case KeyReused():
            return problem(422, str(error), errors={"Idempotency-Key": ["Came with another body before."]})
        case MessageNotFound():
            return problem(404, str(error))
        case NotQueued():
            return problem(409, str(error), tag=error.tag, sendStatus=error.send_status)
        case TooFast():
            return problem(429, str(error), headers={"Retry-After": str(error.retry_after)})
        case StorageUnavailable():
            return problem(503, str(error), headers={"Retry-After": RETRY_SECONDS})
        case SchemaOutdated():
            return problem(503, str(error))
        case HTTPException():
            headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
            return problem(error.code or 500, error.description or "", headers=headers)
    log.error("an error of this program", route=route, error=type(error).__name__, place=place(error))
    return problem(500, "Something went wrong here; the log says where.")
