"""The application as granian calls it: callbacks at once, and Flask, in a pool of threads, for everything else.

Flask's own cost of a request is several times that of storing an event, so callbacks are answered before it. A request
that waits for its body, and a callback that waits for its commit, hold no thread here, only memory. The interface is
RSGI, granian's own (github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md), which lets a body be awaited
piece by piece.
"""

import asyncio
import io
import os
import signal
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from flask import Flask, Response
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # it is documented there
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, RequestTimeout
from werkzeug.wrappers import Response as WerkzeugResponse

from receiver import metrics
from receiver.errors import StorageUnavailable
from receiver.events.committer import WAIT_SECONDS, PendingCallback
from receiver.events.replies import ReplyReader
from receiver.log import flush
from receiver.web import callbacks, health, problems, request_log
from receiver.web.authentication import Access, principal_of
from receiver.web.views import Services, complete

ORPHAN_SECONDS = 1
"""How often a worker checks that its parent still lives."""

LONG = 2**16
"""Bytes. A body as long as that is parsed by a thread, because it would hold up every other request of the loop; and
only one at a time, because its elements can take up a hundred times as much memory."""

TICK = 0.002
"""Seconds by which the loop's timers, which count whole milliseconds, may be early."""

CUT_SHORT = "The body is shorter than its Content-Length says; send it again."

UNREADABLE = "\xff"
"""Stands for the value of a header that is not ASCII."""


class Front:
    """The application as granian runs it; one in each worker process.

    ``threads`` is how many messages are sent at once, and how many other requests, callbacks aside, run beside them. A
    body that takes longer than ``body_seconds`` is refused. ``parent`` is the process that supervises this one.
    """

    def __init__(self, app: Flask, services: Services, *, threads: int, body_seconds: float, parent: int) -> None:
        self._app = app
        self._router = app.url_map.bind("")
        self._services = services
        self._body_seconds = body_seconds
        self._parent = parent
        # Bandwidth may take half a minute for each, and a database that hangs nearly 10 seconds for each of the others:
        # the liveness check must wait for none of them, or the process would be restarted in vain.
        self._alive = ThreadPoolExecutor(1, thread_name_prefix="alive")
        self._senders = ThreadPoolExecutor(threads, thread_name_prefix="sender")
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="flask")
        self._parsers = ThreadPoolExecutor(1, thread_name_prefix="parser")
        self._replies = ReplyReader(services.database)
        self._loop: Any = None
        self._done: deque[tuple[asyncio.Future[PendingCallback], PendingCallback]] = deque()
        """Callbacks that the committer is done with, and the loop has not resumed yet."""
        self._is_woken = False

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._replies.start()
        loop.call_later(ORPHAN_SECONDS, self._end_with_parent)  # a signal is lost on a loop that does not run yet

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        self._alive.shutdown()
        self._senders.shutdown()
        self._threads.shutdown()
        self._parsers.shutdown()
        self._replies.close()
        self._services.close()
        metrics.write_counts()
        flush()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        is_plain = scope.path == callbacks.PATH and scope.method == "POST"  # the router says the same, only later
        endpoint = callbacks.ENDPOINT if is_plain else self._endpoint(scope)
        if endpoint != callbacks.ENDPOINT:
            await self._pass_to_flask(scope, protocol, is_alive=endpoint == health.LIVE)
            return
        await callbacks.receive(
            self._services.settings,
            authorization=scope.headers.get("authorization") or "",
            content_type=scope.headers.get("content-type") or "",
            read=partial(self._read, scope, protocol),
            store=partial(self._store, until=self._loop.time() + WAIT_SECONDS),
            respond=protocol.response_bytes,
        )

    def _endpoint(self, scope: Any) -> str | None:
        """Returns the endpoint of the view that Flask would call; None if there is none.

        Only Flask's router may say what a path means: a callback that only Flask took for one would come there without
        its body.
        """
        try:
            endpoint, _ = self._router.match(scope.path, scope.method)
        except HTTPException:
            return None
        return str(endpoint)

    async def _pass_to_flask(self, scope: Any, protocol: Any, *, is_alive: bool) -> None:
        """Any other route. No thread waits for a body, and the body of a request without a key is not read at all."""
        try:
            found = principal_of(self._services.settings, scope.headers.get("authorization") or "")
            body = b"" if found.access is Access.PUBLIC else await self._read(scope, protocol)
        except HTTPException as error:
            response = problems.respond_to(error, scope.method)
            _respond(protocol, response)
            request_log.log_early_refusal(error, scope.method, response.status_code)
        else:
            others = self._alive if is_alive else self._threads
            threads = self._senders if scope.method == "POST" else others
            call_flask = partial(WerkzeugResponse.from_app, self._app, _environ(scope, body), buffered=True)
            flask_response = await self._loop.run_in_executor(threads, call_flask)
            protocol.response_bytes(flask_response.status_code, list(flask_response.headers), flask_response.get_data())

    async def _store(self, body: bytes, *, until: float) -> PendingCallback:
        """What Committer.receive() does, without a thread. Gives up at ``until``, in seconds of the loop's clock."""
        waiting: asyncio.Future[PendingCallback] = self._loop.create_future()
        too_late = self._loop.call_at(until, _give_up, waiting)
        done = partial(self._resume_later, waiting)
        try:
            if len(body) < LONG:
                self._services.committer.submit(body, done)
            else:
                self._parsers.submit(self._submit, body, done)
            return await waiting
        finally:
            too_late.cancel()

    def _submit(self, body: bytes, done: Callable[[PendingCallback], None]) -> None:
        try:
            self._services.committer.submit(body, done)
        except Exception as error:  # noqa: BLE001 - the coroutine that waits raises it
            done(PendingCallback(len(body), done, error=error))

    def _resume_later(self, waiting: asyncio.Future[PendingCallback], callback: PendingCallback) -> None:
        """Called in another thread. The committer ends many callbacks at once, of which the first wakes the loop."""
        self._done.append((waiting, callback))
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # the loop is closed, and with it every connection
                self._loop.call_soon_threadsafe(self._resume)

    def _resume(self) -> None:
        self._is_woken = False  # before anything is taken: a callback that is added later wakes the loop again
        while self._done:
            waiting, callback = self._done.popleft()
            if not waiting.done():
                waiting.set_result(callback)

    async def _read(self, scope: Any, protocol: Any) -> bytes:
        """The body.

        Raises RequestEntityTooLarge, by its Content-Length before anything is read, RequestTimeout, and BadRequest for
        a body that is cut short.
        """
        longest = self._services.settings.max_body_bytes
        given = scope.headers.get("content-length")
        expected = int(given) if given is not None and given.isdigit() else None
        if expected is None and "transfer-encoding" not in scope.headers:
            return b""  # RFC 9112, section 6.3
        if expected is not None and expected > longest:
            raise RequestEntityTooLarge
        until = self._loop.time() + self._body_seconds
        task: Any = asyncio.current_task()
        # As asyncio.timeout() does it; that took a tenth of all Python time of a callback.
        too_late = self._loop.call_at(until, task.cancel)
        try:
            body: bytes = await (_unmeasured(protocol, longest) if expected is None else protocol())
        except asyncio.CancelledError as error:
            if self._loop.time() < until - TICK:  # cancelled by something else
                raise
            task.uncancel()
            raise RequestTimeout("The body did not arrive in time; send it again.") from error
        except ProtocolClosed as error:
            raise BadRequest(CUT_SHORT) from error
        finally:
            too_late.cancel()
        if expected is not None and len(body) < expected:
            raise BadRequest(CUT_SHORT)
        return body

    def _end_with_parent(self) -> None:
        # Without their parent, granian's workers would serve on, and nothing could stop or replace them.
        if os.getppid() != self._parent:
            os.kill(os.getpid(), signal.SIGTERM)
        self._loop.call_later(ORPHAN_SECONDS, self._end_with_parent)


def _environ(scope: Any, body: bytes) -> dict[str, Any]:
    """The request as WSGI has it (PEP 3333)."""
    host, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    headers = scope.headers.items()
    # granian leaves out a value that is not ASCII: an Idempotency-Key like that must be refused, not overlooked.
    unreadable = set(scope.headers.keys()) - {name for name, _ in headers}
    for name, value in [*headers, *((name, UNREADABLE) for name in unreadable)]:
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def _give_up(waiting: asyncio.Future[PendingCallback]) -> None:
    if not waiting.done():
        waiting.set_exception(StorageUnavailable())


async def _unmeasured(protocol: Any, longest: int) -> bytes:
    """A body without a Content-Length. Raises RequestEntityTooLarge."""
    body = bytearray()
    async for piece in protocol:
        body += piece
        if len(body) > longest:
            raise RequestEntityTooLarge
    return bytes(body)


def _respond(protocol: Any, response: Response) -> None:
    protocol.response_bytes(response.status_code, list(complete(response).headers), response.get_data())
