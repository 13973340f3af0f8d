"""The API's description (OpenAPI 3.1), for programs and as a page for people, and the routes that serve both.

It is made from the schemas that validate and from the access that each view declares, and needs no database.

flask-smorest (0.47) would declare the responses at the views, but replace neither the texts in operations.py, which are
most of this package, nor the page without JavaScript. Its decorators describe one content type per status and no links,
add a ``default`` response to every route, and take over the parsing: a 400 or 422 becomes flask-smorest's own JSON
instead of problem+json.
"""

import base64
import hashlib
import json
import re
from copy import deepcopy
from functools import cached_property
from http import HTTPStatus
from typing import Any, cast

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Blueprint, Flask, Response, current_app, render_template, request, url_for
from markdown_it import MarkdownIt
from marshmallow import fields

from receiver import VERSION
from receiver.core.text import Word
from receiver.schemas.fields import InstantField
from receiver.schemas.requests import TEXT_OR_MEDIA, CountField, TextField
from receiver.web.authentication import CHALLENGES, REMEDIES, Access, declared_access, requires
from receiver.web.openapi.examples import CURL, SERVER
from receiver.web.openapi.operations import OPERATIONS, PROBLEM, Fragment, header, problem_response

INFO = {
    "summary": "Group MMS through Bandwidth, with one truthful outcome per recipient.",
    "description": "Requests and responses are JSON with Bandwidth's own field names. All times are RFC 3339; those in "
    "responses are in UTC. HEAD works wherever GET does. Later versions may add fields to responses.",
}

SERVERS = [
    {"url": "/", "description": "The service that serves this description."},
    {"url": SERVER, "description": "The service with `config/development.env`."},
]

SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.PUBLIC: [],
    Access.CALLBACK: [{"callbackCredentials": []}],
    Access.READ: [{"apiKey": []}, {"readOnlyApiKey": []}],
    Access.WRITE: [{"apiKey": []}],
}
"""The alternative credentials of a caller."""

SCHEMES = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "one of `API_KEYS`"},
    "readOnlyApiKey": {"type": "http", "scheme": "bearer", "description": "one of `READ_ONLY_API_KEYS`"},
    "callbackCredentials": {"type": "http", "scheme": "basic", "description": "one of `CALLBACK_CREDENTIALS`"},
}

SHARED = {
    400: problem_response(
        "The body is not JSON, or was truncated.",
        detail="The body is not JSON at line 1, column 28: an extra comma; remove it.",
    ),
    401: problem_response(
        "The request has no valid credentials.",
        detail=f"The Authorization header is missing or empty. {REMEDIES['Bearer']}",
        headers={
            "WWW-Authenticate": header("The credentials to send.", required=True, enum=sorted(set(CHALLENGES.values())))
        },
    ),
    403: problem_response("This key may only read."),
    408: problem_response("The body did not arrive in time."),
    413: problem_response("The body is longer than `MAX_BODY_BYTES`."),
    500: problem_response("An internal error occurred; the log shows where."),
}
"""Responses that follow from the access of a route and from whether it has a body."""


def check_routes(app: Flask) -> None:
    """Raises LookupError unless OPERATIONS has exactly the application's routes."""
    unmatched = OPERATIONS.keys() ^ app.view_functions.keys()
    if unmatched:
        raise LookupError(f"described but no route, or a route but not described: {', '.join(sorted(unmatched))}")


def describe(app: Flask) -> Fragment:
    """Returns the whole document."""
    spec = _make_spec()
    access = declared_access(app)
    for endpoint in OPERATIONS:
        for rule in app.url_map.iter_rules(endpoint):
            operation = _operation(endpoint, access[endpoint])
            methods = (rule.methods or set()) - {"HEAD"}
            spec.path(re.sub(r"<(\w+)>", r"{\1}", rule.rule), operations={each.lower(): operation for each in methods})
    document: Fragment = spec.to_dict()
    document["components"]["schemas"]["MessageRequest"]["anyOf"] = TEXT_OR_MEDIA
    return document


def _make_spec() -> APISpec:
    plugin = MarshmallowPlugin()
    spec = APISpec("Bandwidth receiver", VERSION, "3.1.0", [plugin], info=INFO, servers=SERVERS)
    converter: Any = plugin.converter
    converter.map_to_openapi_type(CountField, fields.Integer)
    converter.add_attribute_function(_describe_values)
    converter.add_attribute_function(_describe_words)
    for name, scheme in SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for status, response in deepcopy(SHARED).items():
        spec.components.response(_name(status), _with_example(status, response))
    return spec


def _operation(endpoint: str, access: Access) -> Fragment:
    operation = deepcopy(OPERATIONS[endpoint])
    own = {status: _with_example(status, response) for status, response in operation["responses"].items()}
    shared = {status: _name(status) for status in _shared_statuses(access, takes_body="requestBody" in operation)}
    operation["responses"] = {str(status): response for status, response in sorted((shared | own).items())}
    operation["security"] = SECURITY[access]
    samples = [{"lang": "Shell", "source": curl} for curl in CURL.get(endpoint, [])]
    return operation | ({"x-codeSamples": samples} if samples else {})


def _shared_statuses(access: Access, *, takes_body: bool) -> set[int]:
    """Returns the statuses with which any route with this access may respond."""
    return {
        500,
        *({401} if access is not Access.PUBLIC else ()),
        *({403} if access is Access.WRITE else ()),
        *({400, 408, 413} if takes_body else ()),
    }


def _name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


def _with_example(status: int, response: Fragment) -> Fragment:
    """The response; a problem's example is completed with the members that follow from its status."""
    if PROBLEM in response.get("content", {}):
        content = response["content"][PROBLEM]
        members = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
        content["example"] = members | content["example"]
    return response


def _describe_values(_converter: Any, field: fields.Field[Any], ret: Fragment) -> Fragment:
    """The values that our own fields accept."""
    match field:
        case TextField() if "pattern" in ret:
            return {"pattern": ret["pattern"].replace(r"\Z", "$")}  # JavaScript, whose patterns these are, has no \Z
        case TextField() if "enum" not in ret:
            return {"pattern": "^[^\\u0000]*$"}
        case InstantField():
            return {"type": _text_or_null(field), "format": "date-time", "pattern": "^2(0[0-9][0-9]|100)-"}
    return {}


def _describe_words(_converter: Any, field: fields.Field[Any], ret: Fragment) -> Fragment:
    """Lists the words with their meanings in the description of every field that holds one."""
    if not (isinstance(field, fields.Enum) and issubclass(field.enum, Word)):
        return {}
    meanings = "\n".join(f"- `{each}`: {each.meaning}" for each in field.enum)
    return {"type": _text_or_null(field), "description": f"{ret['description']}\n\n{meanings}"}


def _text_or_null(field: fields.Field[Any]) -> str | list[str]:
    return ["string", "null"] if field.allow_none else "string"


EXTENSION = "receiver documentation"

blueprint = Blueprint("documentation", __name__, template_folder="templates")


class Documentation:
    """The description of an application's routes, as a document for programs and as a page for people.

    Everything is made when it is first requested, because most processes never serve it.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app

    @cached_property
    def _described(self) -> Fragment:
        return describe(self._app)

    @cached_property
    def document(self) -> bytes:
        return json.dumps(self._described).encode()

    @cached_property
    def page(self) -> bytes:
        """The page in HTML."""
        markdown = MarkdownIt("commonmark", {"html": False})
        self._app.jinja_env.filters |= {"paragraphs": markdown.render, "line": markdown.renderInline}
        return render_template("docs.html", document=self._described, style=self._style).encode()

    @cached_property
    def policy(self) -> str:
        """The page's Content-Security-Policy: its own style sheet and nothing else."""
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"

    @cached_property
    def _style(self) -> str:
        return render_template("docs.css")


@blueprint.get("/")
@requires(Access.PUBLIC)
def root() -> Response:
    """Redirects a browser that opens the bare address to the page."""
    return Response(status=302, headers={"Location": url_for("documentation.page")})


@blueprint.get("/openapi.json")
@requires(Access.PUBLIC)
def document() -> Response:
    return _unless_cached(Response(_documentation().document, content_type="application/json"))


@blueprint.get("/docs")
@requires(Access.PUBLIC)
def page() -> Response:
    response = Response(_documentation().page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _documentation().policy
    return _unless_cached(response)


def register(app: Flask) -> None:
    """Lets the application describe its routes. Raises LookupError for a route without a description."""
    check_routes(app)
    app.extensions[EXTENSION] = Documentation(app)


def _documentation() -> Documentation:
    return cast("Documentation", current_app.extensions[EXTENSION])


def _unless_cached(response: Response) -> Response:
    """304 for a client that has it. Anybody may cache it, but must revalidate, because a release changes it."""
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
