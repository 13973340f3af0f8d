"""A query of a view by tag, reference, id, number or day uses an index."""

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from receiver.database.database import Database, Session
from receiver.reports import lists
from receiver.reports.messages import messages_by_last_digits
from tests.support import pages
from tests.support.builders import ALICE, BOB, CAROL, make_event, make_message
from tests.support.databases import ENGINES, fresh_database
from tests.support.plans import plans
from tests.support.queue_steps import enqueue_all
from tests.support.stored import change, deliver

BY_KEY = ("tag = 'x'", "reference = 'x'", "message_id = 'x'")
A_DAY = "{0} >= '2026-01-01' AND {0} < '2026-01-02'"

ASKED = {
    "support_messages": (*BY_KEY, A_DAY.format("created_at")),
    "support_recipients": (*BY_KEY, f"recipient = '{ALICE}'", A_DAY.format("created_at")),
    "support_overdue": (*BY_KEY, A_DAY.format("created_at")),
    "support_conversations": (
        f"their_number = '{ALICE}'",
        f"their_number = '{ALICE}' AND our_number = '{BOB}' ORDER BY said_at",
        "tag = 'x'",
        "reference = 'x'",
        A_DAY.format("stored_at"),
    ),
    **{
        f"support_{name}": (*BY_KEY, "recipient = 'x'", A_DAY.format("first_received_at"))
        for name in ("events", "extraneous", "conflicting")
    },
    **{f"support_{name}": ("recipient = 'x'", A_DAY.format("first_received_at")) for name in ("unlinked", "inbound")},
}

WHOLE = r"Seq Scan on (messages|recipients|events|message_ids)|SCAN (m|r|e|shown)\b(?! USING)"
"""How either database's plan shows that it reads a whole table."""


@pytest.fixture(scope="module", params=ENGINES)
def filled(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with tables large enough for an index, which the tests of this module share."""
    with fresh_database(request, migrated=True) as url, Database(url) as database:
        new = (make_message(f"+1919556{number:04}", BOB, reference=f"order-{number}") for number in range(300))
        tags = enqueue_all(database, new)
        deliver(database, *(make_event(recipient=BOB, message_id=f"id of {tag}", tag=tag) for tag in tags))
        deliver(database, *(make_event(message_id=f"id-{number}") for number in range(100)))
        yield database


def test_no_table_is_read_whole(filled: Database) -> None:
    asked = [f"{view} WHERE {condition}" for view, conditions in ASKED.items() for condition in conditions]

    def ask(session: Session) -> None:
        for each in asked:
            session.execute(text(f"SELECT * FROM {each}")).all()

    for each, plan in zip(asked, plans(filled, ask), strict=True):
        assert not re.search(WHOLE, plan), f"{each}: {plan}"


def test_a_conversation_and_the_end_of_a_number_are_found_without_reading_a_table_whole(filled: Database) -> None:
    [of_pair] = plans(filled, lambda session: lists.conversation(session, [ALICE], [BOB], limit=9))
    [of_all] = plans(filled, lambda session: lists.conversation(session, [ALICE, CAROL], None, limit=9))
    ending = plans(filled, lambda _: messages_by_last_digits(filled, "9999", limit=9))

    for plan in (of_pair, of_all):
        assert not re.search(WHOLE, plan), plan
    assert any("recipients_created_at_index" in plan for plan in ending)


def test_the_state_of_sending_is_read_without_reading_what_was_sent_long_ago(database: Database) -> None:
    enqueue_all(database, (make_message(ALICE) for _ in range(300)))
    change(database, "UPDATE messages SET send_status = 'accepted', updated_at = '2026-01-01 12:00:00+00'")

    [plan] = plans(database, lambda session: session.execute(text("SELECT * FROM support_sending")).all())

    assert not re.search(rf"{WHOLE}|SCAN messages\b(?! USING)", plan), plan
    assert "messages_updated_at_index" in plan


@pytest.mark.parametrize(
    "question",
    [
        "Which numbers should leave our lists, and why?",
        "Which numbers keep failing, and have received nothing since?",
        "Who has opted out according to Bandwidth or the carrier?",
    ],
)
def test_a_question_about_failures_reads_nothing_else(sqlite: Database, question: str) -> None:
    """SQLite would rather read all recipients, because those have an index in the order of their numbers."""
    [plan] = plans(sqlite, lambda session: session.execute(text(pages.SUPPORT.questions()[question].rstrip(";"))).all())

    assert "SCAN r USING INDEX recipients_failed_index" in plan
    assert "SCAN r USING INDEX recipients_recipient" not in plan


def test_this_test_would_see_it(filled: Database) -> None:
    query = text("SELECT * FROM support_messages WHERE text = 'x'")
    [plan] = plans(filled, lambda session: session.execute(query).all())

    assert re.search(WHOLE, plan)
