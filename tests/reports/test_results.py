"""The progress of all messages whose reference begins alike: the counts, and how they are found."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from receiver.core import times
from receiver.core.messages import Refused, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database
from receiver.events.store import record
from receiver.messages.outbox import report_message
from receiver.reports import messages
from receiver.reports.messages import MessageFilter, messages_page
from receiver.reports.results import results, summary, watch
from tests.support.builders import ALICE, BOB, make_event, make_message, make_sender, store_message
from tests.support.plans import plans
from tests.support.queue_steps import enqueue_all

CHARACTERS = "ab-%_\\zZ\x7fé\ud7ff\ue000\uffff\U00010000\U0010ffff"
REFERENCES = st.text(alphabet=CHARACTERS, max_size=4)
LATER = times.now() + timedelta(hours=30)
"""When everything is overdue."""


def found(database: Database, prefix: str) -> int:
    with database.read() as session:
        return sum(summary(session, prefix, now=times.now()).messages.values())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(references=st.lists(REFERENCES.filter(bool), max_size=8), prefix=REFERENCES)
def test_exactly_those_are_found_whose_reference_begins_so(
    database: Database, references: list[str], prefix: str
) -> None:
    database.write(lambda session: session.execute(text("DELETE FROM recipients")))
    database.write(lambda session: session.execute(text("DELETE FROM messages")))
    make_sender(database).queue(make_message(reference=None))
    for reference in references:
        make_sender(database).queue(make_message(reference=reference))

    expected = sorted(each for each in references if each.startswith(prefix))
    assert found(database, prefix) == len(expected)
    assert [each.reference for each in results(database, prefix)] == expected
    page = messages.messages(database, MessageFilter(reference_prefix=prefix), limit=50)
    assert sorted(each.reference or "" for each in page.messages) == expected


def _fill(database: Database) -> None:
    """A message in every state, some with an outcome."""
    store_message(database, ALICE, BOB, reference="lunch-1")
    events = [make_event("delivered", ALICE), make_event("failed", BOB, error_code=4404)]
    database.write(lambda session: record(session, events, now=times.now()))
    store_message(database, ALICE, reference="lunch-2", answer=Unknown(), text="x")
    store_message(database, ALICE, BOB, reference="lunch-3", answer=Refused(because=RefusedBecause.BANDWIDTH))
    store_message(database, ALICE, reference="lunch-4", answer=None)
    make_sender(database).queue(make_message(ALICE, reference="lunch-5"))
    store_message(database, ALICE, reference="dinner-1", answer=None)


@pytest.mark.parametrize("later", [False, True])
def test_the_counts_are_those_of_the_messages_themselves(database: Database, later: bool) -> None:
    _fill(database)
    now = LATER if later else times.now()
    with database.read() as session:
        counted = summary(session, "lunch-", now=now)
        stored = [report_message(each, now=now) for each in messages_page(session, MessageFilter(), limit=100, now=now)]

    reports = [each for each in stored if each.reference != "dinner-1"]
    recipients = [recipient for each in reports for recipient in each.recipients]
    assert counted.messages == Counter(each.send_status for each in reports)
    assert counted.recipients == Counter(each.status for each in recipients)
    assert counted.overdue == sum(each.overdue for each in recipients)
    assert counted.overdue == (2 if later else 0)
    assert (counted.total, counted.open) == (7, 3)


def test_nothing_is_counted_where_nothing_begins_so(database: Database) -> None:
    _fill(database)
    for prefix in ("supper", "lunch-9", "\udcff", "x" * 300):
        (only,) = watch(database, prefix)
        assert (only.messages, only.recipients, only.total, only.overdue) == ({}, {}, 0, 0)


def test_watching_ends_when_all_are_complete(database: Database) -> None:
    store_message(database, ALICE, reference="lunch-1")
    watching = watch(database, "lunch-")
    assert next(watching).open == 1
    database.write(lambda session: record(session, [make_event("delivered", ALICE)], now=times.now()))
    assert [each.open for each in watching] == [0]


def test_watching_ends_after_its_seconds_though_something_is_open(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts a last time when they are over, however long the pause between two counts would be."""
    store_message(database, ALICE, reference="lunch-1")
    clock = [1000.0]
    monkeypatch.setattr("receiver.reports.results.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("receiver.reports.results.time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))

    assert [each.open for each in watch(database, "lunch-", seconds=2.5)] == [1] * 4
    assert clock[0] == 1002.5
    assert [each.open for each in watch(database, "lunch-", seconds=0)] == [1]


@pytest.mark.parametrize("views_only", [False, True], ids=["tables", "views"])
def test_results_are_all_and_each_once_whatever_shares_a_reference(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, views_only: bool
) -> None:
    database.reads_views_only = views_only
    monkeypatch.setattr("receiver.reports.results.PAGE_SIZE", 3)
    sending = make_sender(database)
    tags = [sending.queue(make_message(ALICE, reference=each)).tag for each in "abbbbbbbccd"]
    sending.queue(make_message(ALICE, reference="B"))

    found = list(results(database, ""))
    assert sorted(each.tag for each in found if each.reference != "B") == sorted(tags)
    assert len(found) == 12
    assert [each.reference for each in found] == ["B", *"abbbbbbbccd"]
    assert list(results(database, "\udcff")) == []


def test_pages_by_the_beginning_of_a_reference_are_found_by_its_index(database: Database) -> None:
    enqueue_all(database, (make_message(ALICE, reference=f"order-{number}") for number in range(300)))
    wanted, now = MessageFilter(reference_prefix="order-29"), times.now()

    listed = plans(database, lambda session: messages_page(session, wanted, limit=50, now=now))
    by_reference = plans(
        database, lambda _: messages.messages_by_reference(database, "order-", after=("order-29", "0"), limit=50)
    )

    assert "messages_reference_index" in listed[0]
    assert any("messages_reference_index" in plan for plan in by_reference)


def test_the_references_are_found_by_their_index(database: Database) -> None:
    """On a table large enough for an index."""
    enqueue_all(database, (make_message(ALICE, reference=f"order-{number}") for number in range(300)))

    found = plans(database, lambda session: summary(session, "order-29", now=times.now()))

    assert len(found) == 2
    assert all("messages_reference_index" in plan for plan in found)
