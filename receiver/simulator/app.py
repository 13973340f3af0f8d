"""The HTTP side: Bandwidth's endpoint, and the simulator's own under /simulator."""

import json
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from receiver.simulator.accidents import Action
from receiver.simulator.account import Account
from receiver.simulator.messages import Message
from receiver.simulator.refusals import (
    Refusal,
    chosen,
    method_not_allowed,
    not_found,
    unauthorized,
    unsupported_type,
)
from receiver.simulator.server import SWITCHES
from receiver.simulator.switches import RequestFate, Switches
from receiver.simulator.validation import read

BASES = ("/api/v2", "/v2", "")
"""The base paths that Bandwidth has documented, and none, for a base URL that is only a host."""


def create_app(account: Account) -> Flask:
    app = Flask("receiver.simulator")

    def send(account_id: str) -> Response:
        switches: Switches = request.environ[SWITCHES]
        if refusal := chosen(switches.request, path=request.path):
            raise refusal
        message = _accept(account, account_id, switches)
        if switches.request is RequestFate.NONSENSE:
            return Response("<accepted/>", 202, content_type="application/json")
        return _json(message.answer(), status=202)

    for base in BASES:
        path = f"{base}/users/<account_id>/messages"
        app.add_url_rule(path, f"send {base}", send, methods=["POST"])
    _add_own(app, account)
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _unroutable)
    return app


def _accept(account: Account, account_id: str, switches: Switches) -> Message:
    login = request.authorization
    if login is None or login.type != "basic":
        raise unauthorized()
    account.check(account_id=account_id, username=login.username or "", password=login.password or "")
    if request.mimetype != "application/json":
        raise unsupported_type(request.content_type or "")
    raw = request.get_data()
    headers = {name: value for name, value in request.headers if name != "Authorization"}
    checked = read(raw)
    return account.accept(checked, headers=headers, received=json.loads(raw), shape=switches.callbacks)


def _refused(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, refusal.headers, content_type=refusal.content_type)


def _unroutable(error: HTTPException) -> Response | HTTPException:
    if isinstance(error, NotFound):
        return _refused(not_found(request.path))
    if isinstance(error, MethodNotAllowed):
        return _refused(method_not_allowed(request.method, allow=", ".join(error.valid_methods or ())))
    return error


def _add_own(app: Flask, account: Account) -> None:
    """The simulator's own endpoints; they ask for no credentials."""

    def show_switches() -> Response:
        return _json(account.switchboard.switches.to_json())

    def set_switches() -> Response:
        try:
            account.switchboard.switches = Switches.from_json(_object())
        except ValueError as error:
            return _json({"error": str(error)}, status=400)
        return show_switches()

    def show_messages() -> Response:
        return _json({"messages": [message.to_json() for message in tuple(account.messages)]})

    def receive() -> Response:
        try:
            return _json({"id": account.receive(**_inbound(_object()))}, status=202)
        except ValueError as error:
            return _json({"error": str(error)}, status=400)

    def show_held() -> Response:
        return _json({"held": account.switchboard.held})

    def release() -> Response:
        """Takes ``{}``, or ``{"do": "close"}`` or ``"reset"`` to end the connections."""
        try:
            return _json({"released": account.switchboard.release(_ending(_object()))})
        except ValueError as error:
            return _json({"error": str(error)}, status=400)

    app.add_url_rule("/simulator/held", view_func=show_held, methods=["GET"])
    app.add_url_rule("/simulator/release", view_func=release, methods=["POST"])
    app.add_url_rule("/simulator/switches", view_func=show_switches, methods=["GET"])
    app.add_url_rule("/simulator/switches", view_func=set_switches, methods=["PUT"])
    app.add_url_rule("/simulator/messages", view_func=show_messages, methods=["GET"])
    app.add_url_rule("/simulator/inbound", view_func=receive, methods=["POST"])


def _json(body: dict[str, Any], *, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def _object() -> dict[str, Any]:
    body = json.loads(request.get_data())
    if not isinstance(body, dict):
        raise ValueError("the body is a JSON object")  # noqa: TRY004 - answered like every other fault of the body
    return body


def _ending(body: dict[str, Any]) -> Action | None:
    if not body:
        return None
    if body.keys() != {"do"} or body["do"] not in (Action.CLOSE, Action.RESET):
        raise ValueError('the body is {}, {"do": "close"} or {"do": "reset"}')
    return Action(body["do"])


def _inbound(body: dict[str, Any]) -> dict[str, Any]:
    """Reads ``{"from", "to", "text", "media"}``; ``to`` is one number or an array."""
    to = [body["to"]] if isinstance(body.get("to"), str) else body.get("to")
    media = body.get("media") or []
    sender, text = body.get("from"), body.get("text", "")
    if not (isinstance(sender, str) and isinstance(text, str) and _strings(to) and to and _strings(media)):
        raise ValueError('the body is {"from": "+1...", "to": "+1..." or [...], "text": "...", "media": [...]}')
    return {"sender": sender, "to": to, "text": text, "media": media}


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
