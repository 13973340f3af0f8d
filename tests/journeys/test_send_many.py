"""A file of messages in real processes: killed and run again, twice at once, sent, and watched to the end."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from receiver.messages.files import CHUNK
from tests.support.builders import ALICE
from tests.support.loop import Loop, select
from tests.support.processes import Child, environment, run, wait_for

LINES = 3 * CHUNK
INVALID = "+12005564404"


def write_file(folder: Path, lines: int = LINES) -> str:
    rows = [f"+1919556{number:04},Lunch is at noon.,order-{number}" for number in range(lines)]
    path = folder / "many.csv"
    path.write_text("\n".join(["to,text,reference", *rows]))
    return str(path)


def references(database_url: str) -> Counter[str]:
    return Counter(reference for (reference,) in select(database_url, "SELECT reference FROM messages"))


def test_a_killed_run_is_completed_by_the_next_and_nothing_is_there_twice(tmp_path: Path, database_url: str) -> None:
    settings, file = environment(database_url), write_file(tmp_path)
    with Child("send-many", file, environment=settings, folder=tmp_path) as child:
        child.wait_until(lambda: references(database_url), "the first lines to be queued")
        child.kill()
    before = references(database_url).total()
    assert 0 < before < LINES

    again = run("send-many", file, environment=settings, folder=tmp_path)

    assert again.returncode == 0
    assert f"{LINES - before} queued now, {before} queued before" in again.stdout
    assert references(database_url) == Counter(f"order-{number}" for number in range(LINES))


def test_two_runs_at_once_queue_each_line_once(tmp_path: Path, database_url: str) -> None:
    settings, file = environment(database_url), write_file(tmp_path)
    with ExitStack() as stack:
        runs = [stack.enter_context(Child("send-many", file, environment=settings, folder=tmp_path)) for _ in range(2)]
        for each in runs:
            wait_for(lambda each=each: each.process.poll() is not None, "a run to end")  # type: ignore[misc]

    assert [each.process.returncode for each in runs] == [0, 0]
    assert references(database_url) == Counter(f"order-{number}" for number in range(LINES))


def test_a_file_is_sent_and_watched_to_the_end(loop: Loop, tmp_path: Path) -> None:
    groups = [[f"+1919556{number:04}", f"+1919557{number:04}", INVALID] for number in range(8)]
    rows = [f"{' '.join(group)},Lunch is at noon.,watched-{number}" for number, group in enumerate(groups)]
    file = tmp_path / "watched.csv"
    file.write_text("\n".join(["to,text,reference", *rows]))
    for _ in range(2):
        assert run("send-many", str(file), environment=loop.environment, folder=tmp_path).returncode == 0

    with Child("worker", environment=loop.environment, folder=tmp_path) as worker:
        watched = run("watch", "watched-", environment=loop.environment, folder=tmp_path)
        assert worker.end() == 0

    assert watched.returncode == 0, watched.stdout
    last = watched.stdout.splitlines()[-1]
    assert last.startswith("messages: 8 accepted; recipients: ")
    for counted in ("16 delivered", "8 failed", "complete: 24 of 24"):
        assert counted in last
    sent = [each["request"]["to"] for each in loop.simulator.messages() if each["request"]["to"][-1] == INVALID]
    assert sorted(each for each in sent if each in groups) == groups


def test_a_terminal_shows_a_bar(loop: Loop, tmp_path: Path) -> None:
    tag = loop.api.send(ALICE, reference="on a terminal").json()["tag"]
    wait_for(lambda: loop.api.message(tag)["complete"], "the outcome")

    terminal = loop.environment | {"FORCE_COLOR": "1", "TERM": "xterm"}
    watched = run("watch", "on a terminal", environment=terminal, folder=tmp_path, from_command_line=True)

    assert watched.returncode == 0
    for shown in ("send status", "delivered", "1 of 1 complete", "━" * 40):
        assert shown in watched.stdout


def test_ctrl_c_ends_watching_quietly(loop: Loop, tmp_path: Path) -> None:
    assert loop.api.send("+12005660001", reference="forever").status_code == 202

    with Child("watch", "forever", environment=loop.environment, folder=tmp_path) as child:
        child.wait_until(lambda: "1 pending" in child.output, "the first line")
        assert child.end(signal.SIGINT) == 130

    assert child.output.splitlines() == ["messages: 1 accepted; recipients: 1 pending; complete: 0 of 1"]
