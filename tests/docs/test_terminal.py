"""The commands that docs/support.md shows print what it says."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.cli import console
from receiver.core.events import Unreadable
from receiver.database.database import Database
from tests.support import pages
from tests.support.builders import ALICE, make_element, make_event, store_message
from tests.support.processes import PATIENCE, environment, invoke
from tests.support.stored import HOUR, change, deliver, submit

SECTION = pages.SUPPORT.section("In the terminal")
COMMANDS = ("find", "show", "overdue", "unlinked", "unreadable")
EXAMPLES = SECTION.commands("receiver")
INVALID = "+12005564404"


def _run(example: str, tag: str, *, database_url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    receiver = shlex.join([sys.executable, "-m", "receiver.cli"])
    command = example.replace("receiver", receiver, 1).replace(pages.TAG, tag)
    return subprocess.run(
        ["sh", "-c", command],
        env=environment(database_url),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_every_example_in_the_terminal_answers_its_question(sqlite: Database, sqlite_url: str, tmp_path: Path) -> None:
    tag, _ = store_message(sqlite, ALICE, INVALID, reference="lunch-1")
    deliver(sqlite, make_event("failed", INVALID, error_code=4404), make_event(message_id="of-nobody"))
    submit(sqlite, "+19195550199", overdue_in=-HOUR)
    change(sqlite, "UPDATE messages SET send_status = 'accepted'")
    known = Unreadable(payload=json.dumps(make_element("delivered", ALICE)), reason="An older parser.")
    deliver(sqlite, known, Unreadable(payload="42", reason="An older parser."))

    ended = [_run(each, tag, database_url=sqlite_url, folder=tmp_path) for each in EXAMPLES]

    by_number, by_reference, shown, overdue, _, replayed = ended
    assert [each.returncode for each in ended] == [0, 0, 0, 0, 1, 1]
    assert INVALID in by_number.stdout
    assert "failed 4404" in by_number.stdout
    assert ALICE not in by_number.stdout
    assert by_reference.stdout == ""
    with (tmp_path / "lunch-1.csv").open() as file:
        assert [(row["to"], row["errorCode"]) for row in csv.DictReader(file)] == [(ALICE, ""), (INVALID, "4404")]
    assert json.loads(shown.stdout)["tag"] == tag
    assert overdue.stdout == "Something is overdue, or the database cannot be reached.\n"
    assert [each["messageId"] for each in json.loads((tmp_path / "unlinked.json").read_text())["events"]] == [
        "of-nobody"
    ]
    assert "recorded: 1" in replayed.stderr
    assert "42" in replayed.stdout


def test_the_exit_codes_are_those_of_the_commands() -> None:
    codes = [0, console.EXIT_WRONG, console.EXIT_USAGE, console.EXIT_UNKNOWN, console.EXIT_INTERRUPTED]
    assert SECTION.first_column("Exit code") == [str(each) for each in codes]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_output_of_every_command_that_prints_json_is_described(command: str) -> None:
    assert command in SECTION.first_column("Output of")
    assert "--json" in invoke(command, "--help", environment={}).stdout
