"""JSON as RFC 8259 defines it, with numbers of any length but without NaN and Infinity; explains malformed JSON.

An explanation is a sentence that names the place and never quotes the text, which may hold numbers and secrets.
"""

import json
import re
from json import JSONDecodeError
from typing import NoReturn

NO_NUMBER = " is not a JSON number"
"""The end of the decoder's message about NaN and Infinity, whose position it does not give."""


def _refuse_constant(literal: str) -> NoReturn:
    raise json.JSONDecodeError(literal + NO_NUMBER, literal, 0)


def number(literal: str) -> int | float:
    """The integer that a JSON literal denotes; a float if it has twenty digits or more."""
    # int() refuses more than 4,300 digits, which are JSON all the same; no number of that length is ever used.
    return int(literal) if len(literal) < 20 else float(literal)


DECODER = json.JSONDecoder(parse_int=number, parse_constant=_refuse_constant)

LENIENT_DECODER = json.JSONDecoder(parse_int=number, parse_constant=_refuse_constant, strict=False)
"""Also reads raw control characters inside strings."""

COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x78\x9c": "deflate", b"\x78\x01": "deflate"}
"""The first bytes of compressed bodies; no JSON begins with them."""

NEITHER = "neither an array nor an object"
"""The message of a JSONDecodeError for JSON that is some other value."""

_FORM = re.compile(rb"[\w.%+-][\w.%+\[\]-]*=(?!=)|--[\w'()+,./:=?-]+\r?\n")
"""The beginning of a form: ``name=value``, or the boundary of its first part."""


def explain(body: bytes, error: ValueError | RecursionError) -> str:
    """Returns what is wrong with a body that is not JSON, and the remedy. ``error`` was raised by decoding it."""
    if not body.strip(b" \t\r\n"):
        return "The body is empty; send JSON."
    for beginning, name in COMPRESSED.items():
        if body.startswith(beginning):
            return f"The body is compressed ({name}); send it as it is, without Content-Encoding."
    if (encoding := _other_unicode(body)) is not None:
        return f"The body is in {encoding}; send it in UTF-8."
    if _FORM.match(body):
        return "The body is a form; send JSON."
    if body.lstrip().startswith(b"<"):
        return "The body is XML or HTML; send JSON."
    match error:
        case UnicodeDecodeError():
            before = error.object[: error.start].decode()
            return f"The body is not UTF-8 at {_place(before, len(before))}; send it in UTF-8."
        case JSONDecodeError():
            return _explain_text(body, error)
    return "The body is nested too deeply; send fewer levels."


def find_fault(text: str, error: JSONDecodeError) -> tuple[str, int]:
    """Returns what is wrong with a text that is not JSON, and its index: the text's length if its end is missing."""
    if error.msg.endswith(NO_NUMBER):
        constant = next((each for each in _STRING_OR_CONSTANT.finditer(text) if each[0][0] != '"'), None)
        return f"{error.msg}; write null or leave the field out", constant.start() if constant else 0
    position = error.pos
    if error.msg.startswith("Unterminated string"):
        return f"the string that begins at {_place(text, position)} has no end", len(text)
    if position >= len(text.rstrip()):
        return "its end is missing", len(text)
    if (comma := _comma_too_many(text, position)) is not None:
        return "an extra comma; remove it", comma
    for beginning, fault in _MISTAKES.items():
        if text.startswith(beginning, position):
            return fault, position
    return next((fault for message, fault in _FAULTS.items() if error.msg.startswith(message)), error.msg), position


_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity', re.DOTALL)

_MISTAKES = {
    "'": "write double quotes, not single ones",
    "\u201c": "write straight quotes, not curly ones",
    "\u201d": "write straight quotes, not curly ones",
    "//": "a comment, which JSON does not have; remove it",
    "/*": "a comment, which JSON does not have; remove it",
    "#": "a comment, which JSON does not have; remove it",
    "True": "write true, not True",
    "False": "write false, not False",
    "None": "write null, not None",
    "\ufeff": "a byte order mark (BOM); remove it",
}
"""What people write in place of JSON, and what to do instead."""

_FAULTS = {
    "Expecting value": "a value is missing, or text without double quotes",
    "Expecting property name": "a field's name is missing, or not in double quotes",
    "Expecting ','": "a comma is missing",
    "Expecting ':'": "a colon is missing",
    "Extra data": "there is extra text after its end; remove it",
    "Invalid control character": "a line break or other control character in a string; write \\n or \\t",
    "Invalid \\": "an unknown escape; write \\\\ for a backslash",
}
"""What the decoder's messages mean, by their beginning."""


def _explain_text(body: bytes, error: JSONDecodeError) -> str:
    text = body.decode("utf-8", "replace") if error.msg.endswith(NO_NUMBER) else error.doc
    if text.startswith("\ufeff"):
        return "The body begins with a byte order mark (BOM); send it without."
    if error.msg == NEITHER:
        return f"The body is {NEITHER} at {_place(text, error.pos)}."
    fault, position = find_fault(text, error)
    return f"The body is not JSON at {_place(text, position)}: {fault}."


def _comma_too_many(text: str, position: int) -> int | None:
    """The index of a superfluous comma, if that is what is wrong at ``position``."""
    before = text[:position].rstrip()
    if text[position] in "]},":
        if before.endswith(","):
            return len(before) - 1
        if text[position] == "," and before.endswith(("[", "{", ":")):
            return position
        if text[position] == "," and text[position + 1 :].lstrip()[:1] in tuple("]}"):  # as Python 3.13 places it
            return position
    return None


def _place(text: str, position: int) -> str:
    """The line and column of the character at ``position``, counted from 1."""
    line, last_break = text.count("\n", 0, position) + 1, text.rfind("\n", 0, position)
    return f"line {line}, column {position - last_break}"


def _other_unicode(body: bytes) -> str | None:
    """The encoding of JSON that is in UTF-16 or UTF-32, with a byte order mark or without."""
    encoding = json.detect_encoding(body)
    if encoding in ("utf-8", "utf-8-sig"):
        return None
    try:
        is_json = body.decode(encoding).lstrip("\ufeff \t\r\n")[:1] in ("{", "[")
    except UnicodeDecodeError:
        return None
    return encoding[:6].upper() if is_json else None
