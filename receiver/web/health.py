"""The health checks: whether this process is alive, and whether it can store events."""

from flask import Blueprint, Response, jsonify

from receiver.database.schema import demand_schema
from receiver.web.authentication import Access, requires
from receiver.web.services import services

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
