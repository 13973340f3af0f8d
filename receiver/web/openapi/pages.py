"""The routes of the API's description, for programs and for people. They need no database and no other server."""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import cast

from flask import Blueprint, Flask, Response, current_app, render_template, request, url_for
from markdown_it import MarkdownIt

from receiver.web.authentication import Access, requires
from receiver.web.openapi.document import describe

EXTENSION = "receiver documentation"

blueprint = Blueprint("documentation", __name__, template_folder="templates")


@dataclass(frozen=True, slots=True, kw_only=True)
class Documentation:
    """The document and the page, made once."""

    document: bytes
    page: bytes
    policy: str
    """The page's Content-Security-Policy, which allows its own style sheet and nothing else."""


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
    """Makes the description of all routes. Raises LookupError if one is not described."""
    described, markdown = describe(app), MarkdownIt("commonmark", {"html": False})
    app.jinja_env.filters |= {"paragraphs": markdown.render, "line": markdown.renderInline}
    with app.app_context():
        style = render_template("docs.css")
        page = render_template("docs.html", document=described, style=style)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    app.extensions[EXTENSION] = Documentation(
        document=json.dumps(described).encode(),
        page=page.encode(),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'",
    )


def _documentation() -> Documentation:
    return cast("Documentation", current_app.extensions[EXTENSION])


def _unless_cached(response: Response) -> Response:
    """304 for a client that has it. Anybody may cache it, but must revalidate, because a release changes it."""
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
