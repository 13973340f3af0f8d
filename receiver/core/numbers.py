"""Telephone numbers: their shape, and how they are shortened."""

import re

MAX_RECIPIENTS = 10
"""Bandwidth, "Create message": a group has at most 10 participants."""

PSEUDONYM = "redacted-"
"""How what stands for a number begins once that was blanked. Nobody else's word for a recipient may."""

E164 = r"\+[1-9][0-9]{1,14}"
"""The shape of a number (ITU-T E.164), as a regular expression for the whole of it."""

# An alphanumeric id may hold a plus sign, but what begins with one is meant as a number, perhaps a mistyped one.
SENDER = rf"{E164}|[0-9]{{3,8}}|(?=.*[A-Za-z])[A-Za-z0-9 _&-][A-Za-z0-9 +_&-]{{0,10}}"
"""The shape of what may stand in ``from``: a number, a short code, or an alphanumeric sender id."""

_E164, _SENDER = re.compile(E164), re.compile(SENDER)


def is_e164(text: str) -> bool:
    """Whether ``text`` has the shape of an E.164 number; only Bandwidth knows whether it exists."""
    return _E164.fullmatch(text) is not None


_PUNCTUATION = re.compile(r"[\s.()/\u2010-\u2013-]|[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What people put between digits, and the invisible marks of a number that was copied from a telephone's contacts."""

_ABROAD = re.compile("(?:00|011)(?=[1-9])")
"""What is dialled before the country code of another country, in most of the world and in North America."""

_NORTH_AMERICAN = re.compile("[2-9][0-9]{9}")
"""A number of North America without the 1."""


def meant_by(text: str) -> list[str]:
    """The E.164 numbers that people write like this: ``+1 (919) 555-0101``, ``1-919-555-0101``, ``00 44 20 7946 0958``
    or, as in North America, ``919-555-0101``, which might be a number of elsewhere too. Empty if it is none."""
    digits = _PUNCTUATION.sub("", text)
    abroad = _ABROAD.match(digits)
    written = [
        digits,
        f"+{digits[abroad.end() :] if abroad else digits}",
        f"+1{digits}" if _NORTH_AMERICAN.fullmatch(digits) else "",
    ]
    return [each for each in written if is_e164(each)]


def is_sender(text: str) -> bool:
    """Whether ``text`` has the shape of what may stand in ``from``."""
    return _SENDER.fullmatch(text) is not None


def shortened(number: str) -> str:
    """As a log shows it, ``…0101``: the members of a group can be told apart, and nobody can be called."""
    return "…" + number[len(number) - min(4, len(number) // 2) :]


_IN_TEXT = re.compile(r"(?:\+|%2[Bb]|(?<![0-9A-Za-z]))[0-9]{7,}", re.ASCII)


def without_numbers(text: str) -> str:
    """``text`` with everything that may be a number shortened."""
    return _IN_TEXT.sub(lambda found: shortened(found[0]), text)


def identifier(text: str) -> str:
    """Somebody else's identifier, as a log shows it: letters and digits as they are, and whatever else may be a number
    shortened."""
    return text if text.isalnum() and not text.isdecimal() else without_numbers(text)
