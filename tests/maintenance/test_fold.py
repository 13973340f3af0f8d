"""The outcome that grows in the database, event by event, is the fold of all events in memory; and reads alike in
the API, in the support views and in `receiver recompute`."""

from itertools import count

import pytest
from hypothesis import given, settings

from receiver.core.messages import Accepted
from receiver.core.status import RECEIPT_TYPES, confirmed_by, standing
from receiver.database.database import Database
from receiver.maintenance import recompute
from receiver.reports import messages as reporting
from tests.support.agreement import assert_views_agree
from tests.support.histories import Expected, History, expect, histories, unlinked
from tests.support.stored import answer, deliver, events, identity, messages, recipients, submit, view

EXAMPLES = {"sqlite": 30, "postgresql": 15}


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_any_history_ends_as_its_fold_and_reads_alike_everywhere(database: Database, times: int) -> None:
    numbers = count()

    @settings(max_examples=times * EXAMPLES[database.engine.dialect.name])
    @given(histories())
    def check(history: History) -> None:
        assert_stored_as_told(database, history, prefix=f"{next(numbers)}-")

    check()


def assert_stored_as_told(database: Database, history: History, *, prefix: str) -> None:
    spans = {"deadline_in": history.deadline_in, "overdue_in": history.overdue_in}
    (first, first_pk), (second, second_pk) = (submit(database, *to, **spans) for to in history.to)
    told = history.told((first, second), prefix)

    for each in told.heard:
        if each.answer is None:
            deliver(database, *each.events)
        else:
            answer(database, (first_pk, second_pk)[each.answered], each.answer)

    expected, deliveries = expect(told, (first, second))
    stored = {identity(row): row for row in events(database, under=prefix)}
    assert {key: row.deliveries for key, row in stored.items()} == deliveries
    assert {key: row.occurred_at for key, row in stored.items()} == {
        key: event.occurred_at for key, event in expected[0].stored.items()
    }
    assert {key for key, row in stored.items() if row.message_pk is None} == unlinked(expected)
    for message, pk in zip(expected, (first_pk, second_pk), strict=True):
        assert_recipients(database, message, pk)
        assert_report(database, message)
        assert_views_agree(database, message.tag)
    found = recompute.recompute(database, check=True, after_tag=min(first, second)[:-1])
    assert [difference for batch in found for difference in batch.differences] == []


def assert_recipients(database: Database, expected: Expected, message_pk: int) -> None:
    """The stored columns are those of the winning statement."""
    stored = recipients(database, message_pk)
    assert list(stored) == list(expected.to)
    for number, row in stored.items():
        outcome = expected.outcome(number)
        winner = outcome.winner
        assert row.status == expected.status(number)
        assert row.invalid_recipient is outcome.invalid_recipient
        assert row.standing == (standing(winner) if winner else b"")
        assert (row.error_code, row.description, row.occurred_at) == (
            (winner.error_code or None, winner.description, winner.occurred_at) if winner else (None, None, None)
        )


def assert_report(database: Database, expected: Expected) -> None:
    """The API agrees with the core."""
    report = reporting.message(database, expected.tag)
    receipts = any(expected.stored[key].type in RECEIPT_TYPES for key in expected.linked)
    for recipient in report.recipients:
        assert recipient.confirmed_by == confirmed_by(recipient.status, receipts=receipts)
    [row] = [row for tag, row in messages(database).items() if tag == expected.tag]
    assert row.send_status == expected.send_status
    assert set(report.message_ids) == expected.ids
    answered = expected.answer.message_id if isinstance(expected.answer, Accepted) else None
    assert report.message_id == (answered or min(expected.ids, key=str.encode, default=None))
    dispositions = view(database, "support_events", tag=expected.tag)
    assert {
        (row["message_id"], row["recipient"], row["type"], row["error_code"] or 0): row["disposition"]
        for row in dispositions
    } == {key: expected.disposition(key) for key in expected.linked}
