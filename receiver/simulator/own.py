"""The simulator's own paths, under /simulator; they ask for no credentials."""

import json
from typing import Any

from flask import Flask, Response, request

from receiver.simulator.accidents import Action
from receiver.simulator.account import Account
from receiver.simulator.switches import Switches


def add_own(app: Flask, account: Account) -> None:
    def show_switches() -> Response:
        return as_json(account.switchboard.switches.to_json())

    def set_switches() -> Response:
        try:
            account.switchboard.switches = Switches.from_json(_object())
        except ValueError as error:
            return as_json({"error": str(error)}, status=400)
        return show_switches()

    def show_messages() -> Response:
        return as_json({"messages": [message.to_json() for message in tuple(account.messages)]})

    def receive() -> Response:
        try:
            return as_json({"id": account.receive(**_inbound(_object()))}, status=202)
        except ValueError as error:
            return as_json({"error": str(error)}, status=400)

    def show_counts() -> Response:
        answers, tokens = dict(account.answers), dict(account.token_answers)
        return as_json({"answers": answers, "tokens": tokens, "waiting": account.queue.waiting})

    def revoke() -> Response:
        return as_json({"revoked": account.tokens.revoke()})

    def show_held() -> Response:
        return as_json({"held": account.switchboard.held})

    def release() -> Response:
        """Takes ``{}``, or ``{"do": "close"}`` or ``"reset"`` to end the connections."""
        try:
            return as_json({"released": account.switchboard.release(_ending(_object()))})
        except ValueError as error:
            return as_json({"error": str(error)}, status=400)

    app.add_url_rule("/simulator/counts", view_func=show_counts, methods=["GET"])
    app.add_url_rule("/simulator/held", view_func=show_held, methods=["GET"])
    app.add_url_rule("/simulator/release", view_func=release, methods=["POST"])
    app.add_url_rule("/simulator/revoke", view_func=revoke, methods=["POST"])
    app.add_url_rule("/simulator/switches", view_func=show_switches, methods=["GET"])
    app.add_url_rule("/simulator/switches", view_func=set_switches, methods=["PUT"])
    app.add_url_rule("/simulator/messages", view_func=show_messages, methods=["GET"])
    app.add_url_rule("/simulator/inbound", view_func=receive, methods=["POST"])


def as_json(body: Any, *, status: int = 200) -> Response:
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
