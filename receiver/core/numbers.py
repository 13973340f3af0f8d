"""Telephone numbers: their shape, how people write them, and how a log shows them."""

import re
import unicodedata

from receiver.core.text import is_invisible

MAX_RECIPIENTS = 10
"""Bandwidth, "Create message": a group has at most 10 participants."""

PSEUDONYM = "redacted-"
"""The prefix of the pseudonym of a redacted number. No recipient named by others may begin like this."""

E164 = r"\+[1-9][0-9]{1,14}"
"""A regular expression for a whole E.164 number (ITU-T E.164)."""

# An alphanumeric id may hold a plus sign, but one that begins with it is meant as a number, perhaps a mistyped one.
SENDER = rf"{E164}|[0-9]{{3,8}}|(?=.*[A-Za-z])[A-Za-z0-9 _&-][A-Za-z0-9 +_&-]{{0,10}}"
"""A regular expression for a whole sender (``from``): an E.164 number, a short code or an alphanumeric id."""

_E164, _SENDER = re.compile(E164), re.compile(SENDER)


def is_e164(text: str) -> bool:
    """Whether ``text`` has the shape of an E.164 number; only Bandwidth knows whether it exists."""
    return _E164.fullmatch(text) is not None


_SCHEME = re.compile(r"(?:tel|smsto|sms|mmsto|mms|callto|whatsapp)\.?:(?://)?", re.IGNORECASE)
"""The scheme of a link to a number, also as a letterhead writes it ("Tel.:")."""

_ESCAPED = re.compile("%([2-7][0-9A-Fa-f])")

_EXTENSION = re.compile(r"(?:;.*|(?<=[0-9)])\s*(?:x|ext\.?|#)\s*[0-9]+)", re.IGNORECASE | re.DOTALL)
"""The parameters of a tel: URI (RFC 3966), or an extension, to which no message can be sent."""

_TRUNK = re.compile(r"(?<=[0-9\s])\(0\)")
"""The 0 that is dialled only within a country, as in +44 (0)20 7946 0958."""

_FRACTION = re.compile(r"(?<![0-9.,])(\+?[0-9]{7,15})[.,]0+")
_EXPONENT = re.compile(r"([0-9])[.,]([0-9]+)[Ee]\+?([0-9]{1,2})")
"""How a spreadsheet writes a telephone number that it took for an amount: 19195550101.0, 1.9195550101E+10."""

_BETWEEN = frozenset(",.'\u2019()[]/\u2044\u2212\u00b7\u2022\u2043\u30fb")
"""What people write between digits, besides blanks and hyphens of every kind."""

_ABROAD = re.compile("(?:00|011)(?=[1-9])")
"""The international prefix of most of the world, and that of North America."""

_NORTH_AMERICAN = re.compile("[2-9][0-9]{9}")
"""A North American number without the 1."""


def meant_by(text: str) -> list[str]:
    """Returns the E.164 numbers that ``text`` may mean, for a search; none if it is no number.

    People write ``+1 (919) 555-0101``, ``1-919-555-0101``, ``00 44 20 7946 0958`` or, in North America,
    ``919-555-0101``, which might also be a number elsewhere. Text pasted from a mail, a web page or a spreadsheet is
    read as the eye reads it.
    """
    digits = _digits(text)
    abroad = _ABROAD.match(digits)
    written = [
        digits,
        f"+{digits[abroad.end() :] if abroad else digits}",
        f"+1{digits}" if _NORTH_AMERICAN.fullmatch(digits) else "",
    ]
    return [each for each in written if is_e164(each)]


def written_for(text: str, country: str | None) -> str | None:
    """Returns the one E.164 number that ``text`` can mean, to send to; None if it can mean none or several.

    It is written with its plus sign or, if ``country`` is a country code, without: ``19195550101`` and, in North
    America only, ``(919) 555-0101``. A recipient must be certain, so a comma, a slash, an extension or a lone digit in
    ``text`` makes it no number.
    """
    digits = _digits(text)
    if digits != text and not _is_one_number(text, digits):
        return None
    if abroad := _ABROAD.match(digits) if country else None:
        digits = "+" + digits[abroad.end() :]
    if not digits.startswith("+") and country:
        if country == "1" and _NORTH_AMERICAN.fullmatch(digits):
            digits = "1" + digits
        # Elsewhere a number without its country code may begin like one that has it: +49 4921 is not +49 21.
        wanted = rf"1{_NORTH_AMERICAN.pattern}" if country == "1" else rf"{country}[0-9]{{6,}}"
        digits = "+" + digits if re.fullmatch(wanted, digits) else digits
    return digits if is_e164(digits) else None


_WRITTEN = re.compile(r"\+?[0-9]+(?:[\s().-]+[0-9]{2,})*")
"""Groups of two digits or more, with separators that cannot be taken for the end of a number."""

_WHOLE_NORTH_AMERICAN = re.compile(r"\+?1[2-9][0-9]{9}")


def _is_one_number(text: str, digits: str) -> bool:
    """Whether ``text``, which has more than digits, can only be that one number."""
    word = "".join(map(_in_ascii, filter(_is_seen, unicodedata.normalize("NFKC", text))))
    word = "".join("-" if unicodedata.category(each) == "Pd" else each for each in word).strip(" \t\r\n'\"=()")
    if _FRACTION.fullmatch(word) or _EXPONENT.fullmatch(word):  # from a spreadsheet
        return True
    is_american = digits.startswith(("1", "+1"))
    return bool(_WRITTEN.fullmatch(word)) and (not is_american or bool(_WHOLE_NORTH_AMERICAN.fullmatch(digits)))


_LAST_DIGITS = re.compile(r"(?:\u2026|\.{2,3}|[*xX\u2022]+)?([0-9]{4})")


def last_digits(text: str) -> str | None:
    """The last four digits of a number if ``text`` is only these: ``0101``, or ``\u20260101`` as in a log."""
    found = _LAST_DIGITS.fullmatch("".join(map(_in_ascii, filter(_is_seen, text))).strip(" \t\r\n'\",;"))
    return found[1] if found else None


_PLUSLESS = re.compile("[1-9][0-9]{7,14}")


def lost_its_plus(text: str) -> bool:
    """Whether ``text`` may be a number whose plus sign a spreadsheet dropped as that of an amount."""
    return _PLUSLESS.fullmatch(_digits(text)) is not None


def lost_its_digits(text: str) -> bool:
    """Whether ``text`` is a number that a spreadsheet shortened to fit its column: ``1.91956E+10``."""
    return _EXPONENT.fullmatch(_without_ends(text)) is not None and not lost_its_plus(text)


def _digits(text: str) -> str:
    """The digits of a number with its plus sign, if it has one; other characters remain if ``text`` is no number."""
    word = unicodedata.normalize("NFKC", "".join(filter(_is_seen, _ESCAPED.sub(_unescaped, text))))
    word = _SCHEME.sub("", "".join(map(_in_ascii, word)).strip(), count=1)
    word = _EXTENSION.sub("", _TRUNK.sub("", word) if word.startswith(("+", "00", "011")) else word, count=1)
    word = _without_ends(word)
    if fraction := _FRACTION.fullmatch(word):
        return fraction[1]
    if (power := _EXPONENT.fullmatch(word)) and len(power[2]) == int(power[3]):  # else digits are lost
        return power[1] + power[2]
    return "".join(each for each in word if not _is_between(each))


def _unescaped(found: re.Match[str]) -> str:
    """The character that a URL has percent-encoded."""
    return chr(int(found[1], 16))


def _is_seen(character: str) -> bool:
    """Whether the character is neither invisible nor a mark on another, such as a keycap around a digit."""
    return not is_invisible(character) and unicodedata.category(character) not in ("Mn", "Me")


def _in_ascii(character: str) -> str:
    """A digit of any script as an ASCII digit; every other character as it is."""
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


def _without_ends(word: str) -> str:
    """``word`` without the quotes, commas, brackets, symbols and blanks around it."""
    inside = [place for place, each in enumerate(word) if each == "+" or each.isalnum()]
    return word[inside[0] : inside[-1] + 1] if inside else ""


def _is_between(character: str) -> bool:
    return character in _BETWEEN or character.isspace() or unicodedata.category(character) == "Pd"


def is_sender(text: str) -> bool:
    """Whether ``text`` has the shape of a sender (``from``)."""
    return _SENDER.fullmatch(text) is not None
