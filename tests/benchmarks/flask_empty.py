"""The cost of Flask itself: a view that reads, checks and stores nothing, and always returns the same response."""

from flask import Flask, Response

app = Flask(__name__, static_folder=None)
ANSWER = Response(b"{}", content_type="application/json")


@app.post("/callbacks/bandwidth")
def receive() -> Response:
    return ANSWER
