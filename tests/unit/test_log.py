"""The log: whole lines of JSON for programs, colour for people, and nobody waits for whoever reads it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest

from receiver import log
from receiver.core import times
from receiver.core.numbers import identifier, shortened, without_numbers
from receiver.log import MOST_WAITING, Writer
from tests.support.builders import ALICE
from tests.support.processes import PATIENCE, wait_for

BEGIN = (
    "import logging, os, threading; from receiver import log as logs; logs.to_stderr(); "
    "log = logs.get_logger('a.module');"
)


def logged_by(script: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """What a process prints that runs this after the log has begun."""
    command = [sys.executable, "-c", f"{BEGIN}\n{script}"]
    streams = streams or {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(command, timeout=PATIENCE, check=False, **streams)


def lines_of(script: str) -> list[Any]:
    ended = logged_by(script)
    assert ended.stdout == b""
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_a_line_is_a_json_object_that_begins_with_when_and_what() -> None:
    (line,) = lines_of("log.warning('it rains', tag='01', error=None, seconds=1.5)")

    assert list(line) == ["timestamp", "level", "logger", "event", "tag", "seconds"]
    assert line["timestamp"].endswith("Z")
    assert abs((times.parse(line["timestamp"]) or times.now()) - times.now()).total_seconds() < PATIENCE
    assert list(line.values())[1:] == ["warning", "a.module", "it rains", "01", 1.5]


def test_the_level_is_that_of_the_setting_also_for_libraries() -> None:
    script = """
logs.to_stderr('error')
log.warning('ours'); logging.getLogger('_granian').warning('theirs')
log.error('ours'); logging.getLogger('_granian').error('theirs')"""

    assert [(line["level"], line["event"]) for line in lines_of(script)] == [("error", "ours"), ("error", "theirs")]


def test_on_a_terminal_a_line_is_coloured_and_obeys_nobody_else() -> None:
    leader, follower = pty.openpty()
    logged_by("log.info('it rains', tag='\\x1b[2J')", stderr=follower)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)

    assert "it rains" in shown
    assert "\x1b[" in shown
    assert "\x1b[2J" not in shown
    assert not shown.startswith("{")


def test_what_a_library_says_is_cut_to_what_quotes_nothing() -> None:
    """At DEBUG, sqlalchemy quotes rows and urllib3 URLs; warnings of malformed answers quote those."""
    script = f"""
for name in ('sqlalchemy.engine', 'urllib3.connectionpool', 'requests', 'asyncio'):
    logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger(name).debug('row {ALICE}'); logging.getLogger(name).info('row {ALICE}')
logging.getLogger('urllib3.connection').warning('unparsed: {ALICE}')
try:
    raise ValueError('{ALICE}')
except ValueError as error:
    logging.getLogger('asyncio').error('Task failed at %2B19195550101\\nwith {ALICE}', exc_info=error)"""

    (line,) = lines_of(script)

    assert line["event"] == "Task failed at …0101"
    assert (line["error"], line["logger"]) == ("ValueError", "asyncio")
    assert line["place"].startswith("<string>:")


@pytest.mark.parametrize(
    "script",
    [f"raise RuntimeError('{ALICE}')", f"t = threading.Thread(target=int, args=('{ALICE} x',)); t.start(); t.join()"],
)
def test_an_error_that_nobody_caught_is_a_line_without_its_words(script: str) -> None:
    (line,) = lines_of(script)

    assert line["level"] == "critical"
    assert line["error"] in ("RuntimeError", "ValueError")
    assert ALICE not in str(line)


def test_a_forked_process_logs_too() -> None:
    script = "log.info('parent'); pid = os.fork(); log.info('child' if pid == 0 else 'still parent'); logs.flush()"
    script += "\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)"

    assert sorted(line["event"] for line in lines_of(script)) == ["child", "parent", "still parent"]


def test_nobody_waits_for_a_reader_that_does_not_read_and_what_is_lost_is_counted() -> None:
    reader, stream = os.pipe()
    writer = Writer(stream, colours=False)
    said = MOST_WAITING * 2
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
    assert "log lines were lost" in {line["event"] for line in lines}


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
