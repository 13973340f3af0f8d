"""The route registered with Bandwidth. 5xx means "send it again": Bandwidth does, for 24 hours."""

from dataclasses import asdict

from flask import Blueprint, Response, jsonify

from receiver import receiving
from receiver.web.authentication import Access, requires
from receiver.web.bodies import read_body
from receiver.web.services import services

blueprint = Blueprint("callbacks", __name__)


@blueprint.post("/callbacks/bandwidth")
@requires(Access.CALLBACK)
def receive() -> Response:
    """200 only after the events are durable; the counts are for people, Bandwidth ignores them."""
    return jsonify(asdict(receiving.receive(services().database, read_body())))
