"""`receiver reconcile`: what is recorded about unknown and overdue messages, and what is not."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from receiver.bandwidth.history import HistoryRow, read_record
from receiver.core import times
from receiver.core.messages import Accepted, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.database import Database
from receiver.errors import QueryRefused, RecordsUnavailable
from receiver.maintenance import recompute, resolve
from receiver.maintenance import reconcile as reconciling
from receiver.maintenance.reconcile import InquiryOutcome
from receiver.reports import messages
from tests.support.agreement import assert_views_agree
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, SENDER, make_event, store_message
from tests.support.stored import MINUTE, change, deliver, events, links, message_ids, statuses, submit
from tests.unit.test_history_records import make_row

TIMED_OUT = Unknown(type="timed-out", description="No answer in time.")
UNREADABLE_202 = Accepted()


class FakeBandwidth:
    """Searches its rows as Bandwidth does: a row matches by one of the numbers, whatever else its message has."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)
        self.asked: list[tuple[Any, ...]] = []

    def of_message(self, message_id: str) -> Iterator[HistoryRow]:
        self.asked.append((message_id,))
        return (read_record(row) for row in self.rows if row.get("messageId") == message_id)

    def between(self, sender: str, recipients: Sequence[str], since: datetime, until: datetime) -> Iterator[HistoryRow]:
        self.asked.append((sender, recipients, since, until))
        for row in self.rows:
            received_at = times.parse(row.get("receiveTime"))
            if row.get("destinationTn") in recipients and (received_at is None or since <= received_at <= until):
                yield read_record(row)


def rows(*numbers: str, status: str = "DELIVERED", at: datetime | None = None, **changes: Any) -> list[dict[str, Any]]:
    """A row per recipient, received just now."""
    received_at = times.rfc3339(at or times.now())
    known = {"receiveTime": received_at, "recipientCount": len(numbers)}
    return [make_row(status, number, **known | changes) for number in numbers]


def reconcile(database: Database, bandwidth: FakeBandwidth) -> dict[str, reconciling.Inquiry]:
    """The inquiries by tag. Afterwards every stored outcome is the fold of its events."""
    tags = reconciling.find_in_doubt(database, overdue_after=timedelta(0))
    found = {each.tag: each for each in reconciling.reconcile(database, bandwidth, tags)}
    assert list(found) == list(tags)
    assert [each for batch in recompute.recompute(database, check=True) for each in batch.differences] == []
    for tag in tags:
        assert_views_agree(database, tag)
        assert found[tag].after == messages.message(database, tag).send_status
    return found


def only(found: dict[str, reconciling.Inquiry]) -> tuple[Any, ...]:
    [each] = found.values()
    return each.before, each.after, each.outcome


def make_overdue(database: Database) -> None:
    change(database, "UPDATE messages SET overdue_at = '2020-01-01 00:00:00.000000'")


def test_an_unknown_message_is_found_by_its_numbers_and_time(database: Database) -> None:
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    failed = rows(BOB, status="FAILED", errorCode=4720, recipientCount=2)
    bandwidth = FakeBandwidth(*rows(ALICE, recipientCount=2), *failed)

    found = reconcile(database, bandwidth)

    assert only(found) == ("unknown", "accepted", "recorded")
    assert found[tag].detail == "1 DELIVERED, 1 FAILED"
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "failed"}
    assert message_ids(database) == {MESSAGE_ID: pk}
    assert {(each.source, each.linked_by, each.occurred_at) for each in events(database)} == {
        ("reconcile", "messageId", None)
    }
    report = messages.message(database, tag)
    assert (report.message_id, report.error) != (None, None)
    sender, recipients, since, until = bandwidth.asked[0]
    assert (sender, recipients) == (SENDER, [ALICE, BOB])
    assert report.submitted_at is not None
    assert report.submitted_at - since == MINUTE
    assert until - report.submitted_at == 2 * MINUTE  # the deadline of store_message is a minute
    assert reconcile(database, bandwidth) == {}


def test_a_submitting_past_its_deadline_is_asked_about_like_any_unknown(database: Database) -> None:
    _, pk = submit(database, ALICE, deadline_in=timedelta(seconds=-1))

    assert only(reconcile(database, FakeBandwidth(*rows(ALICE)))) == ("unknown", "accepted", "recorded")
    assert statuses(database, pk) == {ALICE: "delivered"}


@pytest.mark.parametrize("status", ["RECEIVED", "QUEUED", "SENDING", "TELEPORTED"])
def test_that_bandwidth_knows_it_proves_that_it_was_accepted(database: Database, status: str) -> None:
    tag, pk = store_message(database, ALICE, answer=TIMED_OUT)

    assert only(reconcile(database, FakeBandwidth(*rows(ALICE, status=status)))) == ("unknown", "accepted", "recorded")

    assert statuses(database, pk) == {ALICE: "pending"}
    [event] = messages.events(database, tag)
    assert (event.type, event.disposition) == (status, "unrecognized")
    deliver(database, make_event())
    assert messages.message(database, tag).recipients[0].confirmed_by == "bandwidth"


def test_an_overdue_message_is_asked_about_by_its_ids(database: Database) -> None:
    tag, pk = store_message(database, ALICE, BOB)
    deliver(database, make_event("sent", BOB), make_event("sent", BOB, message_id="again", tag=tag))
    make_overdue(database)
    bandwidth = FakeBandwidth(*rows(ALICE, BOB), *rows(ALICE, BOB, messageId="again"))

    assert only(reconcile(database, bandwidth)) == ("accepted", "accepted", "recorded")

    assert bandwidth.asked == [(MESSAGE_ID,), ("again",)]
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "delivered"}
    report = messages.message(database, tag)
    assert (report.message_ids, report.sent_twice) == ([MESSAGE_ID, "again"], True)
    assert reconcile(database, bandwidth) == {}


def test_a_202_without_an_id_is_looked_for_when_it_is_overdue(database: Database) -> None:
    _, pk = store_message(database, ALICE, BOB, answer=UNREADABLE_202)
    bandwidth = FakeBandwidth(*rows(ALICE, BOB))
    assert reconcile(database, bandwidth) == {}
    make_overdue(database)

    assert only(reconcile(database, bandwidth)) == ("accepted", "accepted", "recorded")

    assert message_ids(database) == {MESSAGE_ID: pk}


def test_a_callback_that_says_the_same_is_a_duplicate_whichever_comes_first(database: Database) -> None:
    _, pk = store_message(database, ALICE, BOB)
    deliver(database, make_event(recipient=ALICE))
    make_overdue(database)
    reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))

    deliver(database, make_event(recipient=BOB))

    assert [(each.recipient, each.deliveries, each.source) for each in events(database)] == [
        (ALICE, 2, "callback"),
        (BOB, 2, "reconcile"),
    ]
    assert all(each.occurred_at is not None for each in events(database))
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "delivered"}


def test_asking_again_is_harmless(database: Database) -> None:
    """As after a crash halfway: a recipient without a record leaves the message in doubt."""
    _, pk = store_message(database, ALICE, BOB)
    make_overdue(database)
    bandwidth = FakeBandwidth(*rows(ALICE, recipientCount=2))

    for deliveries in (1, 2, 3):
        assert only(reconcile(database, bandwidth)) == ("accepted", "accepted", "recorded")
        assert [each.deliveries for each in events(database)] == [deliveries]
        assert statuses(database, pk) == {ALICE: "delivered", BOB: "pending"}


def test_events_that_waited_for_the_id_are_merged_with_it(database: Database) -> None:
    _, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    deliver(database, make_event("failed", BOB, error_code=4720))
    assert links(database) == [(None, None)]

    assert only(reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))) == ("unknown", "accepted", "recorded")

    assert set(links(database)) == {(pk, "messageId")}
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "failed"}


def test_that_nothing_is_found_changes_nothing(database: Database) -> None:
    _, pk = store_message(database, ALICE, answer=TIMED_OUT)

    assert only(reconcile(database, FakeBandwidth())) == ("unknown", "unknown", "not found")
    assert (events(database), message_ids(database), statuses(database, pk)) == ([], {}, {ALICE: "pending"})


def test_that_nothing_is_said_about_a_message_id_changes_nothing(database: Database) -> None:
    store_message(database, ALICE)
    make_overdue(database)

    assert only(reconcile(database, FakeBandwidth())) == ("accepted", "accepted", "not found")


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "others",
    [
        rows(ALICE, BOB, CAROL),
        rows(ALICE, recipientCount=1),
        rows(ALICE, recipientCount=3),
        rows(ALICE, BOB, recipientCount=3),
        rows(ALICE, BOB, sourceTn="+19195550109"),
        [*rows(ALICE, BOB), *rows(BOB, at=times.now() - HOUR)],
    ],
    ids=["more", "one", "one of three", "two of three", "another sender", "another time"],
)
def test_what_does_not_fit_is_not_the_message(database: Database, others: list[dict[str, Any]]) -> None:
    store_message(database, ALICE, BOB, answer=TIMED_OUT)

    assert only(reconcile(database, FakeBandwidth(*others))) == ("unknown", "unknown", "not found")
    assert (events(database), message_ids(database)) == ([], {})


def test_one_row_may_stand_for_the_whole_group(database: Database) -> None:
    _, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    found = reconcile(database, FakeBandwidth(*rows(ALICE, recipientCount=2)))

    assert only(found) == ("unknown", "accepted", "recorded")
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "pending"}


def test_two_that_fit_are_ambiguous(database: Database) -> None:
    tag, _ = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    bandwidth = FakeBandwidth(*rows(ALICE, BOB, messageId="one"), *rows(ALICE, BOB, messageId="two"))

    found = reconcile(database, bandwidth)

    assert only(found) == ("unknown", "unknown", "ambiguous")
    assert found[tag].detail == "may be one or two"
    assert (events(database), message_ids(database)) == ([], {})


def test_what_stands_for_another_message_is_no_candidate(database: Database) -> None:
    store_message(database, ALICE, BOB, answer=Accepted(message_id="one"))
    _, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    bandwidth = FakeBandwidth(*rows(ALICE, BOB, messageId="one"), *rows(ALICE, BOB, messageId="two"))

    assert only(reconcile(database, bandwidth)) == ("unknown", "accepted", "recorded")
    assert message_ids(database)["two"] == pk


@pytest.mark.parametrize("rival", [TIMED_OUT, UNREADABLE_202, None])
def test_two_of_ours_that_fit_are_ambiguous(database: Database, rival: SendResult | None) -> None:
    store_message(database, BOB, ALICE, answer=rival)
    tag, _ = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    found = reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))

    assert (found[tag].outcome, found[tag].after) == (InquiryOutcome.AMBIGUOUS, SendStatus.UNKNOWN)
    assert found[tag].detail == f"{MESSAGE_ID} may be another message to the same numbers"
    assert (events(database), message_ids(database)) == ([], {})


def test_a_message_that_a_person_called_refused_is_a_rival_all_the_same(database: Database) -> None:
    rival, _ = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    resolve.resolve(database, rival, SendStatus.REFUSED, reason="Nobody got it.", by="jane")
    tag, _ = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    assert reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))[tag].outcome is InquiryOutcome.AMBIGUOUS


def test_a_message_that_waits_for_its_turn_is_no_rival(database: Database) -> None:
    _, rival = submit(database, ALICE, BOB)
    change(database, "UPDATE messages SET send_status = 'queued' WHERE pk = :pk", pk=rival)
    tag, _ = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    assert reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))[tag].outcome is InquiryOutcome.RECORDED


@pytest.mark.parametrize(
    ("sender", "to"),
    [("+19195550109", (ALICE, BOB)), (SENDER, (ALICE, BOB, CAROL)), (SENDER, (ALICE,))],
    ids=["another sender", "more recipients", "fewer recipients"],
)
def test_messages_of_another_sender_or_to_others_are_no_rivals(
    database: Database, sender: str, to: tuple[str, ...]
) -> None:
    store_message(database, *to, answer=TIMED_OUT, sender=sender)
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    found = reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))

    assert (found[tag].outcome, message_ids(database)) == (InquiryOutcome.RECORDED, {MESSAGE_ID: pk})


@pytest.mark.parametrize("answer", [Refused(because=RefusedBecause.UNREACHABLE), Accepted(message_id="another")])
def test_messages_that_were_not_sent_or_have_an_id_are_no_rivals(database: Database, answer: SendResult) -> None:
    store_message(database, ALICE, BOB, answer=answer)
    tag, _ = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    assert reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))[tag].outcome is InquiryOutcome.RECORDED


def test_messages_of_another_time_are_no_rivals(database: Database) -> None:
    _, earlier = submit(database, ALICE, BOB, created_at=times.now() - HOUR, deadline_in=-55 * MINUTE)
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    found = reconcile(database, FakeBandwidth(*rows(ALICE, BOB)))

    assert found[tag].outcome is InquiryOutcome.RECORDED
    assert message_ids(database) == {MESSAGE_ID: pk}
    assert statuses(database, earlier) == {ALICE: "pending", BOB: "pending"}


def test_a_row_that_cannot_be_read_may_be_another_candidate(database: Database) -> None:
    tag, _ = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    bandwidth = FakeBandwidth(*rows(ALICE, BOB), *rows(ALICE, messageId=7))

    found = reconcile(database, bandwidth)

    assert only(found) == ("unknown", "unknown", "ambiguous")
    assert "1 rows cannot be read" in found[tag].detail
    assert events(database) == []


def test_rows_by_message_id_that_cannot_be_read_are_passed_over(database: Database) -> None:
    _, pk = store_message(database, ALICE, BOB)
    make_overdue(database)
    bandwidth = FakeBandwidth(*rows(ALICE), *rows(BOB, messageId=7))

    assert only(reconcile(database, bandwidth))[2] == "recorded"
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "pending"}


def test_only_what_is_in_doubt_and_not_too_old_is_asked_about_oldest_first(database: Database) -> None:
    store_message(database, ALICE)
    store_message(database, ALICE, answer=Refused(because=RefusedBecause.UNREACHABLE))
    submit(database, ALICE)
    submit(database, ALICE, created_at=times.now() - timedelta(days=15), deadline_in=timedelta(days=-15))
    ended, _ = store_message(database, ALICE, answer=Accepted(message_id="ended"), reference="overdue")
    deliver(database, make_event(message_id="ended"))
    expected = [
        submit(database, ALICE, created_at=times.now() - timedelta(days=13), deadline_in=timedelta(days=-13))[0],
        store_message(database, ALICE, answer=TIMED_OUT)[0],
        store_message(database, ALICE, answer=Accepted(message_id="overdue"), reference="overdue")[0],
    ]
    change(database, "UPDATE messages SET overdue_at = '2020-01-01 00:00:00.000000' WHERE reference = 'overdue'")

    assert reconciling.find_in_doubt(database, overdue_after=timedelta(0)) == expected
    assert ended not in expected


def test_what_an_event_settled_meanwhile_is_not_asked_about(database: Database) -> None:
    tag, _ = store_message(database, ALICE, answer=TIMED_OUT)
    tags = reconciling.find_in_doubt(database, overdue_after=timedelta(0))
    deliver(database, make_event(tag=tag))
    bandwidth = FakeBandwidth(*rows(ALICE))

    [found] = reconciling.reconcile(database, bandwidth, tags)

    assert (found.outcome, bandwidth.asked) == (InquiryOutcome.SETTLED, [])


def test_an_id_that_an_event_brought_meanwhile_is_not_contradicted(database: Database) -> None:
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    class Meanwhile(FakeBandwidth):
        def of_message(self, message_id: str) -> Iterator[HistoryRow]:
            deliver(database, make_event(tag=tag, message_id="its own"))
            return super().of_message(message_id)

    found = reconcile(database, Meanwhile(*rows(ALICE, BOB)))

    assert only(found) == ("unknown", "accepted", "ambiguous")
    assert message_ids(database) == {"its own": pk}
    assert [each.source for each in events(database)] == ["callback"]


def test_no_connection_is_held_while_bandwidth_is_asked(postgres: Database) -> None:
    store_message(postgres, ALICE, answer=TIMED_OUT)
    held: list[int] = []

    class Watching(FakeBandwidth):
        def of_message(self, message_id: str) -> Iterator[HistoryRow]:
            held.append(postgres.engine.pool.checkedout())  # type: ignore[attr-defined]
            return super().of_message(message_id)

        def between(self, *question: Any) -> Iterator[HistoryRow]:
            held.append(postgres.engine.pool.checkedout())  # type: ignore[attr-defined]
            return super().between(*question)

    reconcile(postgres, Watching(*rows(ALICE)))

    assert held == [0, 0]


def test_a_question_that_bandwidth_refuses_does_not_stop_the_others(database: Database) -> None:
    refused, _ = store_message(database, ALICE, answer=TIMED_OUT)
    tag, _ = store_message(database, BOB, answer=TIMED_OUT)

    class Refusing(FakeBandwidth):
        def between(
            self, sender: str, recipients: Sequence[str], since: datetime, until: datetime
        ) -> Iterator[HistoryRow]:
            if ALICE in recipients:
                raise QueryRefused("A date is wrong.")
            return super().between(sender, recipients, since, until)

    found = reconcile(database, Refusing(*rows(ALICE), *rows(BOB, messageId="two")))

    assert (found[refused].outcome, found[refused].detail) == (InquiryOutcome.REFUSED, "A date is wrong.")
    assert found[tag].outcome is InquiryOutcome.RECORDED


def test_what_was_found_before_bandwidth_fell_silent_is_recorded(database: Database) -> None:
    _, first = store_message(database, ALICE, answer=TIMED_OUT)
    _, second = store_message(database, BOB, answer=TIMED_OUT)

    class Failing(FakeBandwidth):
        def between(
            self, sender: str, recipients: Sequence[str], since: datetime, until: datetime
        ) -> Iterator[HistoryRow]:
            if BOB in recipients:
                raise RecordsUnavailable
            return super().between(sender, recipients, since, until)

    with pytest.raises(RecordsUnavailable):
        reconcile(database, Failing(*rows(ALICE)))

    assert (statuses(database, first), statuses(database, second)) == ({ALICE: "delivered"}, {BOB: "pending"})
