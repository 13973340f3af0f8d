"""What others wrote, as it may be shown: it gives no commands to a terminal, and begins no line of its own.

Words of ours, each with its meaning in one line, for the API, the support views and the data dictionary.
"""

import re
import unicodedata
from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """A set of words, each written with its meaning: ``PENDING = "pending", "nothing is known yet"``."""

    meaning: str
    """In lower case and without a full stop, so that it can go on a sentence."""

    def __new__(cls, word: str, meaning: str = "") -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member


_COMMANDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that move, colour or turn what a terminal shows."""


def harmless(text: str) -> str:
    """Without commands to the terminal."""
    return _COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """The same without line breaks, so that it cannot look like a line of ours."""
    return harmless(text.replace("\r\n", " ").replace("\n", " "))


_VARIATION = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Choose how the character before is drawn, and are not seen themselves."""

_AROUND = " \t\r\n\u00a0\"'`,;<>()[]\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"


def pasted(text: str) -> str:
    """What was copied from a mail, a web page or a spreadsheet, as the eye reads it: without characters that are not
    seen, and without the quotes, brackets, commas and blanks around it."""
    seen = (each for each in _VARIATION.sub("", text) if unicodedata.category(each) != "Cf")
    return "".join(seen).strip(_AROUND)
