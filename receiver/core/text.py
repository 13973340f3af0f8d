"""Text: our own words with their meanings, and untrusted text made safe to show or ready to compare."""

import re
import unicodedata
from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """An enumeration whose every word is written with its meaning: ``PENDING = "pending", "nothing is known yet"``.

    The API's description, the support views and the data dictionary show the meanings.
    """

    meaning: str
    """In lower case and without a full stop, so that it can continue a sentence."""

    def __new__(cls, word: str, meaning: str = "") -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member


_COMMANDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that move, colour or reorder what a terminal shows."""


def harmless(text: str) -> str:
    """Returns ``text`` with U+FFFD for every character that gives a command to a terminal."""
    return _COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """Returns ``text`` like harmless(), with blanks for line breaks, so that it cannot imitate a line of ours."""
    return harmless(text.replace("\r\n", " ").replace("\n", " "))


_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks that are drawn as nothing (Unicode, Default_Ignorable_Code_Point)."""


def is_invisible(character: str) -> bool:
    """Whether the character is invisible: a format character (Cf), a variation selector or a filler, no white space."""
    return not character.isascii() and (
        unicodedata.category(character) == "Cf"
        or character in _FILLERS
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
        or "\u180b" <= character <= "\u180f"
    )


_AROUND = " \t\r\n\u00a0\"'`,;<>()[]\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"


def pasted(text: str) -> str:
    """Returns ``text``, pasted from a mail, a web page or a spreadsheet, as the eye reads it.

    Invisible characters are removed, and so are the quotes, brackets, commas and blanks around it.
    """
    return "".join(each for each in text if not is_invisible(each)).strip(_AROUND)
