"""The API of the application: ask what became of messages."""

import json

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

from receiver import reporting
from receiver.core.tags import is_tag
from receiver.errors import InvalidFields, MessageNotFound
from receiver.storage.reading import MessageFilter
from receiver.web.answers import EventSchema, MessageSchema, PageSchema
from receiver.web.authentication import Access, requires
from receiver.web.requests import MessagesQuery, load
from receiver.web.services import services

blueprint = Blueprint("messages", __name__)

_EVENT = EventSchema(exclude=["payload"])


@blueprint.get("/messages/<tag>")
@requires(Access.READ)
def show(tag: str) -> Response:
    return jsonify(MessageSchema().dump(reporting.message(services().database, known_shape(tag))))


@blueprint.get("/messages/<tag>/events")
@requires(Access.READ)
def events(tag: str) -> Response:
    found = reporting.events(services().database, known_shape(tag))
    # The payload goes out as the text that came in: decoding could not keep every number that JSON can hold.
    texts = [f'{json.dumps(_EVENT.dump(event))[:-1]}, "payload": {event.payload}}}' for event in found]
    return Response(f'{{"events": [{", ".join(texts)}]}}', content_type="application/json")


@blueprint.get("/messages")
@requires(Access.READ)
def search() -> Response:
    wanted = load(MessagesQuery(), _query())
    limit = wanted.pop("limit")
    page = reporting.messages(services().database, MessageFilter(**wanted), limit=limit)
    return jsonify(PageSchema().dump(page))


def _query() -> dict[str, str]:
    try:
        given = request.args
    except UnicodeDecodeError as error:
        raise BadRequest("The query is not UTF-8; percent-encode it.") from error
    repeated = [name for name, values in given.lists() if len(values) > 1]
    if repeated:
        raise InvalidFields({name: ["Must be given once."] for name in repeated})
    return given.to_dict()


def known_shape(tag: str) -> str:
    """That tag. Raises MessageNotFound for what cannot be one."""
    if not is_tag(tag):
        raise MessageNotFound(tag)
    return tag
