"""The log's lines about requests that write or fail. Callbacks have lines of their own; see callbacks.py."""

import time

from flask import Flask, Response, g, request
from structlog.contextvars import clear_contextvars
from werkzeug.exceptions import HTTPException

from receiver.errors import ReceiverError
from receiver.log import get_logger, known_method
from receiver.web.problems import in_own_words

log = get_logger(__name__)

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

NOTEWORTHY = frozenset({401, 403, 408, 413})
"""Statuses that a client hardly causes on purpose."""


def log_early_refusal(error: Exception, method: str, status: int) -> None:
    """Logs a request that was refused before its body was read."""
    log.warning("request", method=known_method(method), status=status, reason=reason(error))


def register(app: Flask, *, callback_endpoint: str) -> None:
    """Logs Flask's responses, except those of ``callback_endpoint``, which logs its own."""

    def begin() -> None:
        g.started = time.monotonic()
        clear_contextvars()

    def end(response: Response) -> Response:
        status, method = response.status_code, request.method
        if request.endpoint == callback_endpoint or (status < 400 and method not in WRITES):
            return response
        write = log.error if status == 500 else log.warning if status > 500 or status in NOTEWORTHY else log.info
        write(
            "request",
            method=known_method(method),
            # Never the path, into which a number can be put.
            route=request.url_rule.rule if request.url_rule else None,
            status=status,
            tag=g.get("tag"),
            error=type(g.error).__name__ if "error" in g else None,
            bytes=request.content_length or 0,
            duration_ms=round((time.monotonic() - g.started) * 1000, 2),
        )
        return response

    app.before_request(begin)
    app.after_request(end)


def reason(error: Exception) -> str | None:
    """Describes an error for the log, never with a text that may quote a number."""
    if isinstance(error, ReceiverError):
        return str(error)
    return in_own_words(error) if isinstance(error, HTTPException) else type(error).__name__
