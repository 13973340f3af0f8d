"""The HTTP routes: Bandwidth's messages and token endpoints, and the simulator's own under /simulator.

Bandwidth, "Create message" and "List messages" references. A token request is a client credentials grant (RFC 6749,
section 4.4), which is what Bandwidth's clients send. Bandwidth does not publish the responses of that endpoint: client
errors are those of the RFC (section 5.2), and the errors that only a switch causes have the same form.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from receiver.simulator.account import SimulatedAccount
from receiver.simulator.callbacks import AcceptedMessage
from receiver.simulator.search import search
from receiver.simulator.server import SWITCHES_KEY, TOKEN_PATH
from receiver.simulator.switches import Action, RequestFate, Switches, TokenFate
from receiver.simulator.validation import (
    BAD_GATEWAY,
    Refusal,
    method_not_allowed,
    not_found,
    switched_refusal,
    unauthorized,
    unsupported_type,
    validate,
)

BASES = ("/api/v2", "/v2", "")
"""The base paths that Bandwidth has documented, and none, for a base URL that is only a host."""

FORM = "application/x-www-form-urlencoded"
NOT_STORED = {"Cache-Control": "no-store"}

TOKEN_REFUSALS = {
    TokenFate.FORBID: (403, "access_denied", "The client may not use this API"),
    TokenFate.BAD_REQUEST: (400, "unauthorized_client", "The client may not use this grant type"),
    TokenFate.TOO_MANY: (429, "too_many_requests", "Too many requests"),
    TokenFate.SERVER_ERROR: (500, "server_error", "Internal server error"),
    TokenFate.UNAVAILABLE: (503, "temporarily_unavailable", "Service unavailable"),
}
"""Status, error and description of the token fates that refuse every request in JSON."""


def create_app(account: SimulatedAccount) -> Flask:
    """The Flask application with every route; the server provides each request's switches in its environ."""
    app = Flask("receiver.simulator")
    messages, tokens, control = _MessagesEndpoint(account), _TokenEndpoint(account), _ControlEndpoints(account)
    for base in BASES:
        path = f"{base}/users/<account_id>/messages"
        app.add_url_rule(path, f"create {base}", messages.create, methods=["POST"])
        app.add_url_rule(path, f"list {base}", messages.list, methods=["GET"])
    app.add_url_rule(TOKEN_PATH, view_func=tokens.issue, methods=["POST"])
    app.add_url_rule("/simulator/counts", view_func=control.show_counts, methods=["GET"])
    app.add_url_rule("/simulator/held", view_func=control.show_held, methods=["GET"])
    app.add_url_rule("/simulator/release", view_func=control.release, methods=["POST"])
    app.add_url_rule("/simulator/revoke", view_func=control.revoke, methods=["POST"])
    app.add_url_rule("/simulator/switches", view_func=control.show_switches, methods=["GET"])
    app.add_url_rule("/simulator/switches", view_func=control.set_switches, methods=["PUT"])
    app.add_url_rule("/simulator/messages", view_func=control.show_messages, methods=["GET"])
    app.add_url_rule("/simulator/inbound", view_func=control.receive, methods=["POST"])
    app.after_request(messages.count)
    app.after_request(tokens.count)
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _unroutable)
    return app


class _MessagesEndpoint:
    """POST and GET of an account's messages."""

    def __init__(self, account: SimulatedAccount) -> None:
        self._account = account

    def create(self, account_id: str) -> Response:
        switches: Switches = request.environ[SWITCHES_KEY]
        if refusal := switched_refusal(switches, path=request.path):
            raise refusal
        message = self._accept(account_id, switches)
        if switches.request is RequestFate.NONSENSE:
            return Response("<accepted/>", 202, content_type="application/json")
        return _json(message.response_body(), status=202)

    def list(self, account_id: str) -> Response:
        switches = self._account.switchboard.switches
        if not self._is_authentic(account_id, switches):
            raise unauthorized("Your request could not be authenticated")
        self._account.quota.use()
        query, url = request.args.to_dict(), request.base_url
        return _json(search(self._account.messages, query, shape=switches.search, account_id=account_id, url=url))

    def count(self, response: Response) -> Response:
        """Counts the response to a request to send, whatever its path."""
        if request.environ[SWITCHES_KEY] is not None and request.path != TOKEN_PATH:
            self._account.count_message_response(response.status_code)
        return response

    def _accept(self, account_id: str, switches: Switches) -> AcceptedMessage:
        if not self._is_authentic(account_id, switches):
            raise unauthorized()
        if request.mimetype != "application/json":
            raise unsupported_type(request.content_type or "")
        body = request.get_data()
        headers = {name: value for name, value in request.headers if name != "Authorization"}
        return self._account.accept(validate(body), headers=headers, body=json.loads(body), switches=switches)

    def _is_authentic(self, account_id: str, switches: Switches) -> bool:
        """Whether the request has a valid token or, if the switch allows it, the user's Basic credentials."""
        login = request.authorization
        if login is None or not self._account.is_own_id(account_id):
            return False
        if login.type == "bearer":
            # With OAuth the path needs the account's number; ids such as u-... are no longer accepted.
            is_number = account_id.isascii() and account_id.isdecimal()
            return is_number and self._account.tokens.is_valid(login.token or "")
        return (
            switches.basic
            and login.type == "basic"
            and self._account.knows_user(username=login.username or "", password=login.password or "")
        )


class _TokenEndpoint:
    """POST of a client's id and secret, which returns an access token."""

    def __init__(self, account: SimulatedAccount) -> None:
        self._account = account
        self._tokens = account.tokens

    def issue(self) -> Response:
        switches: Switches = request.environ[SWITCHES_KEY]
        if refusal := _switched_token_refusal(switches):
            raise refusal
        self._check_request()
        if switches.tokens is TokenFate.NOT_JSON:
            return Response("<token/>", 200, NOT_STORED, content_type="application/json")
        response = _json(self._grant(switches))
        response.headers.update(NOT_STORED)
        return response

    def count(self, response: Response) -> Response:
        """Counts the response to a request for a token."""
        if request.environ[SWITCHES_KEY] is not None and request.path == TOKEN_PATH:
            self._account.count_token_response(response.status_code)
        return response

    def _check_request(self) -> None:
        """Raises Refusal unless the account's client requests a token with client credentials."""
        if request.mimetype != FORM:
            raise _token_refusal(400, "invalid_request", f"The body must be {FORM}")
        login = request.authorization
        if login is None:
            client_id, client_secret = request.form.get("client_id"), request.form.get("client_secret")
        else:  # both are None if it is not Basic
            client_id, client_secret = login.username, login.password
        if not self._tokens.knows_client(client_id=client_id or "", client_secret=client_secret or ""):
            raise _unknown_client()
        grant_type = request.form.get("grant_type")
        if not grant_type:
            raise _token_refusal(400, "invalid_request", "The parameter grant_type is missing")
        if grant_type != "client_credentials":
            raise _token_refusal(400, "unsupported_grant_type", "The grant type must be client_credentials")

    def _grant(self, switches: Switches) -> dict[str, Any]:
        """The body of the 200. A switch can make its expires_in untrue; the token's lifetime stays the same."""
        lifetime = max(1, int(self._tokens.lifetime))
        expires_in = lifetime if switches.expires_in is None else switches.expires_in
        body = {"access_token": self._tokens.issue(), "token_type": "Bearer", "expires_in": expires_in}
        if switches.tokens is TokenFate.NO_TOKEN:
            del body["access_token"]
        if switches.tokens is TokenFate.NO_EXPIRY:
            del body["expires_in"]
        return body


def _switched_token_refusal(switches: Switches) -> Refusal | None:
    """The refusal that the switches require, whatever the request; None if the request decides."""
    match switches.tokens:
        case TokenFate.REFUSE:
            return _unknown_client()
        case TokenFate.BAD_GATEWAY:
            return Refusal(502, BAD_GATEWAY, content_type="text/html")
        case fate if fate in TOKEN_REFUSALS:
            refusal = _token_refusal(*TOKEN_REFUSALS[fate])
            if fate is TokenFate.TOO_MANY and switches.retry_after is not None:
                refusal.headers["Retry-After"] = str(switches.retry_after)
            return refusal
    return None


def _unknown_client() -> Refusal:
    refusal = _token_refusal(401, "invalid_client", "Client authentication failed")
    refusal.headers["WWW-Authenticate"] = 'Basic realm="Bandwidth API"'
    return refusal


def _token_refusal(status: int, error: str, description: str) -> Refusal:
    return Refusal(status, {"error": error, "error_description": description}, headers=NOT_STORED)


class _ControlEndpoints:
    """The simulator's own paths, under /simulator; they need no credentials."""

    def __init__(self, account: SimulatedAccount) -> None:
        self._account = account

    def show_switches(self) -> Response:
        return _json(self._account.switchboard.switches.to_json())

    def set_switches(self) -> Response:
        with _errors_in_json():
            switches = Switches.from_json(_body())
        self._account.switchboard.switches = switches
        return _json(switches.to_json())

    def show_messages(self) -> Response:
        return _json({"messages": [message.to_json() for message in tuple(self._account.messages)]})

    def show_counts(self) -> Response:
        messages, tokens = self._account.message_responses, self._account.token_responses
        return _json({"answers": messages, "tokens": tokens, "waiting": self._account.queue.waiting})

    def show_held(self) -> Response:
        return _json({"held": self._account.switchboard.held})

    def release(self) -> Response:
        with _errors_in_json():
            ending = _ending(_body())
        return _json({"released": self._account.switchboard.release(ending)})

    def revoke(self) -> Response:
        return _json({"revoked": self._account.tokens.revoke()})

    def receive(self) -> Response:
        with _errors_in_json():
            inbound = _inbound(_body())
        return _json({"id": self._account.receive(**inbound)}, status=202)


@contextmanager
def _errors_in_json() -> Iterator[None]:
    """Turns a ValueError about the body into a 400 with its sentence."""
    try:
        yield
    except ValueError as error:
        raise Refusal(400, {"error": str(error)}) from error


def _body() -> dict[str, Any]:
    body = json.loads(request.get_data())
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - every fault of the body is a ValueError
    return body


def _ending(body: dict[str, Any]) -> Action | None:
    """Reads ``{}``, which lets requests go on, or ``{"do": "close"}`` or ``{"do": "reset"}``."""
    if not body:
        return None
    if body.keys() != {"do"} or body["do"] not in (Action.CLOSE, Action.RESET):
        raise ValueError('the body must be {}, {"do": "close"} or {"do": "reset"}')
    return Action(body["do"])


def _inbound(body: dict[str, Any]) -> dict[str, Any]:
    """Reads ``{"from", "to", "text", "media"}``; ``to`` is one number or an array."""
    to = [body["to"]] if isinstance(body.get("to"), str) else body.get("to")
    media = body.get("media") or []
    sender, text = body.get("from"), body.get("text", "")
    if not (isinstance(sender, str) and isinstance(text, str) and _strings(to) and to and _strings(media)):
        raise ValueError('the body must be {"from": "+1...", "to": "+1..." or [...], "text": "...", "media": [...]}')
    return {"sender": sender, "to": to, "text": text, "media": media}


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _json(body: Any, *, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def _refused(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, refusal.headers, content_type=refusal.content_type)


def _unroutable(error: HTTPException) -> Response | HTTPException:
    if isinstance(error, NotFound):
        return _refused(not_found(request.path))
    if isinstance(error, MethodNotAllowed):
        return _refused(method_not_allowed(request.method, allow=", ".join(error.valid_methods or ())))
    return error
