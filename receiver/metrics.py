"""Every metric that this program counts: its name, its unit and what it means.

What happens is counted in the process in which it happens. The processes of one server share their counts in files of a
folder (prometheus-client's multiprocess mode), so that any of them tells the sum of all, the ended ones included. An
increment takes a few microseconds there: what is stored together is counted together. All series that can be foreseen
are there from the start, at 0: of one that begins later Prometheus would overlook the first increase.

How Prometheus reads what metrics.py counts, and beside it the figures of what is stored.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
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
from receiver.events.notes import Recorded
from receiver.events.store import Fate
from receiver.log import get_logger, telling

log = get_logger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own variable: where processes share what they count."""

ROOM = 2**16
"""Bytes of a file in which a process counts, as prometheus-client makes it; all series together take a part of it."""

REJECTED = "message-rejected"
"""Stands for every type that begins so."""

OTHER = "other"
"""Stands for every other type: what Bandwidth may call a type has no end, and the series must have one."""

STATUSES = (200, 400, 401, 408, 413, 500, 503)
"""What a callback can be answered."""

LIVE = "gauge_live"
"""How the files begin whose process must live for them to say anything."""

MINUTE, HOUR = 60, 3600

# Bandwidth queues for 15 minutes, waits 2 hours for a receipt and redelivers for 24 hours; after 27 all is overdue.
EVENT_LAG = (0.5, 1, 2, 5, 10, 30, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 12 * HOUR, 24 * HOUR)
OUTCOME_LAG = (*EVENT_LAG[1:11], 3 * HOUR, 12 * HOUR, 24 * HOUR, 27 * HOUR)
COMMIT_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 8, 10)
COMMIT_ELEMENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
BANDWIDTH_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)


class _Histogram(Histogram):
    def observe_all(self, amounts: Sequence[float]) -> None:
        """Like observe() of each, with as few writes as there are buckets; prometheus-client has no call for that."""
        for place, times in Counter(bisect_left(self._upper_bounds, each) for each in amounts).items():
            self._buckets[place].inc(times)
        if amounts:
            self._sum.inc(sum(amounts))


class _Meters:
    """What is counted in processes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, histogram = self._counter, self._histogram
        self.callbacks = counter("callbacks", "Callbacks by the HTTP status they were answered with.", "status")
        self.events = counter("events", "New events: their type, what each was when stored.", "type", "disposition")
        self.duplicates = counter("duplicate_events", "Events that were stored before.")
        self.unreadable = counter("unreadable_elements", "Elements of callbacks that are no events.")
        self.extraneous = counter(
            "extraneous_events",
            "Deliveries known to be false, counted when the second of delivered and failed is stored, in either order.",
        )
        self.waiting = prometheus_client.Gauge(
            "receiver_waiting_callbacks",
            "Callbacks that wait for their commit.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.sends = counter("sends", "Attempts to send by result.", "result", "reason")
        self.commit_elements = histogram("commit_elements", "Elements that one transaction stored.", COMMIT_ELEMENTS)
        self.commit = histogram("commit_seconds", "How long it took, its commit included.", COMMIT_SECONDS)
        self.bandwidth = histogram(
            "bandwidth_seconds",
            "How long a request to send took, by the class of Bandwidth's HTTP status; none: there was none.",
            BANDWIDTH_SECONDS,
            "status_class",
        )
        self.event_lag = histogram(
            "event_lag_seconds", "Time from when a new event occurred, as it says, to its receipt.", EVENT_LAG
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
        for kind in (*sorted(INBOUND_TYPES), *STATED_TYPES, REJECTED, OTHER):
            for disposition in _possible(kind):
                self.events.labels(kind, disposition)
        for result, reason in (("accepted", ""), ("unknown", ""), *(("refused", each) for each in RefusedBecause)):
            self.sends.labels(result, reason)
        for status_class in ("2xx", "3xx", "4xx", "5xx", "none"):
            self.bandwidth.labels(status_class)


def _possible(kind: str) -> Iterator[Disposition]:
    """What an event of this type can be."""
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


values.ValueClass = values.MutexValue  # whatever FOLDER says: a command counts for itself, until share() is called
disable_created_metrics()  # type: ignore[no-untyped-call]  # Prometheus ignores these series, and several processes have none
_meters = _Meters()
_is_shared = False


def share(folder: str) -> None:
    """Lets this process count in that folder, from 0, together with all others that do. Raises CannotCount."""
    global _meters, _is_shared
    os.environ[FOLDER] = folder  # where prometheus-client looks
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    try:
        _reserve(folder)
        _meters, _is_shared = _Meters(), True
    except OSError as error:
        raise CannotCount(f"Cannot count in {folder}, which {FOLDER} names: {error.strerror}.") from error


def _reserve(folder: str) -> None:
    """Room for this process's files: they are written to as memory, and where that finds a full disk, the process is
    ended without a word."""
    for kind in ("counter", "histogram", f"{LIVE}sum"):
        file = Path(folder) / f"{kind}_{os.getpid()}.db"
        if file.exists():  # of one that had the same id, and whose counts go on
            continue
        try:
            file.write_bytes(bytes(ROOM))
        except OSError:
            file.unlink(missing_ok=True)
            raise


def registry() -> CollectorRegistry:
    """What was counted: in this process, or in all that share their counts."""
    if not _is_shared:
        return _meters.registry
    shared = CollectorRegistry()
    shared.register(_Shared())
    return shared


class _Shared(Collector):
    """What all processes counted, the ended ones too; what waits, only of those that live."""

    def collect(self) -> Iterator[Metric]:
        # A process that was killed before its first byte leaves an empty file, on which prometheus-client breaks.
        found = [each for each in Path(os.environ[FOLDER]).glob("*.db") if each.stat().st_size]
        files = [str(each) for each in found if not each.name.startswith(LIVE) or _lives(each)]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


def _lives(file: Path) -> bool:
    """Whether the process whose file that is has not ended."""
    try:
        os.kill(int(file.stem.rpartition("_")[2]), 0)
    except ProcessLookupError:
        return False
    return True


@telling(log)
def callback_answered(status: int, count: int = 1) -> None:
    """So many callbacks were answered with this HTTP status."""
    _meters.callbacks.labels(status).inc(count)


@telling(log)
def waiting(callbacks: int) -> None:
    """So many callbacks wait in this process for their commit, those that are being stored included."""
    _meters.waiting.set(callbacks)


@telling(log)
def committed(fates: Sequence[Fate], recorded: Sequence[Recorded], *, seconds: float) -> None:
    """A transaction of callbacks is durable, and took that long."""
    new = [each for each in recorded if each.is_new]
    _meters.commit_elements.observe(len(fates))
    _meters.commit.observe(seconds)
    for (event_type, disposition), count in Counter((each.event.type, each.disposition) for each in new).items():
        _meters.events.labels(_kind(event_type), disposition).inc(count)
    for counter, count in (
        (_meters.duplicates, fates.count(Fate.DUPLICATE)),
        (_meters.unreadable, fates.count(Fate.UNREADABLE)),
        (_meters.extraneous, sum(each.is_known_false for each in new)),
    ):
        if count:
            counter.inc(count)
    _meters.event_lag.observe_all([each.lag for each in new if each.lag is not None])
    _meters.outcome_lag.observe_all([each.outcome_after for each in new if each.outcome_after is not None])


def _kind(event_type: str) -> str:
    if event_type in INBOUND_TYPES or event_type in STATED_TYPES:
        return event_type
    return REJECTED if is_failure(event_type) else OTHER


@telling(log)
def sent(answer: SendResult, *, seconds: float | None = None) -> None:
    """An attempt to send ended so; after ``seconds``, if Bandwidth was called."""
    reason = answer.because if isinstance(answer, Refused) else ""
    _meters.sends.labels(type(answer).__name__.lower(), reason).inc()
    if seconds is not None:
        status: Any = 202 if isinstance(answer, Accepted) else answer.status
        _meters.bandwidth.labels(f"{status // 100}xx" if status else "none").observe(seconds)


GAUGES = {
    "receiver_database_up": "Whether the database answered; if not, nothing that is read from it is here.",
    "receiver_messages": "Messages without an end by send status: queued, submitting, unknown.",
    "receiver_oldest_queued_seconds": "Age of the oldest queued message.",
    "receiver_pace_units_per_second": "Recipients x segments per second that went to Bandwidth in the last minute.",
    "receiver_rate_units_per_second": "BANDWIDTH_RATE.",
    "receiver_pause_seconds": "How long Bandwidth's 429 still holds up sending.",
    "receiver_credentials_refused_seconds": "How long workers have paused because Bandwidth refuses the credentials.",
    "receiver_overdue_recipients": "Recipients whose outcome should be known by now; counted up to 10,000.",
    "receiver_oldest_overdue_seconds": "How long the outcome of the first of them has been overdue.",
    "receiver_recent_unlinked_events": "Events of the last 24 hours that match no message; of the newest 10,000.",
    "receiver_recent_unreadable_elements": "Elements of the last 24 hours that are no events; up to 10,000.",
    "receiver_last_accepted_timestamp_seconds": "When the newest accepted message was asked for; 0: never.",
    "receiver_last_event_timestamp_seconds": "When the last event about messages came by callback; 0: never.",
}
"""What is read from the database, and so is the same whichever process is asked."""

Values = Mapping[str, float | Mapping[str, float]]
"""Gauges by name; by label, where there is one."""


def exposition(gauges: Values) -> bytes:
    """What Prometheus reads: what was counted, in all processes that share it, and these gauges."""
    stored = CollectorRegistry()
    stored.register(_Gauges(gauges))
    return _of_process() + generate_latest(stored)


def _of_process() -> bytes:
    """The version of this program, and what was counted."""
    return generate_latest(_BUILD) + generate_latest(registry())


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("receiver_build_info", "Always 1; the label is the version.", labels=["version"])
        family.add_metric([VERSION], 1)
        yield family


_BUILD = CollectorRegistry()
_BUILD.register(_Build())


class _Gauges(Collector):
    def __init__(self, gauges: Values) -> None:
        self._values = gauges

    def collect(self) -> Iterator[Metric]:
        for name, value in self._values.items():
            if isinstance(value, Mapping):
                family = GaugeMetricFamily(name, GAUGES[name], labels=["send_status"])
                for label, each in value.items():
                    family.add_metric([label], each)
                yield family
            else:
                yield GaugeMetricFamily(name, GAUGES[name], value=value)


def listen(host: str, port: int) -> None:
    """Tells whoever asks at that address what this process counted. Raises CannotListen."""
    try:
        server, _ = prometheus_client.start_http_server(port, host, registry())
    except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one, such as ".."
        raise CannotListen(host, port, error) from error
    # A client that hangs up, or names a format that there is not, would be a traceback on stderr.
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    server.RequestHandlerClass = _Brief
    server.set_app(_tell)


class _Brief(WSGIRequestHandler):
    timeout = 10  # seconds, or whoever only connects would keep a thread

    def log_message(self, *_: object) -> None:
        """Nothing: the request is a stranger's."""


def _tell(_environ: object, start_response: Any) -> Sequence[bytes]:
    start_response("200 OK", [("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)])
    return [_of_process()]
