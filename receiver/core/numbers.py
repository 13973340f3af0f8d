"""Telephone numbers: their shape, and how they are shortened."""

import re

MAX_RECIPIENTS = 10
"""Bandwidth, "Create message": a group has at most 10 participants."""

_E164 = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)
_SHORT_CODE = re.compile(r"[0-9]{3,8}", re.ASCII)
_ALPHANUMERIC = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11}", re.ASCII)


def is_e164(text: str) -> bool:
    """Whether ``text`` has the shape of an E.164 number; only Bandwidth knows whether it exists (ITU-T E.164)."""
    return _E164.fullmatch(text) is not None


def is_sender(text: str) -> bool:
    """Whether ``text`` may stand in ``from``: an E.164 number, a short code, or an alphanumeric sender id."""
    return any(shape.fullmatch(text) for shape in (_E164, _SHORT_CODE, _ALPHANUMERIC))


def shortened(number: str) -> str:
    """As a log shows it, ``…0101``: the members of a group can be told apart, and nobody can be called."""
    return "…" + number[len(number) - min(4, len(number) // 2) :]


_IN_TEXT = re.compile(r"(?:\+|%2[Bb]|(?<![0-9A-Za-z]))[0-9]{7,}", re.ASCII)


def without_numbers(text: str) -> str:
    """``text`` with everything that may be a number shortened."""
    return _IN_TEXT.sub(lambda found: shortened(found[0]), text)
