"""How sending is going: for people and programs that ask, and for Prometheus."""

from collections.abc import Iterator

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from receiver import monitoring
from receiver.monitoring import QueueReport
from receiver.web.answers import QueueSchema
from receiver.web.authentication import Access, requires
from receiver.web.services import services

blueprint = Blueprint("queue", __name__)


@blueprint.get("/queue")
@requires(Access.READ)
def show() -> Response:
    return jsonify(QueueSchema().dump(_report()))


@blueprint.get("/metrics")
@requires(Access.READ)
def metrics() -> Response:
    registry = CollectorRegistry()
    registry.register(_Gauges(_report()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _report() -> QueueReport:
    return monitoring.queue(services().database, services().settings.rates)


class _Gauges(Collector):
    """Everything is read from the database, so it is the same whichever process is asked."""

    def __init__(self, report: QueueReport) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report
        gauges: list[tuple[str, str, float | None]] = [
            ("queued_messages", "Messages that wait for a worker.", report.queued),
            ("oldest_queued_seconds", "Age of the oldest of them.", report.oldest_queued_seconds or 0),
            ("unknown_messages", "Messages of which nobody can say whether they were sent.", report.unknown),
            (
                "pace_units_per_second",
                "Recipients x segments per second that Bandwidth was asked to send in the last minute.",
                report.pace.last_minute,
            ),
            ("rate_units_per_second", "BANDWIDTH_RATE.", report.pace.rate),
            ("pause_seconds", "How long Bandwidth's 429 still holds up sending.", report.pace.pause_seconds or 0),
        ]
        for name, meaning, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(f"receiver_{name}", meaning, value=value)
