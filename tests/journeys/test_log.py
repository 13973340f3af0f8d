"""The log of a process: whole lines of JSON for programs, colour for people, and nothing that quotes others."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from receiver.core import times
from tests.support.builders import ALICE
from tests.support.processes import PATIENCE

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
