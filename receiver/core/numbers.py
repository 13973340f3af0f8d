"""Telephone numbers: their shape, and how they are shortened."""

import re

MAX_RECIPIENTS = 10
"""Bandwidth, "Create message": a group has at most 10 participants."""

E164 = r"\+[1-9][0-9]{1,14}"
"""The shape of a number (ITU-T E.164), as a regular expression for the whole of it."""

# An alphanumeric id may hold a plus sign, but what begins with one is meant as a number, perhaps a mistyped one.
SENDER = rf"{E164}|[0-9]{{3,8}}|(?=.*[A-Za-z])[A-Za-z0-9 _&-][A-Za-z0-9 +_&-]{{0,10}}"
"""The shape of what may stand in ``from``: a number, a short code, or an alphanumeric sender id."""

_E164, _SENDER = re.compile(E164), re.compile(SENDER)


def is_e164(text: str) -> bool:
    """Whether ``text`` has the shape of an E.164 number; only Bandwidth knows whether it exists."""
    return _E164.fullmatch(text) is not None


_PUNCTUATION = re.compile(r"^\s*\+|[\s.()/-]")


def as_e164(text: str) -> str | None:
    """The E.164 number that people write like this, with or without its plus: ``+1 (919) 555-0101`` or
    ``1-919-555-0101``. None if it is none."""
    number = "+" + _PUNCTUATION.sub("", text)
    return number if is_e164(number) else None


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
