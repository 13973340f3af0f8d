"""What Flask itself costs: a view that reads nothing, checks nothing, stores nothing, and always answers the same."""

from flask import Flask, Response

app = Flask(__name__, static_folder=None)
ANSWER = Response(b"{}", content_type="application/json")


@app.post("/callbacks/bandwidth")
def receive() -> Response:
    return ANSWER
