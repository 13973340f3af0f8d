"""The settings file, parsed as systemd parses an EnvironmentFile=, so that one file means the same to both.

python-dotenv parses another language, even without interpolation: it cuts a value at " #", removes quotes inside a
value, and has other escapes.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from receiver.core.text import one_line
from receiver.errors import ConfigurationError
from receiver.settings import NAMES, misspelt, read_settings

WHITE_SPACE, NEWLINES = " \t\n\r", "\n\r"
ESCAPED = '"\\`$'
"""A backslash before one of these is removed inside double quotes; before other characters it stays."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""The names of variables that systemd accepts; it ignores others."""


class State(Enum):
    """The position of a character in the file's syntax."""

    BEFORE_NAME = auto()
    NAME = auto()
    COMMENT = auto()
    BEFORE_VALUE = auto()
    VALUE = auto()
    ESCAPE = auto()
    SINGLE_QUOTES = auto()
    DOUBLE_QUOTES = auto()
    ESCAPE_IN_QUOTES = auto()


@dataclass(slots=True)
class Assignment:
    """A line of the file, or several if its value continues."""

    line: int
    name: str = ""
    value: str | None = None
    """None if there is no =."""
    kept: int = field(default=0, repr=False)
    """The length of the value without unquoted white space at its end."""
    is_closed: bool = True
    """Whether every quote is closed."""

    def add(self, character: str, *, is_kept: bool = True) -> None:
        self.value = (self.value or "") + character
        if is_kept or character not in WHITE_SPACE:
            self.kept = len(self.value)


def load_settings_file(path: Path) -> None:
    """Adds the settings of the file to the environment, whose own settings take precedence.

    Raises ConfigurationError with every problem; no value appears in it.
    """
    problems: dict[str, str] = {}
    given: dict[str, str] = {}
    for each in assignments(_text(path)):
        if problem := _problem(each):
            problems[one_line(each.name)] = f"{problem} ({path}, line {each.line})"
        elif each.value is not None and NAME.fullmatch(each.name):
            given[each.name] = each.value
    for name, value in given.items():
        os.environ.setdefault(name, value)
    if problems:
        raise ConfigurationError(problems | _other_problems())


def _other_problems() -> dict[str, str]:
    """The problems of the values, which are reported together with those of the names."""
    try:
        read_settings()
    except ConfigurationError as error:
        return error.problems
    return {}


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError({str(path): "is not a settings file: it is not UTF-8."}) from error
    except OSError as error:
        raise ConfigurationError({str(path): f"cannot be read: {error.strerror}."}) from error
    if "\0" in text:
        raise ConfigurationError({str(path): "is not a settings file: it contains a NUL."})
    return text


def _problem(each: Assignment) -> str | None:
    """Returns what is wrong with the assignment of a setting; None if it is right or not meant as one of ours."""
    words = re.split(r"[\s:]+", each.name.strip("\ufeff").upper().removeprefix("EXPORT "))
    first = words[0] if words[0] in NAMES or misspelt(words[0]) else None
    if not each.is_closed:
        return "has an unclosed quote."
    if first is None:
        return None
    if each.value is None:
        return "has no value: write NAME=VALUE."
    if not NAME.fullmatch(each.name):
        return f"is not the name of a setting: write {misspelt(first) or first}=VALUE, with nothing before it."
    if each.name in NAMES:
        return None
    return f"is not a setting; did you mean {misspelt(each.name) or first}?"


def assignments(text: str) -> Iterator[Assignment]:
    """The assignments in the text, in its order, by the rules of systemd.exec(5), "EnvironmentFile=".

    The states are those of systemd's own parser (src/basic/env-file.c).
    """
    state, now, line = State.BEFORE_NAME, Assignment(1), 1
    for character in text:
        state_before, state = state, _step(state, now, character)
        if state is State.BEFORE_NAME and state_before not in (State.BEFORE_NAME, State.COMMENT):
            yield _finished(now)
        line += character == "\n"
        if state is State.BEFORE_NAME:
            now = Assignment(line)
    if state not in (State.BEFORE_NAME, State.COMMENT):
        now.is_closed = state not in (State.SINGLE_QUOTES, State.DOUBLE_QUOTES, State.ESCAPE_IN_QUOTES)
        yield _finished(now)


def _finished(now: Assignment) -> Assignment:
    now.name = now.name.rstrip(WHITE_SPACE)
    if now.value is not None:
        now.value = now.value[: now.kept]
    return now


def _step(state: State, now: Assignment, character: str) -> State:
    """The state after ``character``, which is added to the assignment if it belongs to it."""
    match state:
        case State.BEFORE_NAME if character in "#;":
            return State.COMMENT
        case State.BEFORE_NAME if character in WHITE_SPACE:
            return state
        case State.COMMENT:
            return State.BEFORE_NAME if character in NEWLINES else state
        case State.BEFORE_NAME:
            now.name = character
            return State.NAME
        case State.NAME:
            return _in_name(now, character)
        case State.BEFORE_VALUE | State.VALUE:
            return _in_value(state, now, character)
        case State.ESCAPE:
            if character not in NEWLINES:  # an escaped line break continues the line
                now.add(character)
            return State.VALUE
    return _in_quotes(state, now, character)


def _in_name(now: Assignment, character: str) -> State:
    if character in NEWLINES:
        return State.BEFORE_NAME
    if character == "=":
        now.value = ""
        return State.BEFORE_VALUE
    now.name += character
    return State.NAME


def _in_value(state: State, now: Assignment, character: str) -> State:
    if character in NEWLINES:
        return State.BEFORE_NAME
    if character == "\\":
        return State.ESCAPE
    if state is State.BEFORE_VALUE and character in WHITE_SPACE:
        return state
    if state is State.BEFORE_VALUE and character in "'\"":
        return State.SINGLE_QUOTES if character == "'" else State.DOUBLE_QUOTES
    now.add(character, is_kept=False)
    return State.VALUE


def _in_quotes(state: State, now: Assignment, character: str) -> State:
    if state is State.ESCAPE_IN_QUOTES:
        if character in ESCAPED:
            now.add(character)
        elif character != "\n":  # an escaped line break continues the line
            now.add("\\" + character)
        return State.DOUBLE_QUOTES
    if character == ("'" if state is State.SINGLE_QUOTES else '"'):
        return State.BEFORE_VALUE
    if character == "\\" and state is State.DOUBLE_QUOTES:
        return State.ESCAPE_IN_QUOTES
    now.add(character)
    return state
