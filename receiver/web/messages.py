"""The API of the application: sends and withdraws messages, and shows them with their outcomes and their events."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, g, jsonify, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.http import parse_list_header

from receiver.core import times
from receiver.core.messages import MAX_KEY, IdempotencyKey, fingerprint
from receiver.core.send_status import NEITHER_SENT_NOR_BILLED, RefusedBecause, SendStatus, is_repeatable
from receiver.core.tags import is_tag
from receiver.errors import FieldErrors, InvalidFields, MessageNotFound, NotJSON
from receiver.messages.outbox import MessageReport
from receiver.messages.sender import QUEUE_SECONDS, Submission
from receiver.messages.sender import cancel as cancel_message
from receiver.reports import messages
from receiver.reports.messages import MessageFilter
from receiver.schemas.requests import FILTERS, load_fields, read_message
from receiver.schemas.responses import MESSAGE, PAGE, event_text
from receiver.web.authentication import Access, requires
from receiver.web.problems import problem, sentence, summarize
from receiver.web.views import read_json, services

blueprint = Blueprint("messages", __name__)

KEY, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
KEY_KEPT = timedelta(days=7)

AGAIN_LATER = "Send it again later."
WITH_A_NEW_KEY = "Correct it and send it again with a new key."

AGAIN_SECONDS = 1
"""Seconds after which to repeat a request whose first one is still being carried out."""


@blueprint.post("/messages")
@requires(Access.WRITE)
def create() -> Response:
    body = read_json()
    sender, headers = services().sender, request.headers
    at_once = "Prefer" not in headers or not _prefers_async(headers["Prefer"])
    key = _idempotency_key(headers[KEY], body) if KEY in headers else None
    try:
        message = replace(read_message(body, services().settings), asked_by=g.principal.name)
    except InvalidFields:
        repeated = sender.repeat(key, at_once=at_once) if key else None
        if repeated is None:  # a repeat may be invalid: its expiration may have passed since
            raise
        submission = repeated
    else:
        submission = sender.send(message, key=key) if at_once else sender.queue(message, key=key)
    g.tag = submission.tag
    response = _respond(submission)
    if submission.is_replayed:
        response.headers[REPLAYED] = "true"
    if not at_once and response.status_code == 202:
        response.headers["Preference-Applied"] = "respond-async"
    return response


@blueprint.delete("/messages/<tag>")
@requires(Access.WRITE)
def cancel(tag: str) -> Response:
    g.tag = check_tag(tag)
    return jsonify(MESSAGE.dump(cancel_message(services().database, tag)))


@blueprint.get("/messages/<tag>")
@requires(Access.READ)
def show(tag: str) -> Response:
    return jsonify(MESSAGE.dump(messages.message(services().database, check_tag(tag))))


@blueprint.get("/messages/<tag>/events")
@requires(Access.READ)
def events(tag: str) -> Response:
    found = messages.events(services().database, check_tag(tag))
    return Response(f'{{"events": [{", ".join(map(event_text, found))}]}}', content_type="application/json")


@blueprint.get("/messages")
@requires(Access.READ)
def search() -> Response:
    wanted = load_fields(FILTERS, _query())
    limit = wanted.pop("limit")
    page = messages.messages(services().database, MessageFilter(**wanted), limit=limit)
    return jsonify(PAGE.dump(page))


def _prefers_async(prefer: str) -> bool:
    """Whether the header holds the preference respond-async (RFC 7240, section 4.1).

    Preferences are separated by commas and may have parameters; an empty value is the same as none.
    """
    preferences = (each.partition(";")[0].partition("=") for each in parse_list_header(prefer))
    return any(
        name.strip().lower() == "respond-async" and value.strip() in ("", '""') for name, _, value in preferences
    )


def _idempotency_key(given: str, body: Any) -> IdempotencyKey:
    key, expires_at = _read_key(given), times.now() + KEY_KEPT
    try:
        return IdempotencyKey(api_key=g.principal.name, key=key, sha256=fingerprint(body), expires_at=expires_at)
    except RecursionError as error:  # json writes fewer levels than it reads
        raise NotJSON("The body is nested too deeply; send fewer levels.") from error


_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')


def _read_key(given: str) -> str:
    """Returns the key, with or without quotes. Raises InvalidFields.

    The draft demands quotes (a string of RFC 8941, section 3.3.3), but most clients leave them out.
    """
    quoted = _QUOTED.fullmatch(given)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else given
    if not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()) or (given[0] == '"' and not quoted):
        raise InvalidFields({KEY: [f"Must be 1 to {MAX_KEY} printable ASCII characters."]})
    return key


def _respond(submission: Submission) -> Response:
    """Returns the response by the outcome of the request. Each holds the tag and the present state."""
    message = submission.message
    if message is None:
        return _unknown(submission.tag, "Bandwidth's response could not be stored.")
    match message.send_status:
        case SendStatus.ACCEPTED | SendStatus.QUEUED:
            response = jsonify(MESSAGE.dump(message))
            response.status_code = 202
            response.headers["Location"] = url_for("messages.show", tag=message.tag)
            return response
        case SendStatus.SUBMITTING:
            detail = "The first request with this key is still in progress; repeat it, or look up its tag."
            return problem(409, detail, headers=_after(AGAIN_SECONDS), **_state(message))
        case SendStatus.UNKNOWN:
            return _unknown(message.tag, _reason(message))
    return _refused(message, submission.retry_after)


def _unknown(tag: str, reason: str) -> Response:
    detail = f"It is unknown whether this was sent. Do not send it again; look up its tag. {reason}"
    return problem(504, detail.strip(), tag=tag, sendStatus=SendStatus.UNKNOWN)


def _refused(message: MessageReport, retry_after: int | None) -> Response:
    state, headers, detail = _state(message), _after(retry_after), f"This was not sent. {_reason(message)}".strip()
    match message.refused_because:
        case RefusedBecause.RATE_LIMITED:
            seconds = QUEUE_SECONDS if retry_after is None else retry_after
            return problem(429, f"{detail} {AGAIN_LATER}", headers=_after(seconds), **state)
        case RefusedBecause.UNREACHABLE:
            return problem(503, f"{detail} {AGAIN_LATER}", headers=headers, **state)
        case RefusedBecause.EXPIRED:
            detail = (
                "This was not sent: its expiration has passed. Send it again with a later expiration and a new key."
            )
            return problem(422, detail, errors={"expiration": ["Has passed."]}, **state)
        case RefusedBecause.CANCELLED:
            return problem(409, "This was not sent: it was cancelled. Send it again with a new key.", **state)
        case RefusedBecause.OPERATOR:
            return problem(409, "A person has recorded that this was not sent. Send it again with a new key.", **state)
    status = message.error.status if message.error else None
    if status == 400:
        errors = _field_errors(message)
        detail = f"{detail} {summarize(errors)}".strip()
        return problem(422, f"{detail} {WITH_A_NEW_KEY}", errors=errors, **state)
    if status == NEITHER_SENT_NOR_BILLED:
        return problem(503, f"{detail} {AGAIN_LATER}", headers=headers, **state)
    repeatable = is_repeatable(RefusedBecause.BANDWIDTH, status=status)
    remedy = "Correct the settings, then send it again." if repeatable else WITH_A_NEW_KEY
    return problem(502, f"{detail} {remedy}", **state)  # only a person can correct it


def _state(message: MessageReport) -> dict[str, Any]:
    return {"tag": message.tag, "sendStatus": message.send_status}


def _after(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}


def _field_errors(message: MessageReport) -> FieldErrors:
    """Returns Bandwidth's field errors by field; its fields and ours have the same names."""
    errors: FieldErrors = {}
    for each in message.error.field_errors if message.error else ():
        errors.setdefault(each.field_name, []).append(each.description)
    return errors


def _reason(message: MessageReport) -> str:
    """Returns why the request failed, as a sentence; empty if nothing is known."""
    error = message.error
    if error is None:
        return ""
    words = error.description or error.type
    if error.status:
        return sentence(f"Bandwidth: {words}" if words else f"Bandwidth responded with {error.status}")
    return sentence(error.description or "")


def _query() -> dict[str, str]:
    try:
        given = request.args
    except UnicodeDecodeError as error:
        raise BadRequest("The query is not UTF-8; percent-encode it.") from error
    repeated = [name for name, values in given.lists() if len(values) > 1]
    if repeated:
        raise InvalidFields({name: ["Must be given only once."] for name in repeated})
    return given.to_dict()


def check_tag(tag: str) -> str:
    """Returns the tag. Raises MessageNotFound if it does not have the shape of one."""
    if not is_tag(tag):
        raise MessageNotFound(tag)
    return tag
