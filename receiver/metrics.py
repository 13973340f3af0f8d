"""Every metric of this program: its name, its unit and its meaning; and how Prometheus reads them.

An event is counted in the process in which it happens. The processes of one server share their counts in files of a
folder (prometheus-client's multiprocess mode), so each of them exposes the sum of all, ended ones included. There an
increment takes a few microseconds, so what callbacks count is added up first. All foreseeable series exist from
the start, at 0: Prometheus would miss the first increase of a series that begins later.

prometheus-client's own MultiProcessCollector(registry) and mark_process_dead() are not enough. A process that is killed
before its first write leaves a file of 0 bytes, on which the collector fails; the files are sparse memory maps, so a
full disk ends the process with SIGBUS; and granian has no hook in which the death of a worker could be marked, so its
gauge would be added for ever. So the room is reserved first, and empty files and gauges of dead processes are left out.
"""

import os
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from wsgiref.simple_server import WSGIRequestHandler

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from receiver import VERSION
from receiver.core.events import INBOUND_TYPES
from receiver.core.messages import Accepted, Refused, SendResult
from receiver.core.send_status import RefusedBecause
from receiver.core.status import STATED_TYPES, Disposition, RecipientStatus, is_failure, statement
from receiver.errors import CannotCount, CannotListen
from receiver.log import contain_errors, get_logger

log = get_logger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own variable: the folder in which processes share their counts."""

ROOM = 2**16
"""Bytes of a process's file, as prometheus-client creates it; all series together take a part of it."""

REJECTED = "message-rejected"
"""The label of every type of event that begins so."""

OTHER = "other"
"""The label of every other type: the number of types is unlimited, but the number of series must not be."""

KINDS = (*sorted(INBOUND_TYPES), *STATED_TYPES)
"""The types of events that are counted under their own names."""

STATUSES = (200, 400, 401, 408, 413, 500, 503)
"""The HTTP statuses of responses to callbacks."""

WRITE_SECONDS = 0.2
"""How often a process that shares its counts writes them; one that is killed loses those of this time."""

Counted = TypeVar("Counted")

LIVE = "gauge_live"
"""The prefix of the names of files that count only while their process is alive."""

MINUTE, HOUR = 60, 3600

# Bandwidth queues for 15 minutes, waits 2 hours for a receipt and redelivers for 24 hours; after 27 all is overdue.
EVENT_LAG = (0.5, 1, 2, 5, 10, 30, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 12 * HOUR, 24 * HOUR)
OUTCOME_LAG = (*EVENT_LAG[1:11], 3 * HOUR, 12 * HOUR, 24 * HOUR, 27 * HOUR)
COMMIT_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 8, 10)
COMMIT_ELEMENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
BANDWIDTH_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)


class _Histogram(Histogram):
    """A histogram that takes many amounts at once."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """Observes each amount with one write per bucket, for which prometheus-client has no public call."""
        for place, times in Counter(bisect_left(self._upper_bounds, each) for each in amounts).items():
            self._buckets[place].inc(times)
        if amounts:
            self._sum.inc(sum(amounts))


class Meters:
    """The metrics that processes count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, histogram = self._counter, self._histogram
        self.callbacks = counter("callbacks", "Callbacks by the HTTP status of the response.", "status")
        self.events = counter("events", "New events by type, and by disposition when stored.", "type", "disposition")
        self.duplicates = counter("duplicate_events", "Repetitions of events that were already stored.")
        self.unreadable = counter("unreadable_elements", "Elements of callbacks that are not events.")
        self.extraneous = counter(
            "extraneous_events",
            "Deliveries known to be false, counted when the second of delivered and failed is stored, in either order.",
        )
        self.waiting = prometheus_client.Gauge(
            "receiver_waiting_callbacks",
            "Callbacks waiting for their commit.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.sends = counter("sends", "Attempts to send by result.", "result", "reason")
        self.commit_elements = histogram("commit_elements", "Elements that one transaction stored.", COMMIT_ELEMENTS)
        self.commit = histogram(
            "commit_seconds", "How long a transaction that stores elements took, including its commit.", COMMIT_SECONDS
        )
        self.bandwidth = histogram(
            "bandwidth_seconds",
            "How long a request to send took, by the class of Bandwidth's HTTP status; none: no response.",
            BANDWIDTH_SECONDS,
            "status_class",
        )
        self.event_lag = histogram(
            "event_lag_seconds",
            "Time from the occurrence of a new event, as Bandwidth dates it, to its receipt.",
            EVENT_LAG,
        )
        self.outcome_lag = histogram(
            "outcome_lag_seconds", "Time from the request to send to a recipient's first final status.", OUTCOME_LAG
        )
        self._foresee()

    def _counter(self, name: str, meaning: str, *labels: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(f"receiver_{name}_total", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> _Histogram:
        return _Histogram(f"receiver_{name}", meaning, labels, buckets=buckets, registry=self.registry)

    def _foresee(self) -> None:
        for status in STATUSES:
            self.callbacks.labels(status)
        for kind in (*KINDS, REJECTED, OTHER):
            for disposition in _possible(kind):
                self.events.labels(kind, disposition)
        for result, reason in (("accepted", ""), ("unknown", ""), *(("refused", each) for each in RefusedBecause)):
            self.sends.labels(result, reason)
        for status_class in ("2xx", "3xx", "4xx", "5xx", "none"):
            self.bandwidth.labels(status_class)


def _possible(kind: str) -> Iterator[Disposition]:
    """The dispositions that an event of this type can have."""
    if kind in INBOUND_TYPES:
        yield Disposition.INBOUND
        return
    yield Disposition.UNLINKED
    if kind == OTHER:
        yield Disposition.UNRECOGNIZED
        return
    yield from (Disposition.APPLIED, Disposition.UNEXPECTED_RECIPIENT)
    if statement(kind, 0) is RecipientStatus.DELIVERED:
        yield from (Disposition.EXTRANEOUS, Disposition.CONFLICTING)
    if kind == REJECTED or is_failure(kind):
        yield Disposition.SUPERSEDED


values.ValueClass = values.MutexValue  # whatever FOLDER is: a process counts for itself until it calls share()
disable_created_metrics()  # type: ignore[no-untyped-call]  # Prometheus ignores these series, and several processes have none
meters = Meters()
_is_shared = False


def share(folder: str) -> None:
    """Makes this process share its counts, from 0, with all processes that use that folder. Raises CannotCount."""
    global meters, _is_shared
    os.environ[FOLDER] = folder  # where prometheus-client looks
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    try:
        _reserve(folder)
        meters, _is_shared = Meters(), True
        _begin_to_write()
        os.register_at_fork(after_in_child=_begin_to_write)  # as under gunicorn with --preload
    except OSError as error:
        raise CannotCount(f"Cannot store metrics in {folder}, named by {FOLDER}: {error.strerror}.") from error


def _reserve(folder: str) -> None:
    """Writes this process's files in full: a page that finds no room on the disk later would end the process."""
    for kind in ("counter", "histogram", f"{LIVE}sum"):
        file = Path(folder) / f"{kind}_{os.getpid()}.db"
        if file.exists():  # of an ended process of the same id, whose counts go on
            continue
        try:
            file.write_bytes(bytes(ROOM))
        except OSError:
            file.unlink(missing_ok=True)
            raise


def registry() -> CollectorRegistry:
    """The counts of this process, or of all that share theirs."""
    if not _is_shared:
        return meters.registry
    shared = CollectorRegistry()
    shared.register(_Shared())
    return shared


class _Shared(Collector):
    """The sum of the counts of all processes, ended ones included, and the gauges of those that are alive."""

    def collect(self) -> Iterator[Metric]:
        # A process that was killed before its first write leaves an empty file, on which prometheus-client fails.
        found = [each for each in Path(os.environ[FOLDER]).glob("*.db") if each.stat().st_size]
        files = [str(each) for each in found if not each.name.startswith(LIVE) or _lives(each)]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


def _lives(file: Path) -> bool:
    """Whether the process that owns this file is running."""
    try:
        os.kill(int(file.stem.rpartition("_")[2]), 0)
    except ProcessLookupError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a durable transaction of callbacks stored, and how long it took."""

    elements: int
    duplicates: int
    unreadable: int
    events: Mapping[tuple[str, Disposition], int]
    """The numbers of new events by Bandwidth's type and disposition."""
    extraneous: int
    lags: Sequence[float]
    """Seconds from when each new event occurred."""
    outcome_lags: Sequence[float]
    """Seconds from the request to send to each first final status."""
    seconds: float


def count_callback(status: int) -> None:
    """Counts a callback by the HTTP status of its response."""
    _statuses.append(status)
    if not _is_shared:
        write_counts()


def set_waiting(callbacks: int) -> None:
    """Sets how many callbacks wait in this process for their commit, those that are being stored included."""
    _waiting.append(callbacks)
    if not _is_shared:
        write_counts()


def count_stored(stored: Stored) -> None:
    """Counts what a durable transaction of callbacks stored."""
    _stored.append(stored)
    if not _is_shared:
        write_counts()


_statuses: deque[int] = deque()
_waiting: deque[int] = deque(maxlen=1)
_stored: deque[Stored] = deque()
"""What is counted and not written yet. Several threads add to these; write_counts() takes from them."""

_writing = threading.Lock()
"""Held by the thread that writes."""


@contain_errors(log)
def write_counts() -> None:
    """Writes what has been counted since the last time, where other processes and Prometheus can see it.

    A process that shares its counts does so by itself every WRITE_SECONDS, because each write takes microseconds, and
    once more before it ends. Every other process does so at once.
    """
    with _writing:
        if _waiting:
            meters.waiting.set(_waiting.pop())
        for status, times in Counter(_taken(_statuses)).items():
            meters.callbacks.labels(status).inc(times)
        stored = _taken(_stored)
        meters.commit_elements.observe_all([each.elements for each in stored])
        meters.commit.observe_all([each.seconds for each in stored])
        meters.event_lag.observe_all([lag for each in stored for lag in each.lags])
        meters.outcome_lag.observe_all([lag for each in stored for lag in each.outcome_lags])
        events: Counter[tuple[str, Disposition]] = Counter()
        for each in stored:
            events.update(each.events)
        for (event_type, disposition), times in events.items():
            kind = event_type if event_type in KINDS else REJECTED if is_failure(event_type) else OTHER
            meters.events.labels(kind, disposition).inc(times)
        for counter, times in (
            (meters.duplicates, sum(each.duplicates for each in stored)),
            (meters.unreadable, sum(each.unreadable for each in stored)),
            (meters.extraneous, sum(each.extraneous for each in stored)),
        ):
            if times:
                counter.inc(times)


def _taken(counted: deque[Counted]) -> list[Counted]:
    """All that is in there now; others may add meanwhile."""
    return [counted.popleft() for _ in range(len(counted))]


def _begin_to_write() -> None:
    """Starts the thread that writes what this process counts."""
    global _writing
    _writing = threading.Lock()  # that of a parent may have been held when it forked
    threading.Thread(target=_write_regularly, name="metrics", daemon=True).start()


def _write_regularly() -> None:
    while True:
        time.sleep(WRITE_SECONDS)
        write_counts()


@contain_errors(log)
def count_attempt(result: SendResult, *, seconds: float | None = None) -> None:
    """Counts how an attempt to send ended, after ``seconds`` if Bandwidth was called."""
    reason = result.because if isinstance(result, Refused) else ""
    meters.sends.labels(type(result).__name__.lower(), reason).inc()
    if seconds is not None:
        status: Any = 202 if isinstance(result, Accepted) else result.status
        meters.bandwidth.labels(f"{status // 100}xx" if status else "none").observe(seconds)


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric that is read from the database, so its value is the same in every process."""

    name: str
    meaning: str
    value: float | Mapping[str, float]
    """A mapping is by send status."""


def exposition(gauges: Iterable[Gauge]) -> bytes:
    """Returns the text that Prometheus reads: the counts of all processes that share theirs, and these gauges."""
    stored = CollectorRegistry()
    stored.register(_Gauges(gauges))
    return _of_process() + generate_latest(stored)


def _of_process() -> bytes:
    """Returns a registry of the counts and of the version of this program."""
    write_counts()
    return generate_latest(_BUILD) + generate_latest(registry())


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("receiver_build_info", "Always 1; the label is the version.", labels=["version"])
        family.add_metric([VERSION], 1)
        yield family


_BUILD = CollectorRegistry()
_BUILD.register(_Build())


class _Gauges(Collector):
    def __init__(self, gauges: Iterable[Gauge]) -> None:
        self._gauges = tuple(gauges)

    def collect(self) -> Iterator[Metric]:
        for gauge in self._gauges:
            if isinstance(gauge.value, Mapping):
                family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=["send_status"])
                for label, value in gauge.value.items():
                    family.add_metric([label], value)
                yield family
            else:
                yield GaugeMetricFamily(gauge.name, gauge.meaning, value=gauge.value)


def listen(host: str, port: int) -> None:
    """Serves this process's counts over HTTP at that address. Raises CannotListen."""
    try:
        server, _ = prometheus_client.start_http_server(port, host, registry())
    except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one, such as ".."
        raise CannotListen(host, port, error) from error
    # A client that hangs up, or asks for an unknown format, would cause a traceback on stderr.
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    server.RequestHandlerClass = _Brief
    server.set_app(_expose)


class _Brief(WSGIRequestHandler):
    """A request that gets a response and is not logged."""

    timeout = 10  # seconds; without it, a client that only connects would keep a thread

    def log_message(self, *_: object) -> None:
        """Writes nothing: requests are untrusted."""


def _expose(_environ: object, start_response: Any) -> Sequence[bytes]:
    start_response("200 OK", [("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)])
    return [_of_process()]
