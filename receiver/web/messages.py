"""The API of the application: shows messages, their outcomes and their events."""

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

from receiver.core.tags import is_tag
from receiver.errors import InvalidFields, MessageNotFound
from receiver.reports import messages
from receiver.reports.messages import MessageFilter
from receiver.schemas.requests import FILTERS, load_fields
from receiver.schemas.responses import MESSAGE, PAGE, event_text
from receiver.web.authentication import Access, requires
from receiver.web.services import services

blueprint = Blueprint("messages", __name__)


@blueprint.get("/messages/<tag>")
@requires(Access.READ)
def show(tag: str) -> Response:
    return jsonify(MESSAGE.dump(messages.message(services().database, check_tag(tag))))


@blueprint.get("/messages/<tag>/events")
@requires(Access.READ)
def events(tag: str) -> Response:
    found = messages.events(services().database, check_tag(tag))
    return Response(f'{{"events": [{", ".join(map(event_text, found))}]}}', content_type="application/json")


@blueprint.get("/messages")
@requires(Access.READ)
def search() -> Response:
    wanted = load_fields(FILTERS, _query())
    limit = wanted.pop("limit")
    page = messages.messages(services().database, MessageFilter(**wanted), limit=limit)
    return jsonify(PAGE.dump(page))


def _query() -> dict[str, str]:
    try:
        given = request.args
    except UnicodeDecodeError as error:
        raise BadRequest("The query is not UTF-8; percent-encode it.") from error
    repeated = [name for name, values in given.lists() if len(values) > 1]
    if repeated:
        raise InvalidFields({name: ["Must be given once."] for name in repeated})
    return given.to_dict()


def check_tag(tag: str) -> str:
    """Returns the tag. Raises MessageNotFound if it does not have the shape of one."""
    if not is_tag(tag):
        raise MessageNotFound(tag)
    return tag
