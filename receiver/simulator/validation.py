"""Validation of the create-message request, and every error response, in Bandwidth's own words.

Bandwidth, "Create message" reference. The descriptions about `from`, `to` and `text` are those that the live API
returns; Bandwidth publishes none for the other fields, so theirs are modelled on them. Bandwidth, "HTTP errors when
sending messages": a request that gets a 4xx or 5xx is neither billed nor sent.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from receiver.core.messages import units
from receiver.simulator.clock import now
from receiver.simulator.switches import RequestFate, Switches


class Refusal(Exception):
    """The request is answered with something other than 202."""

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
    """400. ``field_errors`` are (fieldName, description); without any, the form that the documentation prints."""
    body: dict[str, Any] = {
        "type": "request-validation",
        "description": "Your request could not be accepted",
    }
    if field_errors:
        body["fieldErrors"] = [{"fieldName": name, "description": description} for name, description in field_errors]
    return Refusal(400, body)


def bad_request(description: str) -> Refusal:
    """400 of GET /messages. Bandwidth's own descriptions are not published."""
    return Refusal(400, {"type": "bad-request", "description": description})


def queue_full(*, rate: float = 1.0, seconds: float = 900.0, retry_after: int | None = None) -> Refusal:
    """429 of POST. Bandwidth, "Rate limits" guide; Retry-After is not documented there."""
    description = (
        "The SMS queue for your account is full and cannot accept more messages right now. "
        f"Your allowed rate is {rate * 60:g} messages per minute. "
        f"The capacity of this queue is {rate * seconds:g} messages ({seconds / 60:g} minutes). "
        "Reduce your message sending rate, or contact support to increase your allowed rate."
    )
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Refusal(429, {"type": "max-message-queue-size-exceeded", "description": description}, headers=headers)


def asked_too_often(*, retry_after: int) -> Refusal:
    """429 of GET /messages; with underscores where that of POST has hyphens. Bandwidth, "List messages" reference."""
    description = "Rate limit exceeded. Wait for Retry-After time before sending another request."
    body = {"type": "rate_limit_exceeded", "description": description}
    return Refusal(429, body, headers={"Retry-After": str(retry_after)})


def unauthorized(description: str = "Authentication Failed") -> Refusal:
    """401, also for an account number that does not go with the credentials."""
    return Refusal(401, {"type": "unauthorized", "description": description})


def not_found(path: str) -> Refusal:
    """404, the one error that is not ``{type, description}``: it comes from the framework below the API."""
    body = {
        "timestamp": now().isoformat(timespec="milliseconds").replace("+00:00", "+0000"),
        "status": 404,
        "error": "Not Found",
        "message": "Not Found",
        "path": path,
    }
    return Refusal(404, body)


def method_not_allowed(method: str, *, allow: str) -> Refusal:
    description = f"Request method '{method}' is not supported"
    return Refusal(405, {"type": "method-not-allowed", "description": description}, headers={"Allow": allow})


def unsupported_type(content_type: str) -> Refusal:
    description = f"Content type '{content_type}' not supported. Please use 'application/json'"
    return Refusal(415, {"type": "unsupported-content-type", "description": description})


def chosen(switches: Switches, *, path: str) -> Refusal | None:
    """The refusal that the switch asks for, whatever the request; None if it is to be read at all."""
    match switches.request:
        case RequestFate.BAD_REQUEST:
            wrong = "'+invalid' must be replaced with a valid E164 formatted telephone number"
            return request_validation([("to", wrong)])
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


SERVER_ERROR = {
    "type": "internal-server-error",
    "description": "Internal server error. No further information available",
}
BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    "<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


MOST_RECIPIENTS = 10
MOST_TEXT, MOST_URL, MOST_TAG = 2048, 4096, 1024  # characters

E164 = re.compile(r"\+[1-9][0-9]{1,14}")
SHORT_CODE = re.compile(r"[0-9]{3,8}")
# may hold a plus sign, but what begins with one is meant as a number: the live API says so of '+invalid'
SENDER_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 _&-][A-Za-z0-9 +_&-]{0,10}")

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRequest:
    """A request that Bandwidth accepts."""

    to: tuple[str, ...]
    """Distinct, in the request's order: what Bandwidth makes of a repeated number is not documented."""
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
        """How many messages the account's rate counts: one for each segment to each recipient."""
        return units(recipients=len(self.to), text=self.text, media=bool(self.media))

    @property
    def segments(self) -> int:
        return self.units // len(self.to)


def read(raw: bytes) -> MessageRequest:
    """Reads a body; raises Refusal 400 that names every field at fault."""
    fields = _decode(raw)
    errors = [(name, said) for name, check in CHECKS.items() for said in check(fields)]
    if errors:
        raise request_validation(errors)
    return MessageRequest(
        to=tuple(dict.fromkeys(_listed(fields.get("to")))),
        sender=_listed(fields["from"])[0],
        application_id=fields["applicationId"],
        text=fields.get("text"),
        media=tuple(fields.get("media") or ()),
        tag=fields.get("tag"),
        priority=fields.get("priority") or "default",
        expiration=fields.get("expiration"),
    )


def _decode(raw: bytes) -> Fields:
    try:
        body = json.loads(raw, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise request_validation() from None
    if not isinstance(body, dict):
        raise request_validation()
    return body


def _not_json(constant: str) -> NoReturn:
    raise ValueError(constant)


def _listed(value: object) -> list[Any]:
    """Numbers come as an array or as one bare string; null and the empty string are none."""
    if isinstance(value, list):
        return value
    return [] if value is None or value == "" else [value]


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _application_id(fields: Fields) -> Iterator[str]:
    if not (isinstance(fields.get("applicationId"), str) and fields["applicationId"]):
        yield "'applicationId' is required"


def _expiration(fields: Fields) -> Iterator[str]:
    if fields.get("expiration") is None:
        return
    try:
        future = datetime.fromisoformat(fields["expiration"]) > datetime.now(UTC)
    except (TypeError, ValueError):  # a comparison with a time that names no zone is a TypeError
        yield "'expiration' must be a valid RFC-3339 date-time"
        return
    if not future:
        yield "'expiration' must be in the future"


def _from(fields: Fields) -> Iterator[str]:
    senders = _listed(fields.get("from"))
    if len(senders) != 1:
        yield "'from' must contain exactly one telephone number"
    elif not any(_matches(pattern, senders[0]) for pattern in (E164, SHORT_CODE, SENDER_ID)):
        yield f"'{senders[0]}' must be replaced with a valid E164 formatted telephone number"


def _media(fields: Fields) -> Iterator[str]:
    media = fields.get("media")
    if media is None:
        return
    if not isinstance(media, list) or not all(isinstance(url, str) and url for url in media):
        yield "'media' must be a list of URLs"
    elif any(len(url) > MOST_URL for url in media):
        yield f"'media' must contain URLs of at most {MOST_URL} characters"


def _priority(fields: Fields) -> Iterator[str]:
    if fields.get("priority") not in (None, "default", "high"):
        yield "'priority' must be one of 'default', 'high'"


def _tag(fields: Fields) -> Iterator[str]:
    tag = fields.get("tag")
    if tag is not None and not (isinstance(tag, str) and len(tag) <= MOST_TAG):
        yield f"'tag' must be a string of at most {MOST_TAG} characters"


def _text(fields: Fields) -> Iterator[str]:
    text = fields.get("text")
    if text is None or text == "":
        if not fields.get("media"):
            yield "'text' is required unless media is included"
    elif not (isinstance(text, str) and len(text) <= MOST_TEXT):
        yield f"'text' must be a string of at most {MOST_TEXT} characters"


def _to(fields: Fields) -> Iterator[str]:
    recipients = _listed(fields.get("to"))
    if not recipients:
        yield "'to' must contain at least one telephone number"
    if len(recipients) > MOST_RECIPIENTS:
        yield f"'to' must contain at most {MOST_RECIPIENTS} telephone numbers"
    for number in recipients:
        if not _matches(E164, number):
            yield f"'{number}' must be replaced with a valid E164 formatted telephone number"


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
