"""The health of the service: whether this process is alive and can store events, its queue, and its metrics."""

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST

from receiver.database.schema import demand_schema
from receiver.metrics import exposition
from receiver.reports import overview
from receiver.schemas.responses import QUEUE
from receiver.web.authentication import Access, requires
from receiver.web.views import services

blueprint = Blueprint("health", __name__)

LIVE = "health.live"
"""The endpoint of the liveness view."""


@blueprint.get("/health/live")
@requires(Access.PUBLIC)
def live() -> Response:
    return jsonify(status="live")


@blueprint.get("/health/ready")
@requires(Access.PUBLIC)
def ready() -> Response:
    with services().database.read() as session:
        warning = demand_schema(session.connection())
    return jsonify(status="ready", **({"warning": warning} if warning else {}))


@blueprint.get("/queue")
@requires(Access.READ)
def queue() -> Response:
    report = overview.queue(services().database, services().settings)
    return jsonify(QUEUE.dump(report))


@blueprint.get("/metrics")
@requires(Access.READ)
def metrics() -> Response:
    exposed = exposition(overview.gauges(services().database, services().settings))
    return Response(exposed, content_type=CONTENT_TYPE_LATEST)
