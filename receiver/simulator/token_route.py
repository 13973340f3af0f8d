"""POST /api/v1/oauth2/token: a client's id and secret are exchanged for an access token.

The request is the one that Bandwidth's clients make, a client credentials grant (RFC 6749, section 4.4). Bandwidth
does not publish the answers of this route: those to a mistake of the client are the RFC's (section 5.2), those that
only a switch asks for have bodies in the same manner.
"""

from typing import Any

from flask import Flask, Response, request

from receiver.simulator.account import Account
from receiver.simulator.own import as_json
from receiver.simulator.refusals import BAD_GATEWAY, Refusal
from receiver.simulator.server import SWITCHES
from receiver.simulator.switches import Switches, TokenFate
from receiver.simulator.tokens import TOKEN_PATH, Tokens

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
