"""`receiver send-many`, `receiver watch` and `receiver results`: their output and their exit codes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import update

from receiver.core import times
from receiver.core.messages import Accepted
from receiver.database.database import Database
from receiver.database.models import Message
from receiver.events.store import record
from receiver.messages.files import MOST_PROBLEMS
from tests.support.builders import ALICE, BOB, make_event, store_message
from tests.support.loop import select
from tests.support.processes import environment, invoke, run

RIGHT = f"to,text\n{ALICE},Lunch\n{BOB},Lunch\n"


def send_many(folder: Path, database_url: str, content: str, *options: str, name: str = "lunch.csv") -> Result:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return invoke("send-many", str(path), *options, environment=environment(database_url))


def queued(database_url: str) -> list[str]:
    rows = select(database_url, "SELECT reference FROM messages WHERE send_status = 'queued' ORDER BY pk")
    return [reference for (reference,) in rows]


def test_send_many_says_what_it_queued_and_how_to_watch_it(tmp_path: Path, database_url: str) -> None:
    first = send_many(tmp_path, database_url, RIGHT)
    again = send_many(tmp_path, database_url, RIGHT + f"{ALICE},Dinner\n", "--reference", "meals of today")

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert first.output.splitlines() == [
        "lunch.csv: 2 queued now, 0 queued before.",
        "To watch them: receiver watch lunch.csv-",
    ]
    assert again.output.splitlines() == [
        "lunch.csv: 1 queued now, 2 queued before.",
        "To watch them: receiver watch 'meals of today-'",
    ]
    assert queued(database_url) == ["lunch.csv-2", "lunch.csv-3", "meals of today-4"]


@pytest.mark.parametrize("name", ["lunch.jsonl", "lunch.NDJSON"])
def test_the_suffix_says_how_a_file_is_written(tmp_path: Path, sqlite_url: str, name: str) -> None:
    line = json.dumps({"to": [ALICE], "text": "Lunch"})

    assert send_many(tmp_path, sqlite_url, line, name=name).exit_code == 0
    assert queued(sqlite_url) == [f"{name}-1"]


def test_the_same_lines_are_the_same_batch_however_they_are_written(tmp_path: Path, sqlite_url: str) -> None:
    send_many(tmp_path, sqlite_url, RIGHT, "--batch", "lunch")
    body = json.dumps({"to": [ALICE], "text": "Lunch"})

    again = send_many(tmp_path, sqlite_url, body, "--batch", "lunch", "--format", "jsonl", name="lunch.txt")

    assert "0 queued now, 1 queued before" in again.output


def test_nothing_is_queued_while_a_line_is_wrong(tmp_path: Path, database_url: str) -> None:
    result = send_many(tmp_path, database_url, RIGHT + "\n12,Lunch\n" + f"{ALICE},\n")

    assert result.exit_code == 2
    assert result.output.splitlines() == [
        "line 5: to[0]: Must be an E.164 number such as +19195551234.",
        "line 6: text: Is required unless media is given.",
        "2 of 4 lines are invalid. Nothing was queued.",
    ]
    assert result.stdout == ""
    assert queued(database_url) == []


def test_a_number_that_lost_its_plus_is_reported_and_read_with_its_country(tmp_path: Path, sqlite_url: str) -> None:
    content = f"to,from,text\n{ALICE[1:]},,Lunch\n{BOB[1:]} {ALICE},19195550109,Lunch\n"

    wrong = send_many(tmp_path, sqlite_url, content)
    right = send_many(tmp_path, sqlite_url, content, "--country", "1")
    again = send_many(tmp_path, sqlite_url, content.replace(f"\n{ALICE[1:]}", f"\n{ALICE}"), "--country", "+1")

    remedy = "It has no +; pass the country code, such as --country 1, or write the number with + and that code."
    assert wrong.stderr.splitlines() == [
        f"line 2: to[0]: Must be an E.164 number such as +19195551234. {remedy}",
        f"line 3: from: Must be an E.164 number such as +19195551234, a short code or an alphanumeric id. {remedy}",
        f"line 3: to[0]: Must be an E.164 number such as +19195551234. {remedy}",
        "2 of 2 lines are invalid. Nothing was queued.",
    ]
    assert (wrong.exit_code, right.exit_code, again.exit_code) == (2, 0, 0)
    assert "2 queued now, 0 queued before" in right.output
    assert "0 queued now, 2 queued before" in again.output
    sent = select(sqlite_url, "SELECT recipient FROM recipients ORDER BY message_pk, position")
    assert [number for (number,) in sent] == [ALICE, BOB, ALICE]


def test_a_number_that_lost_its_digits_must_be_entered_again(tmp_path: Path, sqlite_url: str) -> None:
    wrong = send_many(tmp_path, sqlite_url, "to,text\n1.91956E+10,Lunch\n", "--country", "1")

    assert "A spreadsheet shortened it to 1.91956E+10; format the column as text there" in wrong.stderr


@pytest.mark.parametrize("code", ["", "0", "+", "1234", "US", "+1 "])
def test_what_is_no_country_code_is_a_sentence(tmp_path: Path, sqlite_url: str, code: str) -> None:
    result = send_many(tmp_path, sqlite_url, RIGHT, "--country", code)

    assert result.exit_code == 2
    assert "is not a country code such as 1 or 44" in result.output


@pytest.mark.parametrize("name", ["lunch.xlsx", "lunch.XLS", "lunch.ods", "lunch.numbers"])
def test_a_workbook_must_be_saved_as_csv(tmp_path: Path, sqlite_url: str, name: str) -> None:
    result = send_many(tmp_path, sqlite_url, RIGHT, name=name)

    assert result.exit_code == 2
    assert "save it as CSV in UTF-8" in result.output.replace("\n", " ")


def test_what_old_programs_call_a_workbook_though_it_is_text_is_read_as_it_is_said_to_be(
    tmp_path: Path, sqlite_url: str
) -> None:
    text = RIGHT.replace(",", "\t")

    assert send_many(tmp_path, sqlite_url, text, "--format", "tsv", name="lunch.xls").exit_code == 0


def test_a_tsv_file_is_known_by_its_suffix(tmp_path: Path, sqlite_url: str) -> None:
    assert send_many(tmp_path, sqlite_url, RIGHT.replace(",", "\t"), name="lunch.tsv").exit_code == 0


def test_what_a_file_says_is_printed_as_it_is_and_commands_nothing(tmp_path: Path, sqlite_url: str) -> None:
    """Text of the file is neither markup nor emoji to rich, and no escape sequence to the terminal."""
    line = json.dumps({"to": [ALICE], "text": "Lunch", "[b]:bomb:\x1b[2J\u202e": 1})

    wrong = send_many(tmp_path, sqlite_url, line, name="lunch.jsonl")

    assert (wrong.exit_code, wrong.stderr.splitlines()[0]) == (
        2,
        "line 1: [b]:bomb:\ufffd[2J\ufffd: Is not a field of a message.",
    )


def test_of_many_wrong_lines_the_first_are_printed_and_the_others_counted(tmp_path: Path, sqlite_url: str) -> None:
    result = send_many(tmp_path, sqlite_url, "to,text\n" + "12,Lunch\n" * (MOST_PROBLEMS + 7))

    said = result.output.splitlines()
    assert len(said) == MOST_PROBLEMS + 2
    assert said[-2] == "... and 7 more"


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("", (), "The file contains no messages."),
        ("to,text\n", (), "The file contains no messages."),
        ("text\nLunch\n", (), "The header has no column 'to'; map one to it with --column 'NAME=to'."),
        ("to,colour\n1,red\n", (), "'colour'"),
        (RIGHT, ("--column", "Phone"), "HEADER=FIELD"),
        (RIGHT, ("--column", "Phone=phone"), "HEADER=FIELD"),
        (RIGHT, ("--format", "xml"), "xml"),
    ],
)
def test_a_file_that_cannot_be_right_is_a_sentence(
    tmp_path: Path, sqlite_url: str, content: str, options: tuple[str, ...], said: str
) -> None:
    result = send_many(tmp_path, sqlite_url, content, *options)

    assert result.exit_code == 2
    assert said in result.output.replace("\n", " ")


def test_a_name_that_does_not_say_how_the_file_is_written_needs_an_option(tmp_path: Path, sqlite_url: str) -> None:
    result = send_many(tmp_path, sqlite_url, RIGHT, name="lunch.txt")

    assert result.exit_code == 2
    assert "--format" in result.output


def test_a_file_that_is_not_there_is_a_sentence(sqlite_url: str) -> None:
    result = invoke("send-many", "no-such-file.csv", environment=environment(sqlite_url))

    assert result.exit_code == 2


def test_a_full_disk_is_a_sentence(tmp_path: Path, sqlite_url: str) -> None:
    """A limit on the size of files, 2,000 blocks or one to two megabytes, stands for the full disk."""
    path = tmp_path / "long.csv"
    path.write_bytes(b"to,text\n" + b"\n" * 3_000_000)
    command = f"ulimit -f 2000; exec {sys.executable} -m receiver.cli send-many {path}"

    ended = subprocess.run(
        ["sh", "-c", command], env=environment(sqlite_url), capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("Cannot read the file, or copy it to ")


def test_columns_are_named_by_options(tmp_path: Path, sqlite_url: str) -> None:
    content = f"Phone;Message;Notes\n{ALICE};Lunch;vegetarian\n"
    options = ("--column", "Phone=to", "--column", "Message=text", "--column", "Notes=")

    assert send_many(tmp_path, sqlite_url, content, *options).exit_code == 0


def test_standard_input_is_read_once_and_needs_a_name(tmp_path: Path, sqlite_url: str) -> None:
    settings = environment(sqlite_url)
    command = ["send-many", "-", "--format", "csv"]

    nameless = run(*command, environment=settings, folder=tmp_path, standard_input=RIGHT)
    named = run(*command, "--batch", "lunch", environment=settings, folder=tmp_path, standard_input=RIGHT)

    assert (nameless.returncode, named.returncode) == (2, 0)
    assert "--batch" in nameless.stderr
    assert queued(sqlite_url) == ["lunch-2", "lunch-3"]


def test_a_terminal_shows_how_far_it_is(tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "lunch.csv").write_text(RIGHT)
    terminal = environment(sqlite_url) | {"FORCE_COLOR": "1", "TERM": "xterm"}

    ended = run("send-many", "lunch.csv", environment=terminal, folder=tmp_path, from_command_line=True)

    assert ended.returncode == 0
    for shown in ("checking", "queueing", "100%"):
        assert shown in ended.stderr


# watch -----------------------------------------------------------------------------------------------------------


def watch(database_url: str, prefix: str) -> Result:
    return invoke("watch", prefix, environment=environment(database_url))


def test_watch_exits_0_when_all_is_complete(database_url: str) -> None:
    with Database(database_url) as database:
        store_message(database, ALICE, BOB, reference="lunch-1")
        events = [make_event("delivered", ALICE), make_event("failed", BOB, error_code=4404)]
        database.write(lambda session: record(session, events, now=times.now()))

    result = watch(database_url, "lunch")

    assert result.exit_code == 0
    assert "messages: 1 accepted; recipients: " in result.output
    for counted in ("1 delivered", "1 failed", "complete: 2 of 2"):
        assert counted in result.output


def test_watch_exits_1_when_all_that_is_open_is_overdue(database_url: str) -> None:
    with Database(database_url) as database:
        store_message(database, ALICE, BOB, reference="lunch-1")
        database.write(lambda session: record(session, [make_event("delivered", ALICE)], now=times.now()))
        past = update(Message).values(overdue_at=times.now() - timedelta(hours=1))
        database.write(lambda session: session.execute(past))

    result = watch(database_url, "lunch-1")

    assert result.exit_code == 1
    assert "complete: 1 of 2; overdue: 1" in result.output
    assert "No final outcome yet for 1 of 2 recipients; all of them are overdue." in result.output


def test_watch_exits_1_when_no_reference_begins_so(database_url: str) -> None:
    result = watch(database_url, "lunch%")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "No message has a reference that begins with lunch%.\n"


@pytest.mark.parametrize("options", [("--once",), ("--timeout", "0"), ("--timeout", "0.01")])
def test_watch_stops_when_it_was_told_to_and_exits_1_while_something_is_open(
    database_url: str, options: tuple[str, ...]
) -> None:
    with Database(database_url) as database:
        store_message(database, ALICE, BOB, reference="lunch-1")
        database.write(lambda session: record(session, [make_event("delivered", ALICE)], now=times.now()))

    result = invoke("watch", "lunch-", *options, environment=environment(database_url))

    assert result.exit_code == 1
    assert result.stdout.count("complete: 1 of 2") == 1
    assert result.stderr == "No final outcome yet for 1 of 2 recipients.\n"


def test_watch_once_exits_0_when_all_is_complete_and_knows_one_way_to_stop(sqlite_url: str) -> None:
    with Database(sqlite_url) as database:
        store_message(database, ALICE, reference="lunch-1")
        database.write(lambda session: record(session, [make_event("delivered", ALICE)], now=times.now()))
    settings = environment(sqlite_url)

    assert invoke("watch", "lunch-", "--once", environment=settings).exit_code == 0
    both = invoke("watch", "lunch-", "--once", "--timeout", "1", environment=settings)
    assert (both.exit_code, "mutually exclusive" in both.output) == (2, True)
    for never in ("-1", "nan"):
        assert invoke("watch", "lunch-", "--timeout", never, environment=settings).exit_code == 2


# results ---------------------------------------------------------------------------------------------------------


def test_results_are_a_table_csv_or_json_of_every_recipient(database_url: str) -> None:
    with Database(database_url) as database:
        second, _ = store_message(database, BOB, reference="lunch-2", answer=Accepted(message_id="another"))
        first, _ = store_message(database, ALICE, BOB, reference="lunch-1")
        store_message(database, ALICE, reference="lunch", answer=Accepted(message_id="third"))
        events = [make_event("delivered", ALICE), make_event("failed", BOB, error_code=4404)]
        database.write(lambda session: record(session, events, now=times.now()))
    settings = environment(database_url)

    table, as_csv, as_json = (
        invoke("results", "lunch-", *form, environment=settings) for form in ((), ("--csv",), ("--json",))
    )

    assert (table.exit_code, as_csv.exit_code, as_json.exit_code) == (0, 0, 0)
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    outcomes = [("lunch-1", ALICE, "delivered"), ("lunch-1", BOB, "failed"), ("lunch-2", BOB, "pending")]
    assert [(row["reference"], row["to"], row["status"]) for row in rows] == outcomes
    assert rows[1]["errorCode"] == "4404"
    assert [each["tag"] for each in json.loads(as_json.stdout)["messages"]] == [first, second]
    for outcome in outcomes:
        assert any(line.split()[:3] == list(outcome) for line in table.stdout.splitlines())


@pytest.mark.parametrize("prefix", ["lunch%", "lunch_1", "\udcff", "dinner"])
def test_results_exit_1_when_no_reference_begins_so(database_url: str, prefix: str) -> None:
    with Database(database_url) as database:
        store_message(database, ALICE, reference="lunch-1")

    result = invoke("results", prefix, environment=environment(database_url))

    assert (result.exit_code, result.stdout) == (1, "")
    assert "No message has a reference that begins with" in result.stderr
