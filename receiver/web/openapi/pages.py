"""The routes of the API's description, for programs and for people. They need no database and no other server."""

import base64
import hashlib
import json
from functools import cached_property
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, render_template, request, url_for
from markdown_it import MarkdownIt

from receiver.web.authentication import Access, requires
from receiver.web.openapi.document import describe

EXTENSION = "receiver documentation"

blueprint = Blueprint("documentation", __name__, template_folder="templates")


class Documentation:
    """The description of an application's routes, as a document for programs and as a page for people."""

    def __init__(self, described: dict[str, Any]) -> None:
        self._described = described
        self.document = json.dumps(described).encode()

    @cached_property
    def page(self) -> bytes:
        """The page in HTML, rendered when it is first requested: most processes never serve it."""
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
    """Describes all routes of the application. Raises LookupError for a route without a description."""
    markdown = MarkdownIt("commonmark", {"html": False})
    app.jinja_env.filters |= {"paragraphs": markdown.render, "line": markdown.renderInline}
    app.extensions[EXTENSION] = Documentation(describe(app))


def _documentation() -> Documentation:
    return cast("Documentation", current_app.extensions[EXTENSION])


def _unless_cached(response: Response) -> Response:
    """304 for a client that has it. Anybody may cache it, but must revalidate, because a release changes it."""
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
