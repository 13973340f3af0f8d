"""The security headers of every response, which keep a browser from doing more with it than showing it.

Responses to callbacks have them too, though Bandwidth is no browser: the cost is too small to measure, and one rule for
all responses is simpler than two.

Strict-Transport-Security is not among them: it may only be sent over TLS (RFC 6797, section 7.2), which ends at the
proxy.
"""

from flask import Flask, Response

HEADERS = {
    "Cache-Control": "no-store",  # responses hold numbers and texts
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # a path holds a tag
    "X-Content-Type-Options": "nosniff",
}
"""By name; a view may set another value."""


def register(app: Flask) -> None:
    """Adds the headers to every response of the application."""
    app.after_request(complete)


def complete(response: Response) -> Response:
    """Adds those of the headers that the response lacks; returns it."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
