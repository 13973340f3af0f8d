"""The words by which people opt out and in, as carriers and the FCC know them (47 CFR 64.1200(a)(10))."""

import re
import unicodedata

from receiver.core.text import is_invisible

OPT_OUTS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
OPT_INS = frozenset({"START", "UNSTOP"})
YES = "YES"
"""An opt-in only right after an opt-out between the same two numbers, which no single text can show."""

KEYWORDS = OPT_OUTS | OPT_INS | {YES}

_LONGEST = 2048
"""Characters: a longer text is never just a keyword with something around it."""

_JOINERS = re.compile(r"[\s\u2010-\u2015\u2043\u2212-]+")
"""Blanks and hyphens, which may stand inside ``opt out``."""


def keyword(text: str | None) -> str:
    """The opt-out or opt-in word that is all the eye reads in ``text``, in capitals and without blanks; otherwise "".

    ``Stop!``, ``"STOP"``, ``opt-out`` and STOP with an emoji or an invisible character are STOP or OPTOUT; ``Stop.
    Thank you`` and ``Don't stop`` are conversation.
    """
    if not text or len(text) > _LONGEST:
        return ""
    seen = "".join(each for each in text if not is_invisible(each) and not _is_control(each))
    # A trade mark behind the word is two letters to NFKC, and letters in circles are symbols before it.
    for candidate in (seen, _bare(seen)):
        word = _JOINERS.sub("", _bare(unicodedata.normalize("NFKC", candidate))).upper()
        if word in KEYWORDS:
            return word
    return ""


def _bare(text: str) -> str:
    """``text`` without the white space, quotes, punctuation and emoji around it."""
    start, end = 0, len(text)
    while start < end and _is_around(text[start]):
        start += 1
    while start < end and _is_around(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_control(character: str) -> bool:
    """Whether the character is a control, which a telephone does not show, and not white space."""
    return unicodedata.category(character) == "Cc" and not (character.isascii() and character.isspace())


def _is_around(character: str) -> bool:
    """Punctuation (P), symbols, emoji and skin tones (S), separators (Z), and enclosing marks such as a keycap (Me)."""
    category = unicodedata.category(character)
    return category[0] in "PSZ" or category == "Me" or character.isspace()
