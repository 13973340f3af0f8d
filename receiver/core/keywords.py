"""The words by which people opt out and in, as carriers and the FCC know them (47 CFR 64.1200(a)(10))."""

import re
import unicodedata

OPT_OUTS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
OPT_INS = frozenset({"START", "UNSTOP"})
YES = "YES"
"""An opt-in only right after an opt-out of the same two numbers, which no single text can tell."""

KEYWORDS = OPT_OUTS | OPT_INS | {YES}

_LONGEST = 2048
"""Characters of a text that may be nothing but a keyword and what surrounds it; longer ones are talk."""

_JOINERS = re.compile(r"[\s\u2010-\u2015\u2043\u2212-]+")
"""Blanks and hyphens: what may stand inside ``opt out``."""

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks that are drawn as nothing (Unicode, Default_Ignorable_Code_Point)."""


def keyword(text: str | None) -> str:
    """The opt-out or opt-in word that is all that the eye reads in ``text``, in capitals and without blanks; else "".

    ``Stop!``, ``"STOP"``, ``opt-out`` and a STOP with an emoji or an invisible character are; ``Stop. Thank you`` and
    ``Don't stop`` are talk.
    """
    if not text or len(text) > _LONGEST:
        return ""
    seen = "".join(each for each in text if not _is_invisible(each))
    # A trade mark behind the word is two letters to NFKC, and letters in circles are symbols before it.
    for candidate in (seen, _bare(seen)):
        word = _JOINERS.sub("", _bare(unicodedata.normalize("NFKC", candidate))).upper()
        if word in KEYWORDS:
            return word
    return ""


def _bare(text: str) -> str:
    """Without the white space, quotes, punctuation and emoji around it."""
    start, end = 0, len(text)
    while start < end and _is_around(text[start]):
        start += 1
    while start < end and _is_around(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_invisible(character: str) -> bool:
    """Format characters, controls other than white space, and variation selectors, wherever they stand."""
    if character.isascii():
        return not character.isprintable() and not character.isspace()
    return (
        unicodedata.category(character) in ("Cf", "Cc")
        or character in _BLANK
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
        or "\u180b" <= character <= "\u180f"
    )


def _is_around(character: str) -> bool:
    """Punctuation (P), symbols, emoji and skin tones (S), separators (Z), and marks such as that of a keycap (Me)."""
    category = unicodedata.category(character)
    return category[0] in "PSZ" or category == "Me" or character.isspace()
