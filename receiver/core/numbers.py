"""Telephone numbers: their shape."""

import re

MAX_RECIPIENTS = 10
"""Bandwidth, "Create message": a group has at most 10 participants."""

_E164 = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)
_SHORT_CODE = re.compile(r"[0-9]{3,8}", re.ASCII)
_ALPHANUMERIC = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11}", re.ASCII)


def is_e164(text: str) -> bool:
    """Whether ``text`` has the shape of an E.164 number; only Bandwidth knows whether it exists (ITU-T E.164)."""
    return _E164.fullmatch(text) is not None


_PUNCTUATION = re.compile(r"^\s*\+|[\s.()/-]")


def as_e164(text: str) -> str | None:
    """The E.164 number that people write like this, with or without its plus: ``+1 (919) 555-0101`` or
    ``1-919-555-0101``. None if it is none."""
    number = "+" + _PUNCTUATION.sub("", text)
    return number if is_e164(number) else None


def is_sender(text: str) -> bool:
    """Whether ``text`` may stand in ``from``: an E.164 number, a short code, or an alphanumeric sender id."""
    return any(shape.fullmatch(text) for shape in (_E164, _SHORT_CODE, _ALPHANUMERIC))
