"""How Prometheus reads what metrics.py counts, and beside it the figures of what is stored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from receiver import VERSION, metrics
from receiver.errors import CannotListen

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
    return generate_latest(_BUILD) + generate_latest(metrics.registry())


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
        server, _ = prometheus_client.start_http_server(port, host, metrics.registry())
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
