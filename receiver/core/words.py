"""Words of ours that say what they mean: to whoever reads the code, and to whoever reads the API's description."""

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """A text with its meaning, in one line; compares and prints as the text."""

    meaning: str

    def __new__(cls, text: str, meaning: str = "") -> Self:
        word = str.__new__(cls, text)
        word._value_ = text
        word.meaning = meaning
        return word
