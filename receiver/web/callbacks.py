"""The route registered with Bandwidth: one flow for a callback, whichever server received it.

Credentials, body, events, commit, response. 5xx means "send it again": Bandwidth does, for 24 hours.
"""

import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus

import msgspec
from flask import Blueprint, Response, request

from receiver import metrics
from receiver.bandwidth.callbacks import in_utf_8
from receiver.core.events import Event
from receiver.core.tags import SHAPE
from receiver.events.committer import PendingCallback
from receiver.log import contain_errors, get_logger, identifier
from receiver.settings import Settings
from receiver.web import problems
from receiver.web.authentication import Access, check_callback, requires
from receiver.web.request_log import reason
from receiver.web.views import HEADERS, complete, read_body, services

PATH, ENDPOINT = "/callbacks/bandwidth", "callbacks.receive"

JSON = [("content-type", "application/json"), *HEADERS.items()]

MOST_NAMED = 10
"""Elements of a callback whose tags and message ids are logged."""

OUR_TAG = re.compile(SHAPE)

Respond = Callable[[int, list[tuple[str, str]], bytes], object]
"""Sends a response: its status, headers and body."""

log = get_logger(__name__)
blueprint = Blueprint("callbacks", __name__)


async def receive(
    settings: Settings,
    *,
    authorization: str,
    content_type: str,
    read: Callable[[], Awaitable[bytes]],
    store: Callable[[bytes], Awaitable[PendingCallback]],
    respond: Respond,
) -> None:
    """Receives a callback: responds 200 only when its events are durable.

    The server hands over two headers of the request, both empty if they are missing, and three ways to go on: ``read``
    returns the body, ``store`` the callback once its elements are durable or have failed, ``respond`` sends a response.
    Every exception of the first two has a response, too.
    """
    started, body = time.monotonic(), b""
    try:
        check_callback(settings, authorization)
        body = await read()
        callback = await store(body if body.isascii() else in_utf_8(body, content_type))
        if callback.error:
            raise callback.error
    except Exception as error:  # noqa: BLE001 - as in Flask, every error has a response
        response = complete(problems.respond_to(error, f"POST {PATH}"))
        metrics.count_callback(response.status_code)
        respond(response.status_code, list(response.headers), response.get_data())
        _log_refused(error, response.status_code, len(body), time.monotonic() - started, is_bare=not authorization)
    else:
        metrics.count_callback(HTTPStatus.OK)
        # The counts are for people; Bandwidth ignores them.
        respond(HTTPStatus.OK, JSON, msgspec.json.encode(callback.tally))
        _log_stored(callback, len(body), time.monotonic() - started)


@contain_errors(log)
def _log_stored(callback: PendingCallback, size: int, seconds: float) -> None:
    """``size`` is the body's, in bytes; the seconds are those from the request's head to its response."""
    tally = callback.tally
    events = [each for each in callback.elements[:MOST_NAMED] if isinstance(each, Event)]
    log.info(
        "callback",
        status=200,
        recorded=tally.recorded,
        duplicates=tally.duplicates,
        unlinked=tally.unlinked,
        unreadable=tally.unreadable,
        # A foreign tag may be anything, so also a number.
        tags=list({each.tag: None for each in events if each.tag and OUR_TAG.fullmatch(each.tag)}),
        message_ids=list({identifier(each.message_id): None for each in events}),
        bytes=size,
        duration_ms=round(seconds * 1000, 2),
    )


def _log_refused(error: Exception, status: int, size: int, seconds: float, *, is_bare: bool) -> None:
    """``is_bare``: it came without credentials, as every first request of Bandwidth does."""
    write = log.debug if is_bare and status == 401 else log.error if status == 500 else log.warning
    write("callback", status=status, reason=reason(error), bytes=size, duration_ms=round(seconds * 1000, 2))


class _FlaskExchange:
    """The request that Flask serves in this thread, and its response."""

    response: Response

    async def read(self) -> bytes:
        return read_body()

    async def store(self, body: bytes) -> PendingCallback:
        return services().committer.receive(body)

    def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.response = Response(body, status, headers)


@blueprint.post(PATH, endpoint=ENDPOINT.rpartition(".")[2])
@requires(Access.CALLBACK)
def receive_by_flask() -> Response:
    """Receives a callback under any server but granian: one that has a thread for each request."""
    exchange = _FlaskExchange()
    flow = receive(
        services().settings,
        authorization=request.headers.get("Authorization", ""),
        content_type=request.headers.get("Content-Type", ""),
        read=exchange.read,
        store=exchange.store,
        respond=exchange.respond,
    )
    _run(flow)
    return exchange.response


def _run(flow: Coroutine[object, None, None]) -> None:
    """Runs a coroutine that waits in this thread alone, and so needs no event loop."""
    try:
        flow.send(None)
    except StopIteration:
        return
    raise RuntimeError("The coroutine waits for an event loop.")
