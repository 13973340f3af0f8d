"""The route registered with Bandwidth. 5xx means "send it again": Bandwidth does, for 24 hours."""

import time

import msgspec
from flask import Blueprint, Response, request

from receiver import metrics
from receiver.bandwidth.callbacks import in_utf_8
from receiver.events.store import Tally
from receiver.web import request_log
from receiver.web.authentication import Access, requires
from receiver.web.bodies import read_body
from receiver.web.services import services

PATH, ENDPOINT = "/callbacks/bandwidth", "callbacks.receive"

blueprint = Blueprint("callbacks", __name__)


@blueprint.post(PATH)
@requires(Access.CALLBACK)
def receive() -> Response:
    """200 only after the events are durable; the counts are for people, Bandwidth ignores them."""
    started, body = time.monotonic(), read_body()
    stored = services().committer.receive(in_utf_8(body, request.headers.get("Content-Type", "")))
    request_log.callback_stored(stored, len(body), time.monotonic() - started)
    return Response(answer(stored.tally), content_type="application/json")


@blueprint.after_request
def count(given: Response) -> Response:
    """Every answer of this route, errors included."""
    metrics.callback_answered(given.status_code)
    return given


def answer(tally: Tally) -> bytes:
    """The JSON that a stored callback is answered with."""
    return msgspec.json.encode(tally)
