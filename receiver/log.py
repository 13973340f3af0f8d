"""The log of a running process: lines on stderr, as JSON for programs and as columns on a terminal.

A line is an event, a short constant sentence, and fields named like SQL's columns. Texts of messages, secrets and whole
telephone numbers are never fields. Lines of libraries have the same form and are reduced to what cannot quote anything.

A line is text as soon as it is logged, which takes 5 us of that thread and 6 us of the processor in all; another thread
writes many at once. The standard library's QueueHandler and QueueListener with structlog's ProcessorFormatter were
measured on the same line: they take 15 us and 26 us, because each line becomes a LogRecord and is written alone. Also,
``QueueListener.stop`` raises ``queue.Full`` when a bounded queue is full, waits for ever for a blocked terminal, and a
forked child keeps the parent's waiting lines without a thread that writes them.
"""

import atexit
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPMethod
from queue import SimpleQueue
from select import PIPE_BUF
from typing import Any

import msgspec
import structlog
from structlog.contextvars import merge_contextvars
from structlog.dev import ConsoleRenderer
from structlog.processors import add_log_level
from structlog.typing import FilteringBoundLogger

from receiver.errors import locate

Fields = MutableMapping[str, Any]
"""A line before it is written: ``timestamp`` (seconds since 1970), ``level``, ``logger``, ``event`` and its fields."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

FLOORS = {"_granian": logging.INFO, "granian.access": logging.INFO, "urllib3": logging.ERROR}
"""The lowest level that is logged of a library, by the prefix of its logger's name; WARNING for all others. Below it,
libraries quote rows and URLs; urllib3's warnings quote malformed responses."""

METHODS = frozenset(HTTPMethod)

MAX_WAITING = 10_000
"""Lines. Those that come while so many wait are dropped and counted."""

GATHER_SECONDS = 0.02
"""How long the writing thread collects lines, so that many are written at once."""

INDENTATION = "    "
"""Precedes the continuation of a line on a terminal."""

FLUSH_SECONDS = 1
"""How long a process that ends waits for a slow reader of its lines."""


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of a module. to_stderr() or silence() decides where its lines go."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def to_stderr(level: str = "info") -> None:
    """Makes a long-running process log to stderr. A process forked from it continues with the same writer."""
    writer = _current_writer() or Writer(sys.stderr.fileno(), colours=sys.stderr.isatty())
    structlog.configure(
        processors=[merge_contextvars, add_log_level, _complete],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=writer,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_LibraryHandler(writer, LEVELS[level])], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = lambda _kind, error, _traceback: _log_uncaught(error)
    threading.excepthook = lambda ended: _log_uncaught(ended.exc_value)
    atexit.register(flush)


def silence() -> None:
    """Makes a command log nothing: it prints its own errors, once."""
    logging.getLogger().addHandler(logging.NullHandler())
    structlog.configure(processors=[_drop])


@contextmanager
def contain_errors(log: FilteringBoundLogger) -> Iterator[None]:
    """Decorates a function that only counts or logs: its own errors are logged, not raised."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a bug here must not undo what has happened
        log.error("internal error", error=type(error).__name__, place=locate(error))  # noqa: TRY400


def flush() -> None:
    """Waits until the lines are written, at most FLUSH_SECONDS. granian ends its processes without Python's atexit."""
    if writer := _current_writer():
        writer.flush()


def _drop(_logger: object, _method: str, _fields: Fields) -> str:
    raise structlog.DropEvent


def _current_writer() -> "Writer | None":
    factory = structlog.get_config()["logger_factory"]
    return factory if isinstance(factory, Writer) else None


def _complete(logger: Any, _method: str, fields: Fields) -> tuple[tuple[Fields], dict[str, Any]]:
    fields["logger"], fields["timestamp"] = logger.name, time.time()
    return (fields,), {}


def _fields(level: str, logger: str, event: str, **more: Any) -> Fields:
    return {"timestamp": time.time(), "level": level, "logger": logger, "event": event, **more}


def _log_uncaught(error: BaseException | None) -> None:
    log = get_logger(__name__)
    log.critical("uncaught exception", error=type(error).__name__, place=error and locate(error))
    flush()


class Writer:
    """Writes lines to a file descriptor in a thread of its own, so that requests never wait for the log's reader."""

    def __init__(self, stream: int, *, colours: bool) -> None:
        self._stream = stream
        self._latest = (-1.0, "")
        """A second, and its instant as text without a fraction."""
        self._columns = ConsoleRenderer(colors=True, repr_native_str=True) if colours else None
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # A forked child has no thread, and the waiting lines are the parent's to write.
        self._waiting: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._dropped = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, name: str) -> "_ModuleLogger":
        """Returns a logger for structlog, which calls its logger factory like this."""
        return _ModuleLogger(name, self.add)

    def add(self, fields: Fields) -> None:
        """Queues a line, or drops and counts it if MAX_WAITING lines wait. Never blocks."""
        if self._waiting.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        try:
            self._waiting.put(self._line(fields))
        except Exception:  # noqa: BLE001 - a line that cannot be written must not stop the service
            self._dropped += 1
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Waits until all lines added before are written or dropped, at most FLUSH_SECONDS."""
        if self._thread is not None:
            written = threading.Event()
            self._waiting.put(written)
            written.wait(FLUSH_SECONDS)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            first = self._waiting.get()
            time.sleep(GATHER_SECONDS)
            batch = [first, *(self._waiting.get() for _ in range(self._waiting.qsize()))]
            lines = [each for each in batch if not isinstance(each, threading.Event)]
            try:
                for text in _chunks(self._with_drops(lines)):
                    self._write(text)
            except Exception:  # noqa: BLE001 - a closed pipe or a full disk must not stop the service
                self._dropped += len(lines)
            for each in batch:
                if isinstance(each, threading.Event):
                    each.set()

    def _with_drops(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        if not self._dropped:
            return lines
        dropped, self._dropped = self._dropped, 0
        return [*lines, self._line(_fields("warning", __name__, "log lines dropped", lines=dropped))]

    def _write(self, text: bytes) -> None:
        while text:
            text = text[os.write(self._stream, text) :]

    def _line(self, fields: Fields) -> bytes:
        """The line as it is written; made by the thread that logs it, which is quicker than handing the fields over."""
        second, fraction = divmod(fields.pop("timestamp"), 1)
        latest, text = self._latest
        if second != latest:  # else the instant begins like that of the line before
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._latest = (second, text)
        line: dict[str, Any] = {"timestamp": f"{text}.{int(fraction * 1_000_000):06}Z"}
        line |= {name: fields.pop(name) for name in ("level", "logger", "event")}
        line |= {name: value for name, value in fields.items() if value is not None}
        if self._columns is None:
            return _ENCODER.encode(line) + b"\n"
        return wrap(str(self._columns(None, "", line)), _width(self._stream)).encode() + b"\n"


_ENCODER = msgspec.json.Encoder(enc_hook=str)


class _ModuleLogger:
    """Receives a module's lines from structlog."""

    def __init__(self, name: str, add: Callable[[Fields], None]) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = add


def _chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Joins lines up to PIPE_BUF bytes, which a pipe takes in one piece: lines of several processes must not mix."""
    chunk = b""
    for line in lines:
        if chunk and len(chunk) + len(line) > PIPE_BUF:
            yield chunk
            chunk = b""
        chunk += line
    if chunk:
        yield chunk


def _width(stream: int) -> int | None:
    """The terminal's width in columns; None if the stream is no terminal or its width is unknown."""
    try:
        return os.get_terminal_size(stream).columns or None
    except OSError:
        return None


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def wrap(line: str, width: int | None) -> str:
    """The line broken at spaces to fit the terminal; a word longer than a terminal line stays whole."""
    if width is None:
        return line
    lines, length = [""], 0
    for word in line.split(" "):
        shown = len(_COLOUR.sub("", word))
        if length and length + 1 + shown > width:
            lines[-1] = lines[-1].rstrip()
            lines.append(INDENTATION + word)
            length = len(INDENTATION) + shown
        else:
            lines[-1] += f" {word}" if length or lines[-1] else word
            length += shown + (length > 0)
    return "\n".join(lines).rstrip()


class _LibraryHandler(logging.Handler):
    """Logs what libraries log: one line without telephone numbers, and only the kind and place of an exception."""

    def __init__(self, writer: Writer, level: int) -> None:
        super().__init__(level)
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        floor = next((FLOORS[each] for each in FLOORS if record.name.startswith(each)), logging.WARNING)
        if record.levelno < floor:
            return
        error = record.exc_info[1] if record.exc_info else None
        more = {"error": type(error).__name__, "place": locate(error)} if error else {}
        if record.name == "granian.access" and isinstance(record.args, Mapping):
            event, more = "request", _access(record.args)
        else:
            event = _printable(record.getMessage().partition("\n")[0])
        self._writer.add(_fields(record.levelname.lower(), record.name, event, **more))


def _access(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of granian's access log, without the query, which holds telephone numbers."""
    path = _printable(str(request["path"]))
    method = known_method(str(request["method"]))
    return {"method": method, "path": path, "status": request["status"], "duration_ms": round(request["dt_ms"], 2)}


def known_method(method: str) -> str:
    """The HTTP method, or ``other``: a client may send any string, so also a telephone number or a very long one."""
    return method if method in METHODS else "other"


def _printable(text: str) -> str:
    return without_numbers("".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text))


def shortened(number: str) -> str:
    """Returns ``…0101``, as a log shows a number: enough to distinguish members of a group, not enough to call one."""
    return "…" + number[len(number) - min(4, len(number) // 2) :]


_IN_TEXT = re.compile(r"(?:\+|%2[Bb]|(?<![0-9A-Za-z]))[0-9]{7,}", re.ASCII)


def without_numbers(text: str) -> str:
    """``text`` with everything shortened that may be a telephone number."""
    return _IN_TEXT.sub(lambda found: shortened(found[0]), text)


def identifier(text: str) -> str:
    """Returns a foreign identifier as a log shows it: everything that may be a telephone number is shortened."""
    return text if text.isalnum() and not text.isdecimal() else without_numbers(text)
