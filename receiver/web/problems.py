"""Errors as application/problem+json (RFC 9457). No traceback reaches a caller or the log."""

import json
import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from receiver.errors import InvalidFields, MessageNotFound, NotJSON, SchemaOutdated, StorageUnavailable, place

log = logging.getLogger(__name__)

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
    app.register_error_handler(Unauthenticated, _unauthenticated)
    app.register_error_handler(Forbidden, _forbidden)
    app.register_error_handler(InvalidFields, _invalid_fields)
    app.register_error_handler(NotJSON, lambda error: problem(400, str(error)))
    app.register_error_handler(MessageNotFound, lambda error: problem(404, str(error)))
    app.register_error_handler(StorageUnavailable, _unavailable)
    app.register_error_handler(SchemaOutdated, lambda error: problem(503, str(error)))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _unauthenticated(error: Unauthenticated) -> Response:
    detail = "The request has no credentials, or none that verify."
    return problem(401, detail, headers={"WWW-Authenticate": error.challenge})


def _forbidden(_error: Forbidden) -> Response:
    return problem(403, "This key may only read; use one of API_KEYS.")


def _invalid_fields(error: InvalidFields) -> Response:
    return problem(422, f"Wrong: {', '.join(sorted(error.errors))}.", errors=error.errors)


def _unavailable(error: StorageUnavailable) -> Response:
    return problem(503, str(error), headers={"Retry-After": RETRY_SECONDS})


def _http_error(error: HTTPException) -> Response:
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    return problem(error.code or 500, error.description or "", headers=headers)


def _unexpected(error: Exception) -> Response:
    log.error("%s %s: %s in %s", request.method, request.url_rule, type(error).__name__, place(error))
    return problem(500, "Something went wrong here; the log says where.")
