"""Reads what Bandwidth's response, or its absence, means for a message (dev.bandwidth.com/docs/messaging/errors)."""

import json
import math
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from receiver.bandwidth.connection import MAX_BODY, Call, TooLate
from receiver.core.events import MAX_MESSAGE_ID, clean_text, is_storable
from receiver.core.json_text import number
from receiver.core.messages import Accepted, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause

MAX_ERROR_TYPE, MAX_DESCRIPTION = 128, 1024
"""Characters that are stored."""

MAX_SEGMENTS, MAX_RETRY_AFTER = 2**31 - 1, 86_400


class NoToken(Exception):
    """No token could be fetched, so nothing was written; ``refused`` says why."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.type)
        self.refused = refused


def read_result(call: Call) -> SendResult:
    """Returns what a finished call means for its message."""
    status = call.status
    if not call.written:
        return call.error.refused if isinstance(call.error, NoToken) else unreachable(call.error)
    if status is None:
        return _read_no_response(call.error)
    body = json_object(call.body)
    if status == 202:
        return _accepted(body)
    type_, description = _complaint(body, secrets=call.secrets)
    documented = isinstance(body.get("type"), str) and isinstance(body.get("description"), str)
    if status // 100 != 4 and not (status == 500 and documented):
        return Unknown(status=status, type=type_, description=description)
    return Refused(
        because=RefusedBecause.RATE_LIMITED if status == 429 else RefusedBecause.BANDWIDTH,
        status=status,
        type=type_,
        description=description,
        field_errors=_field_errors(body, secrets=call.secrets),
        retry_after=retry_after(call) if status == 429 else None,
    )


def _accepted(body: dict[str, Any]) -> Accepted:
    message_id, segments = body.get("id"), body.get("segmentCount")
    id_fits = isinstance(message_id, str) and 0 < len(message_id) <= MAX_MESSAGE_ID and is_storable(message_id)
    segments_fit = type(segments) is int and 0 <= segments <= MAX_SEGMENTS
    return Accepted(message_id=message_id if id_fits else None, segment_count=segments if segments_fit else None)


_NOT_SENT: tuple[tuple[type[Exception], str, str], ...] = (
    (socket.gaierror, "name-not-resolved", "This machine's DNS does not know the host in {setting}."),
    (TooLate, "too-late", "Too little time was left to wait for a response, so Bandwidth was not called."),
    (TimeoutError, "connect-timeout", "Connecting timed out: check {setting}, the network and the firewall."),
    (ssl.SSLError, "tls-failed", "TLS failed: check {setting}, this machine's clock and any TLS proxy."),
    (ConnectionRefusedError, "connection-refused", "Nothing is listening on the host and port in {setting}."),
    (ValueError, "invalid-url", "{setting} is not a URL that can be called."),
    (Exception, "connection-failed", "Connecting failed: check {setting}, the network and the firewall."),
)
"""Type and description of failures before anything was written, so nothing was sent; the first that fits applies."""


def unreachable(error: Exception | None, *, setting: str = "BANDWIDTH_API_URL") -> Refused:
    """The refusal for a call that ended with ``error`` before its first byte; ``setting`` is that of its URL."""
    causes = list(causes_of(error))
    type_, words = next(words for kind, *words in _NOT_SENT if any(isinstance(cause, kind) for cause in causes))
    return Refused(because=RefusedBecause.UNREACHABLE, type=type_, description=words.format(setting=setting))


def _read_no_response(error: Exception | None) -> Unknown:
    if any(isinstance(cause, TimeoutError) for cause in causes_of(error)):
        return Unknown(type="timed-out", description="No response in time; Bandwidth may have the message.")
    return Unknown(type="no-answer", description="The connection broke; Bandwidth may have the message.")


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error that a call ended with, then what caused it."""
    error = error or TimeoutError()  # a call without an error was abandoned
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def json_object(body: bytes | None) -> dict[str, Any]:
    """The body as a JSON object; empty if it is something else, too long, or was not read to its end."""
    if body is None or len(body) > MAX_BODY:
        return {}
    try:
        value = json.loads(body, parse_int=number)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _complaint(body: dict[str, Any], *, secrets: Sequence[str]) -> tuple[str | None, str | None]:
    """Returns type and description of an error in the usual shape, that of a wrong path, or the multi-channel API's."""
    shapes = [(body, "type", "description"), (body, "error", "message")]
    shapes += [(error, "type", "description") for error in _objects(body.get("errors"))]
    for fields, type_name, description_name in shapes:
        type_, description = fields.get(type_name), fields.get(description_name)
        if isinstance(type_, str) or isinstance(description, str):
            return _kept(type_, MAX_ERROR_TYPE, secrets), _kept(description, MAX_DESCRIPTION, secrets)
    return None, None


def _field_errors(body: dict[str, Any], *, secrets: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = (
        (
            _kept(error.get("fieldName"), MAX_ERROR_TYPE, secrets),
            _kept(error.get("description"), MAX_DESCRIPTION, secrets),
        )
        for error in _objects(body.get("fieldErrors"))
    )
    return tuple((field, words) for field, words in pairs if field is not None and words is not None)


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _kept(text: object, longest: int, secrets: Sequence[str]) -> str | None:
    """Returns the text, fit to be stored and shown: a proxy may have echoed the request, and the secrets with it."""
    if not isinstance(text, str):
        return None
    for secret in secrets:
        for hidden in (secret, secret.partition(" ")[2]):
            text = text.replace(hidden, "***")
    return clean_text(text[:longest])


def retry_after(call: Call) -> int | None:
    """Returns the seconds of either form of Retry-After (RFC 9110, 10.2.3); None if it is missing or unreadable."""
    text = call.header("Retry-After")
    try:
        seconds = int(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(0, min(MAX_RETRY_AFTER, math.ceil(seconds)))
