"""The state of the queue for the application, and all metrics for Prometheus."""

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST

from receiver.metrics import exposition
from receiver.reports import overview
from receiver.schemas.responses import QUEUE
from receiver.web.authentication import Access, requires
from receiver.web.services import services

blueprint = Blueprint("queue", __name__)


@blueprint.get("/queue")
@requires(Access.READ)
def show() -> Response:
    report = overview.queue(services().database, services().settings)
    return jsonify(QUEUE.dump(report))


@blueprint.get("/metrics")
@requires(Access.READ)
def metrics() -> Response:
    exposed = exposition(overview.gauges(services().database, services().settings))
    return Response(exposed, content_type=CONTENT_TYPE_LATEST)
