"""What the log says about requests: a line for every callback, and for other requests that write or fail."""

import time

from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars
from werkzeug.exceptions import HTTPException

from receiver.core.events import Event
from receiver.core.numbers import identifier
from receiver.core.tags import is_tag
from receiver.errors import ReceiverError
from receiver.events.committer import Stored
from receiver.log import contain_errors, get_logger, known_method
from receiver.web.authentication import caller
from receiver.web.problems import in_own_words

log = get_logger(__name__)

MOST_NAMED = 10
"""Elements of a callback whose tags and message ids are told."""

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

NOTEWORTHY = frozenset({401, 403, 408, 413})
"""What a client hardly does on purpose."""


@contain_errors(log)
def callback_stored(stored: Stored, size: int, seconds: float) -> None:
    """``size`` is the body's, in bytes; the seconds are those from the request's head to its answer."""
    tally = stored.tally
    events = [each for each in stored.elements[:MOST_NAMED] if isinstance(each, Event)]
    log.info(
        "callback",
        status=200,
        recorded=tally.recorded,
        duplicates=tally.duplicates,
        unlinked=tally.unlinked,
        unreadable=tally.unreadable,
        # The tags of others may be anything, so also numbers.
        tags=list({each.tag: None for each in events if each.tag and is_tag(each.tag)}),
        message_ids=list({identifier(each.message_id): None for each in events}),
        bytes=size,
        duration_ms=_milliseconds(seconds),
    )


def callback_refused(error: Exception, status: int, size: int, seconds: float, *, is_bare: bool) -> None:
    """``is_bare``: it came without credentials, as every first request of Bandwidth does."""
    write = log.debug if is_bare and status == 401 else log.error if status == 500 else log.warning
    write("callback", status=status, reason=_reason(error), bytes=size, duration_ms=_milliseconds(seconds))


def request_refused_early(error: Exception, method: str, status: int) -> None:
    """Before its body was read."""
    log.warning("request", method=known_method(method), status=status, reason=_reason(error))


def register(app: Flask, *, callback_endpoint: str) -> None:
    """Says what Flask answered; ``callback_endpoint`` says itself what it stored."""

    def begin() -> None:
        g.started = time.monotonic()
        clear_contextvars()
        if name := caller():
            bind_contextvars(api_key=name)

    def end(response: Response) -> Response:
        seconds, is_failure = time.monotonic() - g.started, response.status_code >= 400
        if request.endpoint == callback_endpoint and request.method == "POST":
            if is_failure:
                is_bare = "Authorization" not in request.headers
                callback_refused(g.error, response.status_code, _size(), seconds, is_bare=is_bare)
        elif is_failure or request.method in WRITES:
            _request(response.status_code, seconds)
        return response

    app.before_request(begin)
    app.after_request(end)


def _request(status: int, seconds: float) -> None:
    write = log.error if status == 500 else log.warning if status > 500 or status in NOTEWORTHY else log.info
    route = request.url_rule.rule if request.url_rule else None  # never the path, into which a number can be put
    error = type(g.error).__name__ if "error" in g else None
    duration_ms = _milliseconds(seconds)
    write(
        "request",
        method=known_method(request.method),
        route=route,
        status=status,
        tag=g.get("tag"),
        error=error,
        bytes=_size(),
        duration_ms=duration_ms,
    )


def _size() -> int:
    return request.content_length or 0


def _reason(error: Exception) -> str | None:
    if isinstance(error, ReceiverError):
        return str(error)
    return in_own_words(error) if isinstance(error, HTTPException) else type(error).__name__


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
