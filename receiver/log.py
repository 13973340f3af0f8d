"""What the program says while it runs: lines on stderr, JSON for programs and columns for a person at a terminal.

A line is an event, a short constant sentence, and fields named like SQL's columns. No text of a message, no secret and
no whole telephone number ever is a field. The lines of libraries come out alike, cut to what cannot quote anything.
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

from receiver.core import times
from receiver.core.numbers import without_numbers
from receiver.errors import place

Fields = MutableMapping[str, Any]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

FLOORS = {"_granian": logging.INFO, "granian.access": logging.INFO, "urllib3": logging.ERROR}
"""What libraries may say, by the beginning of their loggers' names; others warn. Below it they quote rows and URLs;
urllib3 warns of malformed answers by quoting them."""

METHODS = frozenset(HTTPMethod)

MOST_WAITING = 10_000
"""Lines. Those that come while so many wait are lost, and counted."""

GATHER_SECONDS = 0.02
"""How long lines are gathered, so that many are written at once."""

INDENTATION = "    "
"""Of what continues a line on a terminal."""

FLUSH_SECONDS = 1
"""How long the end of a process waits for whoever reads its lines."""


def get_logger(name: str) -> FilteringBoundLogger:
    """Of a module. Where its lines go, to_stderr() or silence() says."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def to_stderr(level: str = "info") -> None:
    """How a process logs that runs on and on. One that was forked from such a process goes on with its writer."""
    writer = _present() or Writer(sys.stderr.fileno(), colours=sys.stderr.isatty())
    structlog.configure(
        processors=[merge_contextvars, add_log_level, _complete],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=writer,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_FromLibraries(writer, LEVELS[level])], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = lambda _kind, error, _traceback: _say_fatal(error)
    threading.excepthook = lambda ended: _say_fatal(ended.exc_value)
    atexit.register(flush)


def silence() -> None:
    """How a command logs: it says itself what went wrong, once."""
    logging.getLogger().addHandler(logging.NullHandler())
    structlog.configure(processors=[_drop])


@contextmanager
def telling(log: FilteringBoundLogger) -> Iterator[None]:
    """Around what counts or logs that something happened: its own failure is logged, and undoes nothing."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a bug, and what is told of is done
        log.error("an error of this program", error=type(error).__name__, place=place(error))  # noqa: TRY400


def _drop(_logger: object, _method: str, _fields: Fields) -> str:
    raise structlog.DropEvent


def flush() -> None:
    """Returns when what was said is written, or nobody reads it: granian's processes end without Python's own end."""
    if writer := _present():
        writer.flush()


def _present() -> "Writer | None":
    found = structlog.get_config()["logger_factory"]
    return found if isinstance(found, Writer) else None


class Writer:
    """Writes lines in a thread of its own: who answers requests never waits for who reads the lines."""

    def __init__(self, stream: int, *, colours: bool) -> None:
        self._stream = stream
        self._columns = ConsoleRenderer(colors=True, repr_native_str=True) if colours else None
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._waiting: SimpleQueue[Fields | threading.Event] = SimpleQueue()
        self._lost = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, fields: Fields) -> None:
        if self._waiting.qsize() >= MOST_WAITING:
            self._lost += 1
            return
        self._waiting.put(fields)
        if self._thread is None:
            self._start()

    def __call__(self, name: str) -> "_Named":
        return _Named(name, self.add)

    def flush(self) -> None:
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
                for text in _joined(map(self._line, self._and_lost(lines))):
                    self._write(text)
            except Exception:  # noqa: BLE001 - nobody reads any longer, or the disk is full: the service goes on
                self._lost += len(lines)
            for each in batch:
                if isinstance(each, threading.Event):
                    each.set()

    def _and_lost(self, lines: Sequence[Fields]) -> Sequence[Fields]:
        if not self._lost:
            return lines
        lost, self._lost = self._lost, 0
        return [*lines, _fields("warning", __name__, "log lines were lost", lines=lost)]

    def _write(self, text: bytes) -> None:
        while text:
            text = text[os.write(self._stream, text) :]

    def _line(self, fields: Fields) -> bytes:
        instant = times.rfc3339(datetime.fromtimestamp(fields.pop("timestamp"), UTC))
        line = {"timestamp": instant, **{name: fields.pop(name) for name in ("level", "logger", "event")}}
        line |= {name: value for name, value in fields.items() if value is not None}
        if self._columns is None:
            return _ENCODER.encode(line) + b"\n"
        return wrap(str(self._columns(None, "", line)), _width(self._stream)).encode() + b"\n"


def _width(stream: int) -> int | None:
    """Of the terminal; None if it has none, or does not say."""
    try:
        return os.get_terminal_size(stream).columns or None
    except OSError:
        return None


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def wrap(line: str, width: int | None) -> str:
    """The line on as many of the terminal as it needs, without a break inside a word that fits into one."""
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


class _Named:
    """What structlog hands the lines of one module to."""

    def __init__(self, name: str, add: Callable[[Fields], None]) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = add


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Together as long as a pipe takes them in one piece: the lines of several processes must not mix."""
    together = b""
    for line in lines:
        if together and len(together) + len(line) > PIPE_BUF:
            yield together
            together = b""
        together += line
    if together:
        yield together


_ENCODER = msgspec.json.Encoder(enc_hook=str)


def _complete(logger: Any, _method: str, fields: Fields) -> tuple[tuple[Fields], dict[str, Any]]:
    fields["logger"], fields["timestamp"] = logger.name, time.time()
    return (fields,), {}


def _fields(level: str, logger: str, event: str, **more: Any) -> Fields:
    return {"timestamp": time.time(), "level": level, "logger": logger, "event": event, **more}


class _FromLibraries(logging.Handler):
    """What libraries say: one line without numbers, and of an exception its kind and place."""

    def __init__(self, writer: Writer, level: int) -> None:
        super().__init__(level)
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        floor = next((FLOORS[each] for each in FLOORS if record.name.startswith(each)), logging.WARNING)
        if record.levelno < floor:
            return
        error = record.exc_info[1] if record.exc_info else None
        more = {"error": type(error).__name__, "place": place(error)} if error else {}
        if record.name == "granian.access" and isinstance(record.args, Mapping):
            event, more = "request", _request(record.args)
        else:
            event = _harmless(record.getMessage().partition("\n")[0])
        self._writer.add(_fields(record.levelname.lower(), record.name, event, **more))


def _request(given: Mapping[str, Any]) -> dict[str, Any]:
    """A line of granian's access log; without the query, in which numbers stand."""
    path = _harmless(str(given["path"]))
    method = known_method(str(given["method"]))
    return {"method": method, "path": path, "status": given["status"], "duration_ms": round(given["dt_ms"], 2)}


def known_method(given: str) -> str:
    """A method of HTTP as a line shows it: a stranger may call it anything, so also a number, a line long."""
    return given if given in METHODS else "other"


def _harmless(text: str) -> str:
    return without_numbers("".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text))


def _say_fatal(error: BaseException | None) -> None:
    log = get_logger(__name__)
    log.critical("a thread ended in an error of this program", error=type(error).__name__, place=error and place(error))
    flush()
