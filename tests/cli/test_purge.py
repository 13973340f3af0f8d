"""`receiver purge`: its output, its confirmation and its exit codes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result

from receiver.core import times
from receiver.database.database import Database
from tests.maintenance.test_purge import RUBBISH, fill
from tests.support.builders import ALICE, BOB, SENDER, make_event
from tests.support.old_rows import DAY, rows, store_old_events, store_old_message, tables
from tests.support.processes import PATIENCE, environment, invoke
from tests.support.queue_steps import enqueue
from tests.support.stored import deliver


def purge(database_url: str, *options: str) -> Result:
    return invoke("purge", *options, environment=environment(database_url))


def lines(result: Result) -> list[str]:
    """The lines of the output without the padding of columns."""
    return [" ".join(line.split()) for line in result.output.splitlines() if line.strip()]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(database: Database, database_url: str) -> None:
    fill(database, days=91.5, mark="old")
    fill(database, days=89, mark="young")
    enqueue(database, ALICE)
    before = tables(database)

    result = purge(database_url, "--older-than", "90d", "--dry-run")

    assert result.exit_code == 0
    said = lines(result)
    assert said[0].startswith("To be removed (older than 20")
    table = {re.sub(r"( 20\d\d-\d\d-\d\d \S+){2}$", "", line) for line in said}
    assert {f"{what} 1" for what in ("messages", "unlinked events", "inbound events", "unreadable elements")} <= table
    assert {"recipients 2", "events 4", "Messages among these without a final outcome: 1."} <= table
    assert "Removed" not in result.output
    assert tables(database) == before


def test_it_says_what_it_did(database: Database, database_url: str) -> None:
    fill(database, days=91, mark="old")

    redacted = purge(database_url, "--older-than", "12w", "--redact", "--yes")
    again = purge(database_url, "--older-than", "12w", "--redact", "--yes")
    removed = purge(database_url, "--older-than", "90d", "--yes")

    assert [each.exit_code for each in (redacted, again, removed)] == [0, 0, 0]
    counts = "1 message, 2 recipients, 4 events, 1 unlinked event, 1 inbound event, 1 unreadable element"
    assert lines(redacted)[-1] == f"Redacted: {counts}."
    assert lines(again)[0].startswith("Nothing older than 20")
    assert lines(removed)[-1] == f"Removed: {counts}."
    assert rows(tables(database)) == {}


def test_it_tells_of_those_that_stay(database: Database, database_url: str) -> None:
    enqueue(database, ALICE, now=times.now() - 91 * DAY)

    result = purge(database_url, "--older-than", "90d")

    assert result.exit_code == 0
    assert lines(result)[1] == "Messages of this age that are kept, because they are queued or were sent later: 1."


@pytest.mark.parametrize(
    ("span", "why"),
    [
        ("90", "'90' is not an age: write a number followed by d, w or y (days, weeks, years), such as 90d."),
        ("-90d", "is not an age"),
        ("3m", "is not an age"),
        ("\N{ARABIC-INDIC DIGIT NINE}0d", "is not an age"),
        ("13d", "13d is not between 14d and 36500d: Bandwidth keeps younger messages on record"),
        ("0d", "0d is not between"),
        ("1w", "1w is not between"),
        ("99999y", "99999y is not between"),
        ("999999d", "is not an age"),
    ],
)
def test_a_wrong_age_is_a_usage_error_that_says_what_is_right(sqlite_url: str, span: str, why: str) -> None:
    result = purge(sqlite_url, "--older-than", span, "--yes")

    assert result.exit_code == 2
    assert why in " ".join(result.output.split())


@pytest.mark.parametrize("span", ["14d", "2w", "1y", "100y", "36500d"])
def test_spans_are_days_weeks_or_years(sqlite_url: str, span: str) -> None:
    assert purge(sqlite_url, "--older-than", span).exit_code == 0


def test_without_a_terminal_it_needs_yes(sqlite: Database, sqlite_url: str) -> None:
    store_old_message(sqlite, ALICE, days=91)

    result = purge(sqlite_url, "--older-than", "90d")

    assert result.exit_code == 2
    assert lines(result)[-1] == "Not a terminal: pass --yes to confirm. Nothing was changed."
    assert rows(tables(sqlite))["messages"] == 1


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 2, 1), ("", 2, 1), ("y", 0, 0)])
def test_on_a_terminal_it_asks(
    sqlite: Database, sqlite_url: str, tmp_path: Path, answer: str, code: int, left: int
) -> None:
    store_old_message(sqlite, ALICE, days=91)
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "receiver.cli", "purge", "--older-than", "90d"]
    os.write(controller, f"{answer}\n".encode())

    ended = subprocess.run(
        command,
        env=environment(sqlite_url),
        cwd=tmp_path,
        stdin=terminal,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )

    os.close(controller)
    os.close(terminal)
    assert (ended.returncode, rows(tables(sqlite)).get("messages", 0)) == (code, left), ended
    assert b"This cannot be undone." in ended.stderr


def test_nothing_personal_is_in_the_file_afterwards(sqlite: Database, sqlite_url: str) -> None:
    """Personal data is gone from the rows, and from the free pages of the SQLite file."""
    tag, _ = store_old_message(sqlite, ALICE, BOB, days=91, message_id="known", text="The weather is fine " * 100)
    store_old_events(
        sqlite, *(make_event("failed", to, message_id="known", tag=tag) for to in (ALICE, BOB)), RUBBISH, days=91
    )
    path = Path(sqlite_url.removeprefix("sqlite:///"))

    def found() -> set[str]:
        sqlite.write(lambda session: None)
        with sqlite.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
        return {each for each in (ALICE, BOB, SENDER, "The weather") if each.encode() in path.read_bytes()}

    assert found() == {ALICE, BOB, SENDER, "The weather"}
    assert purge(sqlite_url, "--older-than", "90d", "--redact", "--yes").exit_code == 0

    assert found() == {SENDER}


def test_show_says_that_a_message_was_redacted(database: Database, database_url: str) -> None:
    tag, pk = store_old_message(database, ALICE, days=91, message_id="known")
    deliver(database, make_event(message_id="known"))
    purge(database_url, "--older-than", "90d", "--redact", "--yes")

    shown = invoke("show", tag, environment=environment(database_url))

    assert shown.exit_code == 0
    assert f"redacted-{pk}-1" in shown.output
    assert any(line.split()[:1] == ["redacted"] for line in shown.output.splitlines())
    assert ALICE not in shown.output
