"""Validation of the create-message request, and every error response, in Bandwidth's own words.

Bandwidth, "Create message" reference. The descriptions about `from`, `to` and `text` are those that the live API
returns; Bandwidth publishes none for the other fields, so theirs are modelled on them. Bandwidth, "HTTP errors when
sending messages": a request that gets a 4xx or 5xx is neither billed nor sent.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from receiver.core.messages import units
from receiver.core.numbers import MAX_RECIPIENTS, is_e164, is_sender
from receiver.core.times import now
from receiver.simulator.switches import RequestFate, Switches

MAX_TEXT, MAX_URL, MAX_TAG = 2048, 4096, 1024  # characters

Fields = Mapping[str, Any]
"""The JSON object of a request."""

SERVER_ERROR = {
    "type": "internal-server-error",
    "description": "Internal server error. No further information available",
}
BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    "<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


class Refusal(Exception):
    """The request is refused: it gets this response instead of a 200 or 202."""

    def __init__(
        self,
        status: int,
        body: Mapping[str, Any] | str,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body if isinstance(body, str) else json.dumps(body)
        self.content_type = content_type
        self.headers = dict(headers or {})


def request_validation(field_errors: Sequence[tuple[str, str]] = ()) -> Refusal:
    """Returns a 400. ``field_errors`` are (fieldName, description); without any, it is as in the documentation."""
    body: dict[str, Any] = {
        "type": "request-validation",
        "description": "Your request could not be accepted",
    }
    if field_errors:
        body["fieldErrors"] = [{"fieldName": name, "description": description} for name, description in field_errors]
    return Refusal(400, body)


def bad_request(description: str) -> Refusal:
    """Returns a 400 for GET /messages. Bandwidth's own descriptions are not published."""
    return Refusal(400, {"type": "bad-request", "description": description})


def unauthorized(description: str = "Authentication Failed") -> Refusal:
    """Returns a 401, which is also for an account number that does not belong to the credentials."""
    return Refusal(401, {"type": "unauthorized", "description": description})


def not_found(path: str) -> Refusal:
    """Returns a 404, the one error that is not ``{type, description}``: it comes from the framework below the API."""
    body = {
        "timestamp": now().isoformat(timespec="milliseconds").replace("+00:00", "+0000"),
        "status": 404,
        "error": "Not Found",
        "message": "Not Found",
        "path": path,
    }
    return Refusal(404, body)


def method_not_allowed(method: str, *, allow: str) -> Refusal:
    """Returns a 405; ``allow`` lists the methods that are allowed."""
    description = f"Request method '{method}' is not supported"
    return Refusal(405, {"type": "method-not-allowed", "description": description}, headers={"Allow": allow})


def unsupported_type(content_type: str) -> Refusal:
    """Returns a 415, for a body that is not declared as JSON."""
    description = f"Content type '{content_type}' not supported. Please use 'application/json'"
    return Refusal(415, {"type": "unsupported-content-type", "description": description})


def queue_full(*, rate: float = 1.0, seconds: float = 900.0, retry_after: int | None = None) -> Refusal:
    """Returns a 429 for POST. Bandwidth, "Rate limits" guide; Retry-After is not documented there.

    ``rate`` is in messages per second, ``seconds`` the longest time that a message may wait.
    """
    description = (
        "The SMS queue for your account is full and cannot accept more messages right now. "
        f"Your allowed rate is {rate * 60:g} messages per minute. "
        f"The capacity of this queue is {rate * seconds:g} messages ({seconds / 60:g} minutes). "
        "Reduce your message sending rate, or contact support to increase your allowed rate."
    )
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Refusal(429, {"type": "max-message-queue-size-exceeded", "description": description}, headers=headers)


def quota_exceeded(*, retry_after: int) -> Refusal:
    """429 of GET /messages; with underscores where that of POST has hyphens. Bandwidth, "List messages" reference."""
    description = "Rate limit exceeded. Wait for Retry-After time before sending another request."
    body = {"type": "rate_limit_exceeded", "description": description}
    return Refusal(429, body, headers={"Retry-After": str(retry_after)})


def switched_refusal(switches: Switches, *, path: str) -> Refusal | None:
    """The refusal that the switches require, whatever the request; None if the request decides."""
    match switches.request:
        case RequestFate.BAD_REQUEST:
            return request_validation([("to", _not_e164("+invalid"))])
        case RequestFate.UNAUTHORIZED:
            return unauthorized()
        case RequestFate.FORBIDDEN:
            return Refusal(403, {"type": "forbidden", "description": "Access Denied"})
        case RequestFate.NOT_FOUND:
            return not_found(path)
        case RequestFate.UNSUPPORTED_TYPE:
            return unsupported_type("text/plain;charset=UTF-8")
        case RequestFate.QUEUE_FULL:
            return queue_full(retry_after=switches.retry_after)
        case RequestFate.SERVER_ERROR:
            return Refusal(500, SERVER_ERROR)
        case RequestFate.BAD_GATEWAY:
            return Refusal(502, BAD_GATEWAY, content_type="text/html")
        case RequestFate.REDIRECT:
            return Refusal(307, "", content_type="text/plain", headers={"Location": f"{path}/moved"})
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateMessageRequest:
    """A valid create-message request."""

    to: tuple[str, ...]
    """Distinct, in the request's order; Bandwidth does not document how it treats a repeated number."""
    sender: str
    application_id: str
    text: str | None
    media: tuple[str, ...]
    tag: str | None
    priority: str
    expiration: str | None
    """As it was written."""

    @property
    def units(self) -> int:
        """The number of messages that the account's rate counts: one for each segment to each recipient."""
        return units(self)

    @property
    def segments(self) -> int:
        """The number of segments that each recipient gets."""
        return self.units // len(self.to)


def validate(body: bytes) -> CreateMessageRequest:
    """Reads the body of a request; raises Refusal 400, which names every invalid field."""
    fields = _decode(body)
    errors = [(name, description) for name, check in CHECKS.items() for description in check(fields)]
    if errors:
        raise request_validation(errors)
    return CreateMessageRequest(
        to=tuple(dict.fromkeys(_as_list(fields.get("to")))),
        sender=_as_list(fields["from"])[0],
        application_id=fields["applicationId"],
        text=fields.get("text"),
        media=tuple(fields.get("media") or ()),
        tag=fields.get("tag"),
        priority=fields.get("priority") or "default",
        expiration=fields.get("expiration"),
    )


def _decode(body: bytes) -> Fields:
    try:
        fields = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise request_validation() from None
    if not isinstance(fields, dict):
        raise request_validation()
    return fields


def _reject_constant(constant: str) -> NoReturn:
    """Refuses NaN and Infinity, which are not JSON."""
    raise ValueError(constant)


def _as_list(value: object) -> list[Any]:
    """Returns the numbers of an array or of one bare string; null and the empty string are none."""
    if isinstance(value, list):
        return value
    return [] if value is None or value == "" else [value]


def _not_e164(value: object) -> str:
    return f"'{value}' must be replaced with a valid E164 formatted telephone number"


def _application_id(fields: Fields) -> Iterator[str]:
    if not (isinstance(fields.get("applicationId"), str) and fields["applicationId"]):
        yield "'applicationId' is required"


def _expiration(fields: Fields) -> Iterator[str]:
    if fields.get("expiration") is None:
        return
    try:
        is_future = datetime.fromisoformat(fields["expiration"]) > now()
    except (TypeError, ValueError):  # a comparison with a time that names no zone is a TypeError
        yield "'expiration' must be a valid RFC-3339 date-time"
        return
    if not is_future:
        yield "'expiration' must be in the future"


def _from(fields: Fields) -> Iterator[str]:
    senders = _as_list(fields.get("from"))
    if len(senders) != 1:
        yield "'from' must contain exactly one telephone number"
    elif not (isinstance(senders[0], str) and is_sender(senders[0])):
        yield _not_e164(senders[0])


def _media(fields: Fields) -> Iterator[str]:
    media = fields.get("media")
    if media is None:
        return
    if not isinstance(media, list) or not all(isinstance(url, str) and url for url in media):
        yield "'media' must be a list of URLs"
    elif any(len(url) > MAX_URL for url in media):
        yield f"'media' must contain URLs of at most {MAX_URL} characters"


def _priority(fields: Fields) -> Iterator[str]:
    if fields.get("priority") not in (None, "default", "high"):
        yield "'priority' must be one of 'default', 'high'"


def _tag(fields: Fields) -> Iterator[str]:
    tag = fields.get("tag")
    if tag is not None and not (isinstance(tag, str) and len(tag) <= MAX_TAG):
        yield f"'tag' must be a string of at most {MAX_TAG} characters"


def _text(fields: Fields) -> Iterator[str]:
    text = fields.get("text")
    if text is None or text == "":
        if not fields.get("media"):
            yield "'text' is required unless media is included"
    elif not (isinstance(text, str) and len(text) <= MAX_TEXT):
        yield f"'text' must be a string of at most {MAX_TEXT} characters"


def _to(fields: Fields) -> Iterator[str]:
    recipients = _as_list(fields.get("to"))
    if not recipients:
        yield "'to' must contain at least one telephone number"
    if len(recipients) > MAX_RECIPIENTS:
        yield f"'to' must contain at most {MAX_RECIPIENTS} telephone numbers"
    for number in recipients:
        if not (isinstance(number, str) and is_e164(number)):
            yield _not_e164(number)


CHECKS: dict[str, Callable[[Fields], Iterator[str]]] = {
    "applicationId": _application_id,
    "expiration": _expiration,
    "from": _from,
    "media": _media,
    "priority": _priority,
    "tag": _tag,
    "text": _text,
    "to": _to,
}
"""In the order in which the errors are listed, which is Bandwidth's: by name."""
