"""The HTTP routes: Bandwidth's messages and token endpoints, and the simulator's own under /simulator.

Bandwidth, "Create message" and "List messages" references. The token request is a client credentials grant
(RFC 6749, section 4.4), which is what Bandwidth's clients send. Bandwidth does not publish the responses of that
endpoint: client errors are those of the RFC (section 5.2), and the errors that only a switch causes look alike.
"""

import json
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from receiver.simulator.account import Account
from receiver.simulator.callbacks import Message
from receiver.simulator.search import search
from receiver.simulator.server import SWITCHES
from receiver.simulator.switches import Action, RequestFate, Switches, TokenFate
from receiver.simulator.tokens import TOKEN_PATH, Tokens
from receiver.simulator.validation import (
    BAD_GATEWAY,
    Refusal,
    chosen,
    method_not_allowed,
    not_found,
    read,
    unauthorized,
    unsupported_type,
)

BASES = ("/api/v2", "/v2", "")
"""The base paths that Bandwidth has documented, and none, for a base URL that is only a host."""


def create_app(account: Account) -> Flask:
    app = Flask("receiver.simulator")

    def send(account_id: str) -> Response:
        switches: Switches = request.environ[SWITCHES]
        if refusal := chosen(switches, path=request.path):
            raise refusal
        message = _accept(account, account_id, switches)
        if switches.request is RequestFate.NONSENSE:
            return Response("<accepted/>", 202, content_type="application/json")
        return as_json(message.answer(), status=202)

    def find(account_id: str) -> Response:
        switches = account.switchboard.switches
        if not _is_authentic(account, account_id, switches):
            raise unauthorized("Your request could not be authenticated")
        account.quota.use()
        query, url = request.args.to_dict(), request.base_url
        return as_json(search(account.messages, query, shape=switches.search, account_id=account_id, url=url))

    def count(response: Response) -> Response:
        if request.environ[SWITCHES]:
            is_for_token = request.path == TOKEN_PATH
            (account.count_token if is_for_token else account.count)(response.status_code)
        return response

    for base in BASES:
        path = f"{base}/users/<account_id>/messages"
        app.add_url_rule(path, f"send {base}", send, methods=["POST"])
        app.add_url_rule(path, f"find {base}", find, methods=["GET"])
    add_token_route(app, account)
    add_own(app, account)
    app.after_request(count)
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _unroutable)
    return app


def _accept(account: Account, account_id: str, switches: Switches) -> Message:
    if not _is_authentic(account, account_id, switches):
        raise unauthorized()
    if request.mimetype != "application/json":
        raise unsupported_type(request.content_type or "")
    raw = request.get_data()
    headers = {name: value for name, value in request.headers if name != "Authorization"}
    checked = read(raw)
    return account.accept(checked, headers=headers, received=json.loads(raw), switches=switches)


def _is_authentic(account: Account, account_id: str, switches: Switches) -> bool:
    login = request.authorization
    if login is None or not account.is_own_id(account_id):
        return False
    if login.type == "bearer":  # with OAuth the path needs the account's number: ids such as u-... end as well
        is_number = account_id.isascii() and account_id.isdecimal()
        return is_number and account.tokens.is_good(login.token or "")
    return (
        switches.basic
        and login.type == "basic"
        and account.knows_user(username=login.username or "", password=login.password or "")
    )


def _refused(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, refusal.headers, content_type=refusal.content_type)


def _unroutable(error: HTTPException) -> Response | HTTPException:
    if isinstance(error, NotFound):
        return _refused(not_found(request.path))
    if isinstance(error, MethodNotAllowed):
        return _refused(method_not_allowed(request.method, allow=", ".join(error.valid_methods or ())))
    return error


NOT_STORED = {"Cache-Control": "no-store"}
FORM = "application/x-www-form-urlencoded"

REFUSALS = {
    TokenFate.FORBID: (403, "access_denied", "The client may not use this API"),
    TokenFate.BAD_REQUEST: (400, "unauthorized_client", "The client may not use this grant type"),
    TokenFate.TOO_MANY: (429, "too_many_requests", "Too many requests"),
    TokenFate.SERVER_ERROR: (500, "server_error", "Internal server error"),
    TokenFate.UNAVAILABLE: (503, "temporarily_unavailable", "Service unavailable"),
}
"""Status, error and description of the fates that are a refusal in JSON, whoever asks."""


def add_token_route(app: Flask, account: Account) -> None:
    """Adds the token route to the application."""

    def give_token() -> Response:
        switches: Switches = request.environ[SWITCHES]
        if refusal := _chosen(switches):
            raise refusal
        _check(account.tokens)
        if switches.tokens is TokenFate.NOT_JSON:
            return Response("<token/>", 200, NOT_STORED, content_type="application/json")
        answer = as_json(_grant(account.tokens, switches))
        answer.headers.update(NOT_STORED)
        return answer

    app.add_url_rule(TOKEN_PATH, view_func=give_token, methods=["POST"])


def _chosen(switches: Switches) -> Refusal | None:
    """The refusal that the switch asks for, whatever the request; None if it is to be read at all."""
    match switches.tokens:
        case TokenFate.REFUSE:
            return _unknown_client()
        case TokenFate.BAD_GATEWAY:
            return Refusal(502, BAD_GATEWAY, content_type="text/html")
        case fate if fate in REFUSALS:
            status, error, description = REFUSALS[fate]
            returns = status == 429 and switches.retry_after is not None
            return _refusal(status, error, description, {"Retry-After": str(switches.retry_after)} if returns else {})
    return None


def _check(tokens: Tokens) -> None:
    """Raises Refusal unless the client whose tokens these are asks for one as it should."""
    if request.mimetype != FORM:
        raise _refusal(400, "invalid_request", f"The body must be {FORM}")
    login = request.authorization
    if login is None:
        client_id, client_secret = request.form.get("client_id"), request.form.get("client_secret")
    else:  # werkzeug leaves both out of what is not Basic
        client_id, client_secret = login.username, login.password
    if not tokens.knows_client(client_id=client_id or "", client_secret=client_secret or ""):
        raise _unknown_client()
    grant_type = request.form.get("grant_type")
    if not grant_type:
        raise _refusal(400, "invalid_request", "The parameter grant_type is missing")
    if grant_type != "client_credentials":
        raise _refusal(400, "unsupported_grant_type", "The grant type must be client_credentials")


def _grant(tokens: Tokens, switches: Switches) -> dict[str, Any]:
    """The body of the answer to a good request; what it says of a token's end may be untrue, the end is not."""
    expires_in = max(1, int(tokens.seconds)) if switches.expires_in is None else switches.expires_in
    body = {"access_token": tokens.issue(), "token_type": "Bearer", "expires_in": expires_in}
    if switches.tokens is TokenFate.NO_TOKEN:
        del body["access_token"]
    if switches.tokens is TokenFate.NO_EXPIRY:
        del body["expires_in"]
    return body


def _unknown_client() -> Refusal:
    challenge = {"WWW-Authenticate": 'Basic realm="Bandwidth API"'}
    return _refusal(401, "invalid_client", "Client authentication failed", challenge)


def _refusal(status: int, error: str, description: str, headers: dict[str, str] | None = None) -> Refusal:
    body = {"error": error, "error_description": description}
    return Refusal(status, body, headers=NOT_STORED | (headers or {}))


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
