"""`receiver find`, `show`, `conversation` and the lists: the same content as table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.bandwidth.callbacks import parse
from receiver.core import times
from receiver.core.events import Unreadable
from receiver.core.messages import Accepted, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, NOON, SENDER, make_element, make_event, store_message
from tests.support.locks import locked, onlooker
from tests.support.processes import PATIENCE, Child, environment, invoke, start
from tests.support.service import Service
from tests.support.stored import HOUR, change, deliver, submit, unreadables
from tests.support.terminal import on_terminal, without_colours

LISTS = {"overdue": "recipient", "unlinked": "event", "unreadable": "element"}
"""The lists, and what a row of each stands for."""
FORMULA = '=HYPERLINK("http://evil.example","\x1b[2Jlunch")'


@pytest.fixture
def settings(database_url: str) -> dict[str, str]:
    return environment(database_url)


def objects(stdout: str, name: str) -> list[dict[str, Any]]:
    """The objects in a command's JSON."""
    answer = json.loads(stdout)
    assert list(answer) == [name, "more"]
    listed: list[dict[str, Any]] = answer[name]
    return listed


def lines(stdout: str) -> list[dict[str, str]]:
    """The rows of a command's CSV."""
    return list(csv.DictReader(io.StringIO(stdout)))


def found(word: str, settings: dict[str, str]) -> dict[str, list[str]]:
    """The tags of the messages that `receiver find` finds, newest first, each with what it was found by."""
    return {
        each["tag"]: each["foundBy"]
        for each in objects(invoke("find", word, "--json", environment=settings).stdout, "messages")
    }


# find ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "by"),
    [
        (ALICE, "to"),
        (" +1 (919) 555-0101", "to"),
        ("1.919.555.0101", "to"),
        ("(919) 555-0101", "to"),
        (SENDER, "from"),
        ("919-555-0100", "from"),
        ("lunch-1", "reference"),
        (MESSAGE_ID, "messageId"),
        (f" {MESSAGE_ID.upper()} ", "messageId"),
        ("011 1 919 555 0101", "to"),
    ],
)
def test_a_message_is_found_by_everything_that_somebody_may_have_of_it(
    database: Database, settings: dict[str, str], word: str, by: str
) -> None:
    tag, _ = store_message(database, ALICE, BOB, reference="lunch-1")
    store_message(database, CAROL, sender="LUNCH", answer=Accepted(message_id="another"))

    assert found(word, settings) == {tag: [by]}
    assert found(tag, settings) == found(f" {tag.lower()}", settings) == {tag: ["tag"]}


@pytest.mark.parametrize(
    "pasted", ["\u200b{}", "\ufeff{}\u2060", "{}\ufe0d", "{},", '"{}"', "\u201c{}\u201d ", "<{}>", "{};\n"]
)
def test_whatever_was_pasted_is_found_as_the_eye_reads_it(
    database: Database, settings: dict[str, str], pasted: str
) -> None:
    """Mail, web pages and spreadsheets surround a pasted word with invisible characters."""
    tag, _ = store_message(database, ALICE, reference="lunch-1")
    words = {tag: "tag", "lunch-1": "reference", MESSAGE_ID: "messageId", ALICE: "to", SENDER: "from"}

    for word, by in words.items():
        assert found(pasted.format(word), settings) == {tag: [by]}


def test_show_and_cancel_read_a_pasted_tag(database: Database, settings: dict[str, str]) -> None:
    tag, _ = store_message(database, ALICE)

    shown, cancelled = (invoke(each, f" \u200b{tag.lower()},", environment=settings) for each in ("show", "cancel"))

    assert tag in shown.stdout
    assert "Only a queued message can be cancelled" in cancelled.stderr


def test_a_reference_that_holds_what_is_not_seen_is_found_as_it_is(
    database: Database, settings: dict[str, str]
) -> None:
    tag, _ = store_message(database, ALICE, reference="\u200b'lunch-1',")

    assert found("\u200b'lunch-1',", settings) == {tag: ["reference"]}


@pytest.mark.parametrize("word", ["0101", " 0101\u200b", "\u20260101", "...0101", "xx0101"])
def test_a_message_is_found_by_the_last_four_digits_of_a_recipient(
    database: Database, settings: dict[str, str], word: str
) -> None:
    tag, _ = store_message(database, BOB, ALICE)
    store_message(database, CAROL, answer=Accepted(message_id="another"))

    assert found(word, settings) == {tag: ["toEnding"]}
    shown = invoke("find", word, environment=settings).stdout
    assert shown.startswith("Found by last digits of a recipient.\n")
    assert ALICE in shown
    assert BOB not in shown


def test_four_digits_may_be_something_else_as_well(database: Database, settings: dict[str, str]) -> None:
    short, _ = store_message(database, BOB, sender="0101")
    both, _ = store_message(database, ALICE, reference="0101", answer=Accepted(message_id="another"))

    assert found("0101", settings) == {both: ["reference", "toEnding"], short: ["from"]}


def test_a_short_code_is_no_telephone_number_and_a_name_is_a_sender(
    database: Database, settings: dict[str, str]
) -> None:
    short, _ = store_message(database, sender="123456")
    name, _ = store_message(database, sender="LUNCH")

    assert found("123456", settings) == {short: ["from"]}
    assert found("LUNCH", settings) == {name: ["from"]}


def test_a_word_that_is_several_things_finds_all_of_them_newest_first(
    database: Database, settings: dict[str, str]
) -> None:
    sent, _ = store_message(database, ALICE)
    other, _ = store_message(database, BOB, reference=ALICE)
    both, _ = store_message(database, ALICE, reference=ALICE)
    referring, _ = store_message(database, BOB, reference=sent)

    assert list(found(ALICE, settings).items()) == [(both, ["reference", "to"]), (other, ["reference"]), (sent, ["to"])]
    assert list(found(sent, settings).items()) == [(referring, ["reference"]), (sent, ["tag"])]
    shown = invoke("find", ALICE, environment=settings).stdout
    assert shown.startswith("Found by reference and recipient.\n")


def test_find_shows_the_outcome_of_the_number_asked_for_or_of_the_whole_group(
    database: Database, settings: dict[str, str]
) -> None:
    tag, _ = store_message(database, ALICE, BOB, reference="lunch-1")
    deliver(database, make_event("failed", ALICE, error_code=4720), make_event("delivered", BOB))

    for_one, for_all = (invoke("find", word, environment=settings) for word in (ALICE, "lunch-1"))

    assert for_one.exit_code == for_all.exit_code == 0
    assert [ALICE, "failed", "4720"] in [line.split()[-3:] for line in for_one.stdout.splitlines()]
    assert BOB not in for_one.stdout
    assert for_all.stdout.count(tag) == 2
    assert [BOB, "delivered"] in [line.split()[-2:] for line in for_all.stdout.splitlines()]
    rows = lines(invoke("find", ALICE, "--csv", environment=settings).stdout)
    assert [(row["foundBy"], row["tag"], row["to"], row["errorCode"]) for row in rows] == [("to", tag, ALICE, "4720")]


def test_find_lists_the_newest_and_says_that_there_are_more(database: Database, settings: dict[str, str]) -> None:
    tags = [store_message(database, ALICE)[0] for _ in range(3)]

    some, all_of_them = (invoke("find", ALICE, "--json", "--limit", each, environment=settings) for each in "23")

    assert [each["tag"] for each in objects(some.stdout, "messages")] == [tags[2], tags[1]]
    assert (json.loads(some.stdout)["more"], json.loads(all_of_them.stdout)["more"]) == (True, False)
    assert "--limit" in some.stderr
    assert all_of_them.stderr == ""


@pytest.mark.parametrize("word", ["nobody", "+19995550199", "01M803PMPZHK79K198H9DPFJ7A", "' OR 1=1", "\udcff", ""])
def test_what_nobody_has_is_not_found_in_one_sentence(settings: dict[str, str], word: str) -> None:
    shown, as_json, as_csv = (invoke("find", word, *form, environment=settings) for form in ([], ["--json"], ["--csv"]))

    assert (shown.exit_code, as_json.exit_code, as_csv.exit_code) == (1, 1, 1)
    assert (shown.stdout, len(shown.stderr.splitlines())) == ("", 1)
    assert objects(as_json.stdout, "messages") == []
    assert as_csv.stdout.startswith("foundBy,tag,reference,")
    assert lines(as_csv.stdout) == []


# the lists -----------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(database: Database) -> str:
    """Stores a row for every list and others that must not be listed; the tag of the overdue message."""
    store_message(database, ALICE)
    tag, _ = submit(database, ALICE, BOB, CAROL, reference="lunch-1", overdue_in=-HOUR)
    deliver(database, make_event("delivered", BOB, message_id="of-the-overdue", tag=tag))
    deliver(database, make_event(message_id="of-nobody", recipient="", tag="theirs", payload='{"n": 1e999}'))
    deliver(database, make_event("received", message_id="inbound"), Unreadable(payload="[[[", reason="Too deep."))
    return tag


def test_overdue_lists_every_recipient_whose_outcome_should_be_known(settings: dict[str, str], listed: str) -> None:
    shown, as_json, as_csv = (invoke("overdue", *form, environment=settings) for form in ([], ["--json"], ["--csv"]))

    rows = objects(as_json.stdout, "recipients")
    assert [(row["tag"], row["to"], row["status"]) for row in rows] == [
        (listed, each, "pending") for each in (ALICE, CAROL)
    ]
    assert rows[0]["messageId"] == "of-the-overdue"
    assert rows[0]["overdueAt"] < rows[0]["createdAt"]
    assert rows[0]["overdueAt"].endswith("Z")
    assert lines(as_csv.stdout) == [
        {name: "" if value is None else value for name, value in row.items()} for row in rows
    ]
    assert [line.split()[:4] for line in shown.stdout.splitlines() if listed in line] == [
        [listed, "lunch-1", each, "pending"] for each in (ALICE, CAROL)
    ]


def test_unlinked_lists_events_with_their_own_json(settings: dict[str, str], listed: str) -> None:
    shown, as_json, as_csv = (invoke("unlinked", *form, environment=settings) for form in ([], ["--json"], ["--csv"]))

    [row] = objects(as_json.stdout, "events")
    assert (row["messageId"], row["eventTag"], row["to"], row["deliveries"]) == ("of-nobody", "theirs", None, 1)
    assert '"payload": {"n": 1e999}}' in as_json.stdout
    [line] = lines(as_csv.stdout)
    assert (line["to"], line["payload"]) == ("", '{"n": 1e999}')
    assert list(line) == list(row)
    assert "message-delivered" in shown.stdout


def test_unreadable_lists_elements_and_why(settings: dict[str, str], listed: str) -> None:
    shown, as_json, as_csv = (invoke("unreadable", *form, environment=settings) for form in ([], ["--json"], ["--csv"]))

    [row] = objects(as_json.stdout, "unreadable")
    assert (row["reason"], row["payload"], row["deliveries"]) == ("Too deep.", "[[[", 1)
    assert lines(as_csv.stdout) == [{name: str(value) for name, value in row.items()}]
    assert "Too deep." in shown.stdout


@pytest.mark.parametrize("command", LISTS)
def test_a_list_exits_1_if_there_is_anything_and_0_if_there_is_nothing(
    database: Database, settings: dict[str, str], command: str, request: pytest.FixtureRequest
) -> None:
    forms: list[list[str]] = [[], ["--json"], ["--csv"]]
    shown, as_json, as_csv = empty = [invoke(command, *form, environment=settings) for form in forms]
    assert [each.exit_code for each in empty] == [0, 0, 0]
    assert (shown.stdout, shown.stderr) == ("", f"No {LISTS[command]} is {command}.\n")
    assert len(json.loads(as_json.stdout)) == 2
    assert len(as_csv.stdout.splitlines()) == 1

    request.getfixturevalue("listed")

    assert [invoke(command, *form, environment=settings).exit_code for form in forms] == [1, 1, 1]


@pytest.mark.parametrize("command", LISTS)
def test_a_list_is_of_the_newest_and_says_that_there_are_more(
    database: Database, settings: dict[str, str], command: str
) -> None:
    for number in range(3):
        submit(database, ALICE, reference=f"{number}", overdue_in=-HOUR)
        change(database, "UPDATE messages SET send_status = 'accepted'")
        deliver(database, make_event(message_id=f"{number}"), Unreadable(payload=f"{number}", reason="?"))
    column = {"overdue": "reference", "unlinked": "messageId", "unreadable": "payload"}[command]

    some, all_of_them = (invoke(command, "--csv", "--limit", each, environment=settings) for each in "23")

    assert [row[column] for row in lines(some.stdout)] == ["2", "1"]
    assert [row[column] for row in lines(all_of_them.stdout)] == ["2", "1", "0"]
    assert "--limit" in some.stderr
    assert all_of_them.stderr == ""


def test_replay_records_what_is_readable_now_and_lists_what_is_not(
    database: Database, settings: dict[str, str]
) -> None:
    tag, _ = store_message(database, ALICE)
    known = Unreadable(payload=json.dumps(make_element("delivered", ALICE)), reason="An older parser.")
    deliver(database, known, known, Unreadable(payload="42", reason="An older parser."))

    replayed = invoke("unreadable", "--replay", "--json", environment=settings)

    assert replayed.exit_code == 1
    assert [row["payload"] for row in objects(replayed.stdout, "unreadable")] == ["42"]
    assert replayed.stderr == "Replayed: 2; recorded: 1, unlinked: 0, duplicates: 1.\n"
    assert "delivered" in invoke("show", tag, environment=settings).stdout

    change(database, "DELETE FROM unreadable_callbacks")
    assert invoke("unreadable", "--replay", environment=settings).exit_code == 0


# refused, unknown, replies, opt-outs, failures, conversation ------------------------------------------------------


def receive(database: Database, sender: str, words: str, message_id: str) -> None:
    """A reply, as Bandwidth posts it."""
    message = {"id": message_id, "from": sender, "to": [SENDER], "text": words}
    element = {"type": "message-received", "time": "2026-11-21T12:00:00Z", "to": SENDER, "message": message}
    deliver(database, *parse(json.dumps([element]).encode()))


@pytest.mark.parametrize(
    ("command", "answer", "why"),
    [
        ("refused", Refused(because=RefusedBecause.UNREACHABLE), "Not sent: "),
        ("unknown", Unknown(), "Nobody knows"),
    ],
)
def test_refused_and_unknown_list_messages_and_exit_1_if_there_are_any(
    database: Database, settings: dict[str, str], command: str, answer: SendResult, why: str
) -> None:
    store_message(database, ALICE)
    none = invoke(command, environment=settings)
    tags = [store_message(database, ALICE, BOB, reference=f"lunch-{n}", answer=answer, asked_by="app")[0] for n in "12"]

    shown, as_json, as_csv = (invoke(command, *form, environment=settings) for form in ([], ["--json"], ["--csv"]))

    assert (none.exit_code, none.stderr) == (0, f"No message {'was' if command == 'refused' else 'is'} {command}.\n")
    assert [each.exit_code for each in (shown, as_json, as_csv)] == [1, 1, 1]
    rows = objects(as_json.stdout, "messages")
    assert sorted(row["tag"] for row in rows) == sorted(tags)
    assert {(row["sendStatus"], row["askedBy"], row["total"]) for row in rows} == {(command, "app", 2)}
    assert {row["tag"] for row in lines(as_csv.stdout)} == set(tags)
    assert all(tag in shown.stdout for tag in tags)


def test_replies_and_opt_outs_list_what_people_wrote_and_exit_0(database: Database, settings: dict[str, str]) -> None:
    nobody = [invoke(each, environment=settings) for each in ("replies", "opt-outs")]
    receive(database, ALICE, "STOP", "1")
    receive(database, BOB, "Yes!", "2")

    replies, opt_outs = (invoke(each, "--json", environment=settings) for each in ("replies", "opt-outs"))

    assert [(each.exit_code, each.stderr) for each in nobody] == [
        (0, "There are no replies.\n"),
        (0, "Nobody has opted out.\n"),
    ]
    assert (replies.exit_code, opt_outs.exit_code) == (0, 0)
    found = {row["from"]: (row["to"], row["text"], row["optOut"]) for row in objects(replies.stdout, "replies")}
    assert found == {ALICE: (SENDER, "STOP", True), BOB: (SENDER, "Yes!", False)}
    assert objects(opt_outs.stdout, "optOuts") == [
        {"from": ALICE, "to": SENDER, "keyword": "STOP", "optedOutAt": "2026-11-21T12:00:00.000000Z"}
    ]
    for command in ("replies", "opt-outs"):
        assert ALICE in invoke(command, environment=settings).stdout
        assert lines(invoke(command, "--csv", environment=settings).stdout)


def test_failures_are_counted_by_day_and_code(database: Database, settings: dict[str, str]) -> None:
    none = invoke("failures", environment=settings)
    store_message(database, ALICE, BOB)
    deliver(database, *(make_event("failed", each, error_code=4720, occurred_at=NOON) for each in (ALICE, BOB)))

    shown, as_json, as_csv = (invoke("failures", *form, environment=settings) for form in ([], ["--json"], ["--csv"]))

    assert (none.exit_code, none.stderr) == (0, "No recipient has failed.\n")
    assert [each.exit_code for each in (shown, as_json, as_csv)] == [1, 1, 1]
    [row] = objects(as_json.stdout, "failures")
    assert (row["day"], row["errorCode"], row["recipients"], row["removeNumber"]) == ("2026-11-21", 4720, 2, True)
    assert lines(as_csv.stdout)[0]["day"] == "2026-11-21"
    assert ["2026-11-21", "4720", "2"] in [line.split()[:3] for line in shown.stdout.splitlines()]


def test_a_conversation_is_printed_in_order_however_the_number_is_written(
    database: Database, settings: dict[str, str]
) -> None:
    tag, _ = submit(database, ALICE, BOB, created_at=NOON - HOUR, text="Lunch?")
    submit(database, ALICE, created_at=NOON + HOUR, text="From elsewhere", sender="123456")
    receive(database, ALICE, "Yes!", "1")
    receive(database, BOB, "No.", "2")
    command = ["conversation", "tel:+1 (919) 555-0101,"]

    shown, as_json, as_csv = (invoke(*command, *form, environment=settings) for form in ([], ["--json"], ["--csv"]))
    of_two = invoke(*command, "--ours", SENDER, "--json", environment=settings)
    last = invoke(*command, "--limit", "1", "--json", environment=settings)

    said = [("out", "Lunch?"), ("in", "Yes!"), ("out", "From elsewhere")]
    rows = objects(as_json.stdout, "conversation")
    assert [(row["direction"], row["text"]) for row in rows] == said
    assert [(row["direction"], row["text"]) for row in lines(as_csv.stdout)] == said
    assert (rows[0]["tag"], rows[0]["status"], rows[0]["ourNumber"], rows[0]["theirNumber"]) == (
        *(tag, "pending", SENDER),
        ALICE,
    )
    assert [row["text"] for row in objects(of_two.stdout, "conversation")] == ["Lunch?", "Yes!"]
    assert [row["text"] for row in json.loads(last.stdout)["conversation"]] == ["From elsewhere"]
    assert "--limit" in last.stderr
    assert "Yes!" in shown.stdout
    assert (shown.exit_code, as_csv.exit_code) == (0, 0)


def test_a_conversation_with_nobody_exits_1_and_what_is_no_number_2(settings: dict[str, str]) -> None:
    nobody, no_number = (invoke("conversation", each, environment=settings) for each in (ALICE, "Alice"))

    assert (nobody.exit_code, nobody.stderr) == (1, f"There are no messages to or from {ALICE}.\n")
    assert (no_number.exit_code, "is not a telephone number" in no_number.output) == (2, True)


# show ----------------------------------------------------------------------------------------------------------


def test_show_and_find_print_the_json_of_the_api(database_url: str, settings: dict[str, str]) -> None:
    with Service(database_url) as service:
        tag, _ = store_message(service.database, ALICE, BOB, reference=FORMULA)
        service.callback(
            make_element("failed", ALICE, errorCode=4720), make_element("delivered", ALICE) | {"x": [1.50]}
        )
        message = service.call("GET", f"/messages/{tag}").get_json()
        events = service.call("GET", f"/messages/{tag}/events").get_json()

    shown = invoke("show", tag, "--json", environment=settings)

    assert shown.exit_code == 0
    assert json.loads(shown.stdout) == message | events | {"resolutions": []}
    assert objects(invoke("find", tag, "--json", environment=settings).stdout, "messages") == [
        {"foundBy": ["tag"]} | message
    ]


def test_show_as_csv_is_a_line_for_each_recipient(database: Database, settings: dict[str, str]) -> None:
    tag, _ = store_message(database, BOB, ALICE)
    deliver(database, make_event("failed", ALICE, error_code=4720))

    rows = lines(invoke("show", tag, "--csv", environment=settings).stdout)

    assert [(row["tag"], row["to"], row["status"], row["errorCode"], row["invalidRecipient"]) for row in rows] == [
        (tag, BOB, "pending", "", "false"),
        (tag, ALICE, "failed", "4720", "true"),
    ]


# what all have in common -----------------------------------------------------------------------------------------


def test_a_cell_of_csv_is_never_a_formula_and_a_telephone_number_stays_one(
    database: Database, settings: dict[str, str]
) -> None:
    for reference in (
        FORMULA,
        "+1+1",
        "@SUM(1)",
        "-1",
        " =1",
        "+19195550101",
        "1-1",
        "\uff1d1",
        "two\nlines",
        "a; =1;@b;c",
    ):
        store_message(database, ALICE, reference=reference, answer=None)

    printed = invoke("find", ALICE, "--csv", environment=settings).stdout

    assert [row["reference"] for row in reversed(lines(printed))] == [
        "'" + FORMULA.replace("\x1b", "\ufffd"),
        "'+1+1",
        "'@SUM(1)",
        "'-1",
        "' =1",
        "+19195550101",
        "1-1",
        "'\uff1d1",
        "two lines",
        "a;' =1;'@b;c",
    ]
    assert {row["to"] for row in lines(printed)} == {ALICE}
    assert len(printed.splitlines()) == 11


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_what_others_wrote_commands_nothing_whatever_the_form(sqlite: Database, sqlite_url: str, form: str) -> None:
    evil = "\x1b[2J\x9b31m\u202e\rx\ny"
    submit(sqlite, ALICE, reference=evil, overdue_in=-HOUR)
    change(sqlite, "UPDATE messages SET send_status = 'accepted'")
    deliver(sqlite, make_event(evil, message_id=evil, tag=evil, description=evil), Unreadable(payload="1", reason=evil))

    for command in (["find", evil], *([each] for each in LISTS)):
        shown = invoke(*command, *filter(None, [form]), environment=environment(sqlite_url))
        assert shown.stdout
        assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(shown.output)
    assert "x\ny" not in invoke("find", evil, environment=environment(sqlite_url)).output


def test_a_status_has_its_colour_on_a_terminal_and_tags_and_numbers_are_whole(
    sqlite: Database, sqlite_url: str, tmp_path: Path
) -> None:
    tag, _ = store_message(sqlite, ALICE, BOB, reference="a reference that is rather long for 80 columns")
    deliver(sqlite, make_event("failed", ALICE, error_code=4720), make_event("delivered", BOB))
    change(sqlite, "UPDATE messages SET overdue_at = '2026-01-01 00:00:00.000000'")
    settings = environment(sqlite_url)

    shown = [on_terminal(*each, environment=settings, folder=tmp_path) for each in (["find", tag], ["show", tag])]

    for each in shown:
        assert "\x1b[31mfailed" in each
        assert "\x1b[32mdelivered" in each
        assert {tag, ALICE, BOB} <= set(without_colours(each).split())
        assert max(map(len, without_colours(each).splitlines())) <= 80
    assert "\x1b" not in invoke("find", tag, environment=settings).stdout


def test_a_row_in_a_pipe_is_one_line_however_long(database: Database, settings: dict[str, str]) -> None:
    tag, _ = store_message(database, ALICE, reference="x" * 255)

    shown = invoke("find", tag, environment=settings).stdout

    assert [line.split()[2:4] for line in shown.splitlines() if "x" * 255 in line] == [[tag, "x" * 255]]


@pytest.mark.parametrize("command", ["show x", "find x", *LISTS])
def test_two_forms_at_once_are_a_wrong_command_line(command: str) -> None:
    result = invoke(*command.split(), "--json", "--csv", environment={})

    assert (result.exit_code, result.stdout) == (2, "")
    assert "--json and --csv" in result.stderr


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_nobody_who_reads_is_no_error(sqlite: Database, sqlite_url: str, tmp_path: Path, form: str) -> None:
    """`receiver unreadable | head -1`: the output exceeds the buffer of the pipe, and only a few bytes are read."""
    deliver(sqlite, *(Unreadable(payload=json.dumps(f"{number}" + "x" * 200), reason="?") for number in range(2000)))
    arguments = ["unreadable", "--limit", "2000", *filter(None, [form])]

    reading, writing = os.pipe()
    with (tmp_path / "errors").open("wb") as errors:
        streams = (errors.fileno(), writing, errors.fileno())
        child = start(*arguments, environment=environment(sqlite_url), folder=tmp_path, streams=streams)
    os.close(writing)
    assert os.read(reading, 10)
    os.close(reading)

    assert child.wait(PATIENCE) == 1
    assert (tmp_path / "errors").read_bytes() == b""


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_a_list_that_cannot_be_written_is_no_answer(
    sqlite: Database, sqlite_url: str, tmp_path: Path, form: str
) -> None:
    deliver(sqlite, Unreadable(payload="1", reason="?"))

    with Path("/dev/full").open("wb") as full, (tmp_path / "errors").open("wb") as errors:
        arguments, streams = ["unreadable", *filter(None, [form])], (full.fileno(), full.fileno(), errors.fileno())
        child = start(*arguments, environment=environment(sqlite_url), folder=tmp_path, streams=streams)

    assert child.wait(PATIENCE) == 3
    assert (tmp_path / "errors").read_text() == "Input or output failed: No space left on device.\n"


@pytest.mark.parametrize(
    ("closed", "form"), [("<&-", ""), (">&-", "--json"), (">&-", ""), ("2>&-", "--csv"), ("<&- >&- 2>&-", "")]
)
def test_a_stream_that_is_closed_is_no_error_and_the_database_is_not_taken_for_it(
    sqlite: Database, sqlite_url: str, tmp_path: Path, closed: str, form: str
) -> None:
    deliver(sqlite, Unreadable(payload="1", reason="?"), now=times.now() - timedelta(days=91))

    assert shell(f"unreadable {form} {closed}", sqlite_url, tmp_path).returncode == 1
    asked = shell(f"purge --older-than 90d {closed}", sqlite_url, tmp_path)

    assert (asked.returncode, len(unreadables(sqlite))) == (2, 1)
    assert b"Traceback" not in asked.stderr


@pytest.mark.parametrize("form", ["", "--csv"])
def test_what_the_character_set_lacks_is_printed_as_its_escape(
    sqlite: Database, sqlite_url: str, tmp_path: Path, form: str
) -> None:
    deliver(sqlite, make_event(message_id="\N{SNOWMAN}"))

    ended = shell(f"unlinked {form}", sqlite_url, tmp_path, PYTHONIOENCODING="latin-1")

    assert (ended.returncode, ended.stderr) == (1, b"")
    assert rb"\u2603" in ended.stdout


def shell(line: str, url: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Runs `receiver` with these arguments and redirections in a shell."""
    return subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.quote(sys.executable)} -m receiver.cli {line}"],
        env=environment(url) | variables,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("limit", ["0", "9223372036854775807", "9" * 30])
@pytest.mark.parametrize("command", ["find lunch", "overdue", "unlinked", "unreadable"])
def test_a_limit_that_no_database_takes_is_a_wrong_command_line(
    settings: dict[str, str], command: str, limit: str
) -> None:
    assert invoke(*command.split(), "--limit", limit, environment=settings).exit_code == 2


def test_a_replay_that_is_interrupted_says_so_and_nothing_else(
    postgres: Database, postgres_url: str, tmp_path: Path
) -> None:
    deliver(postgres, Unreadable(payload="1", reason="?"))
    with (
        onlooker(postgres_url) as watching,
        locked(postgres_url, "SELECT 1 FROM unreadable_callbacks FOR UPDATE"),
        Child("unreadable", "--replay", environment=environment(postgres_url), folder=tmp_path) as child,
    ):
        watching.wait_for(1)

        assert (child.end(signal.SIGINT), child.output) == (130, "")
