"""Words of ours, each with its meaning in one line, for the API, the support views and the data dictionary."""

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
