"""Bandwidth's callbacks: from the bytes of a body to events. Bandwidth's JSON ends here.

The documented body is an array of one event; Bandwidth's OpenAPI file shows a bare event instead, and nothing
limits the length of the array (dev.bandwidth.com/docs/messaging/webhooks). So any number of elements is read, each on
its own: an element that is not an event is kept raw and does not affect its neighbours.
"""

import codecs
import json
import re
from collections.abc import Generator
from datetime import datetime
from typing import Annotated, Any

import msgspec

from receiver.core import times
from receiver.core.events import (
    INBOUND_TYPES,
    MAX_ERROR_CODE,
    MAX_MESSAGE_ID,
    MAX_RECIPIENT,
    MAX_TAG,
    MAX_TYPE,
    Event,
    Reply,
    Unreadable,
    clean_text,
    is_storable,
)
from receiver.core.json_text import LENIENT_DECODER, NEITHER, explain
from receiver.core.numbers import PSEUDONYM
from receiver.errors import NotJSON

Element = Event | Unreadable


def parse(body: bytes) -> list[Element]:
    """The elements of a callback's body, in its order.

    Raises NotJSON for a body that is not JSON (RFC 8259: NaN and Infinity are not), or that is neither array nor
    object. A bad byte must not affect other elements: invalid UTF-8 becomes U+FFFD, and raw control characters inside
    strings are accepted. A body nested deeper than the decoder reaches is one unreadable element, kept whole.
    """
    try:
        return [_read_plain(raw) or _read(msgspec.json.decode(raw), _text_of(raw)) for raw in _ELEMENTS.decode(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Not the documented array, or not quite JSON: the standard library decides.
        return parse_by_standard_library(body)


_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


def _text_of(raw: msgspec.Raw) -> str:
    text = str(raw, "utf-8")
    return text if text.isascii() and "\x7f" not in text else _ascii(text)


_DOCUMENTED_TIME = r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"


class _PlainMessage(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_MESSAGE_ID)]
    tag: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TAG)] | None = None


class _PlainElement(msgspec.Struct):
    """An event about a message of ours in Bandwidth's documented shape, in which every field is certain."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TYPE)]
    message: _PlainMessage
    to: Annotated[str, msgspec.Meta(pattern=r"^\+[0-9]{1,15}$")]
    time: Annotated[str, msgspec.Meta(pattern=_DOCUMENTED_TIME)]
    errorCode: Annotated[int, msgspec.Meta(ge=0, le=MAX_ERROR_CODE)] | None = None  # noqa: N815 - Bandwidth's word
    description: Annotated[str, msgspec.Meta(min_length=1)] | None = None


_PLAIN_ELEMENT = msgspec.json.Decoder(_PlainElement)


def _read_plain(raw: msgspec.Raw) -> Event | None:
    """Reads an event of the documented shape as _read() does, but more quickly; None for any other element."""
    payload = _text_of(raw)
    try:
        plain = _PLAIN_ELEMENT.decode(raw)
        occurred_at = datetime.fromisoformat(plain.time)
    except ValueError:  # as are the errors of msgspec
        return None
    if plain.type in INBOUND_TYPES or "\\u0000" in payload:
        return None
    return Event(
        type=plain.type,
        message_id=plain.message.id,
        recipient=plain.to,
        error_code=plain.errorCode or 0,
        occurred_at=occurred_at,
        tag=plain.message.tag,
        description=plain.description,
        payload=payload,
    )


def parse_by_standard_library(body: bytes) -> list[Element]:
    """Parses a body like parse(), but more slowly and more leniently."""
    text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    try:
        return [_read(value, _ascii(_escape_controls(json_text))) for value, json_text in _elements(text)]
    except json.JSONDecodeError as error:
        raise NotJSON(explain(body, error)) from error
    except RecursionError:
        reason = "The body is nested too deeply to be decoded."
        return [Unreadable(payload=_ascii(text), reason=reason, whole_body=True)]


def parse_kept(payload: str, *, whole_body: bool) -> list[Element]:
    """The elements of a payload that was kept as unreadable, parsed again. Raises NotJSON like parse()."""
    return parse((payload if whole_body else f"[{payload}]").encode())


_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)

_LATIN_1 = re.compile(r"latin[-_]?1|l1|(iso[-_]?)?8859-1|iso_8859-1:1987|iso-ir-100|(ibm|cp)819|csisolatin1")
"""All names of ISO 8859-1 (IANA, "Character Sets"), and common misspellings."""


def in_utf_8(body: bytes, content_type: str) -> bytes:
    """The body, converted to UTF-8 (RFC 8259, section 8.1) if its Content-Type declares Latin-1."""
    if body.isascii():
        return body
    charset = _CHARSET.search(content_type)
    return body.decode("latin-1").encode() if charset and _LATIN_1.fullmatch(charset[1].lower()) else body


_WHITESPACE = re.compile(r"[ \t\n\r]*")


def _elements(text: str) -> Generator[tuple[Any, str], None, None]:
    """Yields each element's value and its own JSON text; a bare object is the only element."""
    start = _skip(text, 0)
    if text.startswith("{", start):
        value, end = LENIENT_DECODER.raw_decode(text, start)
        yield value, text[start:end]
    elif text.startswith("[", start):
        end = yield from _array_elements(text, start)
    else:
        raise json.JSONDecodeError(NEITHER, text, start)
    if _skip(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, _skip(text, end))


def _array_elements(text: str, start: int) -> Generator[tuple[Any, str], None, int]:
    """Yields the elements of the array that starts there; returns where it ends."""
    position = _skip(text, start + 1)
    if text.startswith("]", position):
        return position + 1
    while True:
        value, end = LENIENT_DECODER.raw_decode(text, position)
        yield value, text[position:end]
        position = _skip(text, end)
        if text.startswith("]", position):
            return position + 1
        if not text.startswith(",", position):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
        position = _skip(text, position + 1)


def _skip(text: str, position: int) -> int:
    match = _WHITESPACE.match(text, position)
    return match.end() if match else position


_NOT_ASCII = re.compile(r"[^\t\n\r -~]+")


def _ascii(json_text: str) -> str:
    """The same JSON with all characters outside printable ASCII escaped, which any database stores unchanged."""
    return _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], json_text)


_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_CONTROLS = re.compile(r"[\x00-\x1f]+")


def _escape_controls(json_text: str) -> str:
    """The same JSON with the control characters inside its strings escaped, as strict parsers demand."""
    if not _CONTROLS.search(json_text):
        return json_text
    return _STRING.sub(lambda string: _CONTROLS.sub(lambda raw: json.dumps(raw[0])[1:-1], string[0]), json_text)


class NotAnEvent(Exception):
    """Why an element is unreadable, in one sentence."""


def _read(element: Any, payload: str) -> Element:
    try:
        if not isinstance(element, dict):
            raise NotAnEvent("The element is not an object.")
        message = element.get("message")
        if not isinstance(message, dict):
            raise NotAnEvent("message is not an object.")
        type_ = read_key(element.get("type"), name="type", longest=MAX_TYPE)
        return Event(
            type=type_,
            message_id=read_key(message.get("id"), name="message.id", longest=MAX_MESSAGE_ID),
            recipient=_recipient(element.get("to"), message.get("to")),
            error_code=read_error_code(element.get("errorCode")),
            occurred_at=times.parse(element.get("time")),
            tag=_text(message.get("tag"), longest=MAX_TAG),
            description=_text(element.get("description")),
            payload=payload,
            reply=read_reply(message) if type_ in INBOUND_TYPES else None,
        )
    except NotAnEvent as reason:
        return Unreadable(payload=payload, reason=str(reason))


def read_reply(message: dict[str, Any]) -> Reply:
    """The reply in the ``message`` of an inbound event; a field of another shape than Bandwidth's counts as missing."""
    text, chosen = message.get("text"), message.get("suggestionResponse")
    if not isinstance(text, str) and isinstance(chosen, dict):
        text = chosen.get("text")
    return Reply(
        sender=_text(message.get("from"), longest=MAX_RECIPIENT),
        text=clean_text(text) if isinstance(text, str) else None,
        media=_texts(message.get("media")),
        members=_texts(message.get("to")),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(clean_text(each) for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def read_key(value: object, *, name: str, longest: int) -> str:
    if not isinstance(value, str) or not value:
        raise NotAnEvent(f"{name} is not a non-empty string.")
    return check_text(value, name=name, longest=longest)


def check_text(text: str, *, name: str, longest: int) -> str:
    if len(text) > longest:
        raise NotAnEvent(f"{name} is longer than {longest} characters.")
    if not is_storable(text):
        raise NotAnEvent(f"{name} contains NUL or a lone surrogate.")
    return text


def _recipient(to: object, message_to: object) -> str:
    """The one number that the event is about; ``""`` when a group's event does not name it.

    Since 2019-09 every event names it at the top; before, only that of a message to one number did, in ``message.to``.
    """
    if isinstance(to, list) and len(to) == 1:
        to = to[0]
    if not isinstance(to, str) or not to:
        only = message_to[0] if isinstance(message_to, list) and len(message_to) == 1 else ""
        to = only if isinstance(only, str) else ""
    if to.startswith(PSEUDONYM):
        raise NotAnEvent(f"to begins with {PSEUDONYM}, as only redacted numbers do here.")
    return check_text(to, name="to", longest=MAX_RECIPIENT)


_DIGITS = re.compile("[0-9]{1,5}", re.ASCII)


def read_error_code(value: object) -> int:
    """The error code: an integer, a whole float or a string of 1 to 5 digits; 0 for everything else.

    A delivered event needs no code, and the payload keeps what was written.
    """
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if type(value) is int or (isinstance(value, float) and value.is_integer()):  # a boolean is an int to isinstance
        return int(value) if 0 <= value <= MAX_ERROR_CODE else 0
    return 0


def _text(value: object, *, longest: int | None = None) -> str | None:
    return clean_text(value[:longest]) if isinstance(value, str) and value else None
