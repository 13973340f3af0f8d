"""The headers of every answer that keep a browser from doing more with it than showing it.

Callbacks are answered with them too, though Bandwidth is no browser: it costs less than could be measured, and nobody
has to know which answer has which.

Strict-Transport-Security is not among them: it may only be said over TLS (RFC 6797, section 7.2), and that ends at the
proxy.
"""

from flask import Flask, Response

HEADERS = {
    "Cache-Control": "no-store",  # numbers and texts belong in nobody's cache
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # a path holds a tag
    "X-Content-Type-Options": "nosniff",
}
"""What an answer has, unless its view says otherwise."""


def register(app: Flask) -> None:
    app.after_request(complete)


def complete(answer: Response) -> Response:
    """That answer, with these headers."""
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer
