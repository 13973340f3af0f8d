"""Every answer to a request that is not 202, in Bandwidth's own words.

Bandwidth, "HTTP errors when sending messages": a 4xx or 5xx is neither billed nor sent.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
