"""The API of the application: send a message, and ask what became of it."""

import json
from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.exceptions import BadRequest

from receiver import reporting, sending
from receiver.core import times
from receiver.core.messages import Accepted, Answer, Refused
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.tags import is_tag
from receiver.errors import FieldErrors, InvalidFields, MessageNotFound
from receiver.sending import Submission
from receiver.storage.reading import MessageFilter
from receiver.web.answers import EventSchema, MessageSchema
from receiver.web.authentication import Access, requires
from receiver.web.bodies import read_json
from receiver.web.problems import problem
from receiver.web.requests import MessagesQuery, load, read_message
from receiver.web.services import services

blueprint = Blueprint("messages", __name__)

QUEUE_SECONDS = 10
"""After a 429 that names no time: a full queue has made room for a group of ten, at the default one message a second
(Bandwidth, "Rate limits")."""


@blueprint.post("/messages")
@requires(Access.WRITE)
def create() -> Response:
    if "Idempotency-Key" in request.headers:
        # Taking it and not keeping its promise would let a caller send a message twice.
        raise InvalidFields({"Idempotency-Key": ["Is not supported yet; leave it out."]})
    settings = services().settings
    message = read_message(read_json(), settings)
    submission = sending.send(services().database, services().gateway, message, overdue_after=settings.overdue_after)
    return _answer(submission)


@blueprint.get("/messages/<tag>")
@requires(Access.READ)
def show(tag: str) -> Response:
    return jsonify(MessageSchema().dump(reporting.message(services().database, _known_shape(tag))))


@blueprint.get("/messages/<tag>/events")
@requires(Access.READ)
def events(tag: str) -> Response:
    found = reporting.events(services().database, _known_shape(tag))
    # The payload goes out as the text that came in: decoding could not keep every number that JSON can hold.
    texts = [f'{json.dumps(EventSchema().dump(event))[:-1]}, "payload": {event.payload}}}' for event in found]
    return Response(f'{{"events": [{", ".join(texts)}]}}', content_type="application/json")


@blueprint.get("/messages")
@requires(Access.READ)
def search() -> Response:
    wanted = load(MessagesQuery(), _query())
    limit = wanted.pop("limit")
    page = reporting.messages(services().database, MessageFilter(**wanted), limit=limit)
    return jsonify(messages=MessageSchema(many=True).dump(page.messages), nextCursor=page.next_cursor)


def _query() -> dict[str, str]:
    try:
        given = request.args
    except UnicodeDecodeError as error:
        raise BadRequest("The query is not UTF-8; percent-encode it.") from error
    repeated = [name for name, values in given.lists() if len(values) > 1]
    if repeated:
        raise InvalidFields({name: ["Must be given once."] for name in repeated})
    return given.to_dict()


def _known_shape(tag: str) -> str:
    if not is_tag(tag):
        raise MessageNotFound(tag)
    return tag


def _answer(submission: Submission) -> Response:
    """The answer by what became of the request; whatever it is, the tag and the present state are in it."""
    if submission.stored is None:
        return _unknown(submission.tag, "Bandwidth's answer could not be stored.")
    message = reporting.report(submission.stored, now=times.now())
    if message.send_status is SendStatus.ACCEPTED:
        answer = jsonify(MessageSchema().dump(message))
        answer.status_code = 202
        answer.headers["Location"] = url_for("messages.show", tag=message.tag)
        return answer
    if isinstance(submission.answer, Refused):
        return _refused(submission.tag, submission.answer)
    return _unknown(submission.tag, _said(submission.answer))


def _unknown(tag: str, said: str) -> Response:
    detail = f"Nobody can say whether this was sent: do not send it again, ask for its tag. {said}"
    return problem(504, detail.strip(), tag=tag, sendStatus=SendStatus.UNKNOWN)


def _refused(tag: str, answer: Refused) -> Response:
    state: dict[str, Any] = {"tag": tag, "sendStatus": SendStatus.REFUSED}
    detail = f"This was not sent. {_said(answer)}".strip()
    if answer.because is RefusedBecause.RATE_LIMITED:
        seconds = answer.retry_after if answer.retry_after is not None else QUEUE_SECONDS
        return problem(429, detail, headers={"Retry-After": str(seconds)}, **state)
    if answer.because is RefusedBecause.UNREACHABLE or answer.status == 500:
        return problem(503, detail, **state)
    if answer.status == 400:
        return problem(422, detail, errors=_field_errors(answer), **state)
    return problem(502, detail, **state)


def _field_errors(answer: Refused) -> FieldErrors:
    """Bandwidth's field errors; its fields and ours have the same names."""
    errors: FieldErrors = {}
    for name, description in answer.field_errors:
        errors.setdefault(name, []).append(description)
    return errors


def _said(answer: Answer) -> str:
    if isinstance(answer, Accepted) or not (answer.type or answer.description):
        return ""
    return f"Bandwidth: {answer.description or answer.type}" if answer.status else answer.description or ""
