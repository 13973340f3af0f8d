"""The API's description, for programs and for people. Neither needs the database, or anything from elsewhere."""

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
    """What is served, made once."""

    document: bytes
    page: bytes
    policy: str
    """The page's Content-Security-Policy: its own style sheet and nothing else."""


@blueprint.get("/")
@requires(Access.PUBLIC)
def root() -> Response:
    """Leads whoever opens the bare address in a browser to the page."""
    return Response(status=302, headers={"Location": url_for("documentation.page")})


@blueprint.get("/openapi.json")
@requires(Access.PUBLIC)
def document() -> Response:
    return _unless_known(Response(_documentation().document, content_type="application/json"))


@blueprint.get("/docs")
@requires(Access.PUBLIC)
def page() -> Response:
    answer = Response(_documentation().page, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = _documentation().policy
    return _unless_known(answer)


def register(app: Flask) -> None:
    """Makes the description of all routes. Raises LookupError for one that is not described."""
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


def _unless_known(answer: Response) -> Response:
    """304 for who has it already. It is public, and kept by whoever likes, but asked for again after a release."""
    answer.headers["Cache-Control"] = "no-cache"
    answer.add_etag()
    answer.make_conditional(request)
    return answer
