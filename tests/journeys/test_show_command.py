"""`receiver show` and `receiver recompute`: what is stored, and whether it agrees with its events."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy import text

from receiver.database.database import Database
from receiver.events.committer import Committer
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, make_body, make_element, store_message
from tests.support.locks import locked, onlooker
from tests.support.processes import Child, environment, invoke
from tests.support.stored import store_in_old_order
from tests.support.terminal import on_terminal, without_colours

LONGEST = "+123456789012345"
"""A number of 15 digits, the longest that E.164 allows."""


def _told(database_url: str) -> str:
    """Stores a message with many events, and returns its tag."""
    with Database(database_url) as database:
        tag, _ = store_message(database, ALICE, BOB, CAROL, LONGEST, reference="lunch-1")
        thrice = [make_element("delivered", BOB)] * 3
        invalid = [make_element("failed", CAROL, errorCode=4720), make_element("delivered", CAROL)]
        with Committer(database) as committer:
            committer.receive(make_body(make_element("failed", ALICE, errorCode=9902), *thrice, *invalid))
            committer.receive(make_body(make_element("delivered", LONGEST), make_element("delivered", "+19195550199")))
    return tag


def test_show_tells_the_outcomes_and_the_timeline_with_full_numbers(database_url: str) -> None:
    tag = _told(database_url)

    result = invoke("show", tag, environment=environment(database_url))

    assert result.exit_code == 0
    _check_shown(result.stdout, tag)


def test_show_has_the_text_the_media_and_who_asked(database_url: str) -> None:
    media = ("https://a.example/1", "https://a.example/2")
    with Database(database_url) as database:
        tag, _ = store_message(database, ALICE, text="Lunch\nat [b]noon[/b]", media=media, asked_by="the shop")
        by_command, _ = store_message(database, BOB, text=None, media=media[:1], answer=None)

    shown, bare = (invoke("show", each, environment=environment(database_url)).stdout for each in (tag, by_command))

    assert ["text", "Lunch at [b]noon[/b]"] in [line.strip().split("  ") for line in shown.splitlines()]
    assert f"media  {' '.join(media)}" in shown
    assert "requested by  the shop" in shown
    assert "  text  " not in bare
    assert "requested by" not in bare


def test_show_keeps_numbers_whole_on_a_narrow_terminal(sqlite_url: str, tmp_path: Path) -> None:
    tag = _told(sqlite_url)

    shown = without_colours(on_terminal("show", tag, environment=environment(sqlite_url), folder=tmp_path))

    assert max(len(line) for line in shown.splitlines()) <= 80
    recipients, timeline = (part.split() for part in shown.split("Timeline"))
    assert {tag, MESSAGE_ID, ALICE, BOB, CAROL, LONGEST, "9902", "4720"} <= set(recipients)
    assert {"×3", ALICE, BOB, CAROL, LONGEST, "+19195550199", "9902", "4720"} <= set(timeline)  # noqa: RUF001


@pytest.mark.parametrize("columns", [30, 40, 60])
def test_a_terminal_that_is_narrower_still_shows_all_of_it(sqlite_url: str, tmp_path: Path, columns: int) -> None:
    tag, settings = _told(sqlite_url), environment(sqlite_url)

    for command, whole in ((["show", tag], {"unconfirmed", "9902", "4720"}), (["find", LONGEST], {"delivered"})):
        shown = without_colours(on_terminal(*command, environment=settings, folder=tmp_path, columns=columns))

        assert {tag, LONGEST} | whole <= set(shown.split())
        assert len(shown.splitlines()) < 80, "words have become columns of letters"


def test_find_shows_a_code_whole_beside_the_longest_number(sqlite_url: str, tmp_path: Path) -> None:
    tag, settings = _told(sqlite_url), environment(sqlite_url)
    with Database(sqlite_url) as database, Committer(database) as committer:
        committer.receive(make_body(make_element("failed", LONGEST, errorCode=4770, tag=tag)))

    shown = without_colours(on_terminal("find", LONGEST, environment=settings, folder=tmp_path))

    assert {"failed", "4770"} <= set(shown.split())


def test_what_others_wrote_is_shown_as_it_is_and_commands_nothing(sqlite_url: str) -> None:
    """Text in brackets is no markup to rich, and escape sequences do not reach the terminal."""
    with Database(sqlite_url) as database:
        tag, _ = store_message(database, ALICE, reference="[b]lunch[/b]\x1b[2J")
        odd = make_element("[/red]", "[/x]\x1b[31m", description="?")
        with Committer(database) as committer:
            committer.receive(make_body(make_element("sent", ALICE, description="[/gone]\u202e"), odd))

    shown = invoke("show", tag, environment=environment(sqlite_url)).stdout

    assert not {"\x1b", "\u202e"} & set(shown)
    assert all(each in shown for each in ("[b]lunch[/b]\ufffd[2J", "message-[/red]", "[/x]\ufffd[31m", "[/gone]\ufffd"))


def _check_shown(shown: str, tag: str) -> None:
    lines = [line.split() for line in shown.splitlines()]
    assert ["tag", tag] in lines
    assert ["reference", "lunch-1"] in lines
    assert ["message", "id", MESSAGE_ID] in lines
    for number, status in ((ALICE, "unconfirmed"), (BOB, "delivered"), (CAROL, "failed"), (LONGEST, "delivered")):
        assert any(line[:2] == [number, status] for line in lines)
    events = [[word for word in line if word.startswith(("message-", "+", "×"))] + line[-1:] for line in lines]  # noqa: RUF001
    assert ["message-delivered", "×3", BOB, "applied"] in events  # noqa: RUF001
    assert ["message-delivered", CAROL, "extraneous"] in events
    assert ["message-delivered", "+19195550199", "unexpected_recipient"] in events
    assert any(line[-3:] == [CAROL, "4720", "applied"] for line in lines)


def test_show_says_that_a_message_was_sent_twice(database_url: str) -> None:
    tag = _told(database_url)
    with Database(database_url) as database, Committer(database) as committer:
        committer.receive(make_body(make_element("delivered", ALICE, message_id="another", tag=tag)))

    result = invoke("show", tag, environment=environment(database_url))

    assert result.exit_code == 0, result.output
    assert ["message", "id", MESSAGE_ID, "another", "(sent", "twice)"] in [
        line.split() for line in result.stdout.splitlines()
    ]


@pytest.mark.parametrize("tag", ["01M803PMPZHK79K198H9DPFJ7A", "nonsense", "' OR 1=1", "\udcff"])
def test_show_of_an_unknown_tag_exits_1_with_a_sentence(database_url: str, tag: str) -> None:
    result = invoke("show", tag, environment=environment(database_url))

    assert (result.exit_code, result.output) == (1, "There is no message with this tag.\n")


def test_recompute_checks_and_repairs(database_url: str) -> None:
    settings, tag = environment(database_url), _told(database_url)
    assert invoke("recompute", "--check", environment=settings).exit_code == 0
    with Database(database_url) as database:
        database.write(lambda session: session.execute(text("UPDATE recipients SET status = 'sent', standing = ''")))

    found = invoke("recompute", "--check", environment=settings)
    assert (found.exit_code, found.stdout.count(tag)) == (1, 4)
    assert "1 message, 4 differences" in found.stdout
    assert "sent -> unconfirmed" in found.stdout

    repaired = invoke("recompute", environment=settings)
    assert (repaired.exit_code, repaired.stderr) == (0, "")
    assert "4 differences repaired" in repaired.stdout

    assert invoke("recompute", "--check", environment=settings).exit_code == 0
    assert "unconfirmed" in invoke("show", tag, environment=settings).stdout


def test_recompute_tells_of_what_an_earlier_release_ordered_otherwise(database_url: str) -> None:
    settings, tag = environment(database_url), _told(database_url)
    with Database(database_url) as database:
        store_in_old_order(database)

    found = invoke("recompute", "--check", environment=settings)
    assert (found.exit_code, tag in found.stdout) == (1, False)
    assert "0 differences" in found.stdout
    assert "4 recipients in the event order of an earlier release: run `receiver recompute`" in found.stdout

    repaired = invoke("recompute", environment=settings)
    assert (repaired.exit_code, repaired.stderr) == (0, "")
    assert "4 recipients in the event order of an earlier release: updated" in repaired.stdout

    assert invoke("recompute", "--check", environment=settings).exit_code == 0


def test_recompute_resumes_after_a_tag(database_url: str) -> None:
    settings, tag = environment(database_url), _told(database_url)

    assert "0 messages" in invoke("recompute", "--after", tag, environment=settings).stdout
    assert "1 message," in invoke("recompute", "--after", "0" * 26, environment=settings).stdout


def test_a_recompute_that_is_interrupted_says_where_to_resume(postgres_url: str, tmp_path: Path) -> None:
    _told(postgres_url)
    with (
        onlooker(postgres_url) as watching,
        locked(postgres_url, "SELECT 1 FROM messages FOR UPDATE"),
        Child("recompute", "--after", "0" * 26, environment=environment(postgres_url), folder=tmp_path) as child,
    ):
        watching.wait_for(1)

        assert (child.end(signal.SIGINT), child.output) == (130, f"To resume: --after {'0' * 26}\n")
