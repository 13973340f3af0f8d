"""The log: a slow or absent reader blocks nothing, and telephone numbers are shortened."""

from __future__ import annotations

import json
import os
import re
import threading
from contextlib import suppress
from typing import Any

import pytest

from receiver import log
from receiver.log import MAX_WAITING, Writer, identifier, shortened, without_numbers
from tests.support.builders import ALICE
from tests.support.processes import wait_for


def test_nobody_waits_for_a_reader_that_does_not_read_and_what_is_lost_is_counted() -> None:
    reader, stream = os.pipe()
    writer = Writer(stream, colours=False)
    said = MAX_WAITING * 2
    for number in range(said):
        writer.add({"timestamp": 0.0, "level": "info", "logger": "a", "event": "said", "number": number})

    os.set_blocking(reader, False)
    lines, rest = list[Any](), b""

    def is_all_told() -> bool:
        nonlocal rest
        with suppress(BlockingIOError):
            *whole, rest = (rest + os.read(reader, 65536)).split(b"\n")
            lines.extend(map(json.loads, whole))
        return sum(line.get("lines", 1) for line in lines) == said

    wait_for(is_all_told, "every line to be written, or counted as lost")
    assert "log lines dropped" in {line["event"] for line in lines}


def test_a_reader_that_is_gone_ends_nothing() -> None:
    reader, stream = os.pipe()
    os.close(reader)
    others = set(threading.enumerate())
    writer = Writer(stream, colours=False)
    for _ in range(2):
        writer.add({"timestamp": 0.0, "level": "info", "logger": "a", "event": "said"})
        writer.flush()

    assert [thread.name for thread in threading.enumerate() if thread not in others] == ["log"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(ALICE, "…0101"), ("+12", "…2"), ("12345", "…45"), ("Shop", "…op"), ("", "…"), ("x", "…")],
)
def test_a_number_is_shown_by_its_last_four_digits_and_never_more_than_half(number: str, shown: str) -> None:
    assert shortened(number) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1661365814859loF7mCWD4QACn7", "1661365814859loF7mCWD4QACn7"),
        (ALICE, "…0101"),
        (ALICE[1:], "…0101"),
        (f"id\n{ALICE}", "id\n…0101"),
    ],
)
def test_an_identifier_of_others_is_shown_unless_it_may_be_a_number(text: str, shown: str) -> None:
    assert identifier(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"to={ALICE}", "to=…0101"),
        ("to=%2B19195550101&x", "to=…0101&x"),
        ("to%2b19195550101", "to…0101"),
        ("tel:9195550101.", "tel:…0101."),
        ("/messages/01M8B3QBY46C18HRGRB7SHVBAW", "/messages/01M8B3QBY46C18HRGRB7SHVBAW"),
        ("port 31561, PID 22750", "port 31561, PID 22750"),
    ],
)
def test_numbers_in_a_text_are_shortened(text: str, shown: str) -> None:
    assert without_numbers(text) == shown


def test_a_line_on_a_terminal_is_broken_between_words_only() -> None:
    said = (
        "2026-11-30T12:00:00Z [\x1b[32minfo\x1b[0m] send"
        + " " * 20
        + " ".join(f"field_{n}=value{n}" for n in range(30))
    )

    broken = log.wrap(said, 80).splitlines()

    assert len(broken) > 1
    assert max(len(re.sub("\x1b[^m]*m", "", line)) for line in broken) <= 80
    assert " ".join(broken).split() == said.split()
    assert log.wrap(said, None) == said
    assert log.wrap("x" * 200, 80) == "x" * 200
