"""The view of opt-outs: for each pair of numbers the latest keyword counts, in the order of occurrence."""

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import text

from receiver.bandwidth.callbacks import parse
from receiver.core import times
from receiver.core.keywords import OPT_INS, OPT_OUTS
from receiver.database.database import Database
from tests.support.builders import ALICE, BOB, NOON, SENDER
from tests.support.old_rows import purge
from tests.support.plans import plans
from tests.support.stored import columns, deliver, view

OTHER_OF_OURS = "+19195550199"
MINUTE = timedelta(minutes=1)


def say(
    database: Database,
    words: str,
    minute: int | None = 0,
    *,
    sender: str = ALICE,
    to: str = SENDER,
    received: datetime | None = None,
) -> None:
    """A text written so many minutes after noon; None: the time is unknown."""
    message = {"id": f"{sender} {to} {words} {minute} {received}", "from": sender, "to": [to], "text": words}
    at = None if minute is None else times.rfc3339(NOON + minute * MINUTE)
    element = {"type": "message-received", "to": to, "time": at, "message": message}
    deliver(database, *parse(json.dumps([element]).encode()), now=received)


def opted_out(database: Database) -> list[tuple[Any, ...]]:
    return [
        columns(row, "recipient", "sender", "keyword", "opted_out_at")
        for row in view(database, "support_opt_outs", order="recipient, sender")
    ]


def marks(database: Database) -> list[tuple[Any, ...]]:
    """In the order of occurrence."""
    rows = view(database, "support_inbound", order="coalesce(occurred_at, first_received_at)")
    return [columns(row, "text", "opt_out", "opt_in") for row in rows]


def test_a_stop_opts_out_and_a_start_ends_it(database: Database) -> None:
    say(database, "\u201cStop\u201d \U0001f6d1", 1)
    assert opted_out(database) == [(SENDER, ALICE, "STOP", NOON + MINUTE)]

    say(database, "Start.", 2)
    assert opted_out(database) == []

    say(database, "opt\u2011out", 3)
    assert opted_out(database) == [(SENDER, ALICE, "OPTOUT", NOON + 3 * MINUTE)]


def test_talk_afterwards_changes_nothing(database: Database) -> None:
    say(database, "STOP", 1)
    say(database, "Stop. Thank you", 2)
    say(database, "start at noon", 3)

    assert opted_out(database) == [(SENDER, ALICE, "STOP", NOON + MINUTE)]


def test_who_says_it_twice_is_opted_out_since_the_first_time(database: Database) -> None:
    for minute, words in enumerate(("stop", "start", "end", "quit")):
        say(database, words, minute)

    assert opted_out(database) == [(SENDER, ALICE, "QUIT", NOON + 2 * MINUTE)]


def test_each_pair_of_numbers_is_for_itself(database: Database) -> None:
    say(database, "STOP", 1)
    say(database, "START", 2, to=OTHER_OF_OURS)
    say(database, "START", 2, sender=BOB)
    say(database, "STOP", 3, sender=BOB, to=OTHER_OF_OURS)

    assert opted_out(database) == [
        (SENDER, ALICE, "STOP", NOON + MINUTE),
        (OTHER_OF_OURS, BOB, "STOP", NOON + 3 * MINUTE),
    ]


def test_yes_opts_in_only_after_an_opt_out(database: Database) -> None:
    for minute, words in enumerate(("Yes", "STOP", "Hello", "yes!", "YES", "start", "yes", "UNSTOP")):
        say(database, words, minute)

    assert marks(database) == [
        ("Yes", False, False),
        ("STOP", True, False),
        ("Hello", False, False),
        ("yes!", False, True),
        ("YES", False, False),
        ("start", False, True),
        ("yes", False, False),
        ("UNSTOP", False, True),
    ]
    assert opted_out(database) == []


def test_a_yes_to_another_number_is_no_opt_in(database: Database) -> None:
    say(database, "STOP", 1)
    say(database, "Yes", 2, to=OTHER_OF_OURS)
    say(database, "Yes", 2, sender=BOB)

    assert marks(database)[1:] == [("Yes", False, False)] * 2
    assert len(opted_out(database)) == 1


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_arrival_does_not_matter(database: Database, order: Sequence[int]) -> None:
    said = ("STOP", "YES", "STOP ALL")
    for minute in order:
        say(database, said[minute], minute)

    assert opted_out(database) == [(SENDER, ALICE, "STOPALL", NOON + 2 * MINUTE)]
    assert marks(database) == [("STOP", True, False), ("YES", False, True), ("STOP ALL", True, False)]


def test_without_a_time_it_was_said_when_it_first_came(database: Database) -> None:
    say(database, "STOP", None, received=NOON + MINUTE)
    say(database, "START", 0)
    assert opted_out(database) == [(SENDER, ALICE, "STOP", NOON + MINUTE)]

    say(database, "START", 2)
    assert opted_out(database) == []


def test_of_one_instant_the_later_stored_is_the_later_said(database: Database) -> None:
    say(database, "STOP")
    say(database, "YES")
    assert opted_out(database) == []
    assert marks(database)[1:] == [("YES", False, True)]

    say(database, "END")
    assert opted_out(database) == [(SENDER, ALICE, "END", NOON)]


def state_of(said: Sequence[str]) -> str | None:
    """The latest opt-out that no opt-in ended, computed one keyword after another."""
    word = None
    for each in said:
        if each in OPT_OUTS:
            word = each
        elif each in OPT_INS or each == "YES":
            word = None
    return word


def test_the_view_says_what_reading_word_by_word_says(database: Database) -> None:
    chance = random.Random(4)
    words = ["STOP", "START", "YES", "END", "UNSTOP", "Hello"]
    expected = {}
    for number in range(40):
        sender, said = f"+1919556{number:04}", [chance.choice(words) for _ in range(chance.randrange(1, 6))]
        arriving = list(enumerate(said))
        chance.shuffle(arriving)
        for minute, each in arriving:
            say(database, each, minute, sender=sender)
        if word := state_of(said):
            expected[sender] = word

    assert {row[1]: row[2] for row in opted_out(database)} == expected


def test_what_was_redacted_is_about_nobody(database: Database) -> None:
    say(database, "STOP", -100_000, received=NOON)
    purge(database, redact=True, older_than=timedelta(0))

    assert (opted_out(database), marks(database)) == ([], [(None, None, None)])


def test_the_opt_outs_of_a_pair_and_of_all_are_found_by_the_index_of_keywords(database: Database) -> None:
    for number in range(300):
        say(database, "Hello", number, sender=f"+1919556{number:04}")
    say(database, "STOP")
    pair = f"WHERE recipient = '{SENDER}' AND sender = '{ALICE}'"
    inbound = f"SELECT * FROM support_inbound WHERE sender = '{ALICE}' ORDER BY first_received_at DESC LIMIT 5"

    for query, index in (
        (f"SELECT * FROM support_opt_outs {pair}", "events_keyword_index"),
        ("SELECT * FROM support_opt_outs", "events_keyword_index"),
        (inbound, "events_sender_first_received_at_index"),
    ):
        [plan] = plans(database, lambda session, query=query: session.execute(text(query)).all())
        assert index in plan, plan
