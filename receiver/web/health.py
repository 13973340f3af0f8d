"""Whether this process lives, and whether it can do its work."""

from flask import Blueprint, Response, jsonify

from receiver.storage.migrations import SchemaState, schema_state
from receiver.web.authentication import Access, requires
from receiver.web.problems import problem
from receiver.web.services import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/health/live")
@requires(Access.PUBLIC)
def live() -> Response:
    return jsonify(status="live")


@blueprint.get("/health/ready")
@requires(Access.PUBLIC)
def ready() -> Response:
    with services().database.read() as session:
        state = schema_state(session.connection())
    if state in (SchemaState.EMPTY, SchemaState.OLDER):
        return problem(503, f"The database is {state.value}; run `receiver migrate`.")
    if state is SchemaState.NEWER:
        return jsonify(status="ready", warning=f"The database is {state.value}; upgrade this process soon.")
    return jsonify(status="ready")
