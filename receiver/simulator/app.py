"""The HTTP side: Bandwidth's endpoints."""

import json

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from receiver.simulator.account import Account
from receiver.simulator.messages import Message
from receiver.simulator.own import add_own, as_json
from receiver.simulator.refusals import (
    Refusal,
    chosen,
    method_not_allowed,
    not_found,
    unauthorized,
    unsupported_type,
)
from receiver.simulator.search import search
from receiver.simulator.server import SWITCHES
from receiver.simulator.switches import RequestFate, Switches
from receiver.simulator.token_route import add_token_route
from receiver.simulator.tokens import TOKEN_PATH
from receiver.simulator.validation import read

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
