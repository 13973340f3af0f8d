"""The sending states as they are stored, shown, searched and seen by support."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from receiver.core import times
from receiver.core.messages import Accepted, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.database import Database
from receiver.errors import StorageUnavailable
from receiver.messages import sender
from receiver.messages.outbox import Attempt, MessageReport, add_submitting, write_lapsed
from receiver.reports import messages
from receiver.reports.messages import MessageFilter
from tests.support.agreement import assert_views_agree
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, make_event, make_message, store_message
from tests.support.stored import MINUTE, answer, deliver, message_ids, recipients, statuses, submit, view

BAD_REQUEST = Refused(
    because=RefusedBecause.BANDWIDTH,
    status=400,
    type="request-validation",
    description="No such to.",
    field_errors=(("to", "'+1' must be replaced"), ("from", "is not yours")),
)
UNREACHABLE = Refused(because=RefusedBecause.UNREACHABLE, description="Connection refused.")
TOO_MANY = Refused(because=RefusedBecause.RATE_LIMITED, status=429, type="too-many", description="Slower.")
TIMED_OUT = Unknown(description="Read timed out.")
BAD_GATEWAY = Unknown(status=502, type="upstream", description="Bad gateway.")
ACCEPTED = Accepted(message_id=MESSAGE_ID, segment_count=1)


def shown(database: Database, tag: str) -> MessageReport:
    """As the API shows it, which is as support sees it and as a search finds it."""
    report = messages.message(database, tag)
    assert_views_agree(database, tag)
    found = {
        status
        for status in SendStatus
        if any(
            each.tag == tag for each in messages.messages(database, MessageFilter(send_status=status), limit=9).messages
        )
    }
    assert found == {report.send_status}
    return report


def said(report: MessageReport) -> tuple[Any, ...]:
    error = report.error
    return (report.send_status, report.refused_because, error and (error.status, error.type, error.description))


@pytest.mark.parametrize(
    ("reply", "expected", "status"),
    [
        (ACCEPTED, ("accepted", None, None), "pending"),
        (Accepted(), ("accepted", None, None), "pending"),
        (BAD_REQUEST, ("refused", "bandwidth", (400, "request-validation", "No such to.")), "not_sent"),
        (TOO_MANY, ("refused", "rate_limited", (429, "too-many", "Slower.")), "not_sent"),
        (UNREACHABLE, ("refused", "unreachable", (None, None, "Connection refused.")), "not_sent"),
        (TIMED_OUT, ("unknown", None, (None, None, "Read timed out.")), "pending"),
        (BAD_GATEWAY, ("unknown", None, (502, "upstream", "Bad gateway.")), "pending"),
    ],
)
def test_an_answer_ends_the_request(
    database: Database, reply: SendResult, expected: tuple[Any, ...], status: str
) -> None:
    tag, pk = submit(database)

    answer(database, pk, reply)

    report = shown(database, tag)
    assert said(report) == expected
    assert statuses(database, pk) == dict.fromkeys([ALICE, BOB, CAROL], status)
    assert report.complete is (status == "not_sent")
    assert report.message_id == (MESSAGE_ID if reply is ACCEPTED else None)


def test_a_message_is_stored_as_the_application_asked_for_it(database: Database) -> None:
    media = ("https://a.example/ä.png", "https://a.example/2.png")
    expiration = datetime(2027, 2, 1, 11, 29, 18, 123456, tzinfo=UTC)
    asked = {"media": media, "expiration": expiration, "priority": "high", "reference": "order 7", "sender": "LUNCH"}
    tag, _ = submit(database, CAROL, ALICE, BOB, text="Mahlzeit 🍲", **asked)

    report = shown(database, tag)

    assert report.media == list(media)
    assert (report.expiration, report.priority, report.reference) == (expiration, "high", "order 7")
    assert (report.sender, report.text, report.application_id) == ("LUNCH", "Mahlzeit 🍲", "app")
    assert [each.to for each in report.recipients] == [CAROL, ALICE, BOB]
    assert report.send_status == "submitting"
    assert report.submitted_at == report.created_at == report.updated_at


@pytest.mark.parametrize("reply", [None, BAD_REQUEST, UNREACHABLE, TIMED_OUT, BAD_GATEWAY])
@pytest.mark.parametrize("kind", ["delivered", "unheard-of"])
def test_an_event_corrects_every_other_state(database: Database, reply: SendResult | None, kind: str) -> None:
    """The error stays, as evidence; why it was refused does not, because it was not."""
    tag, pk = store_message(database, ALICE, BOB, answer=reply)
    error_before = messages.message(database, tag).error

    deliver(database, make_event(kind, tag=tag))

    report = shown(database, tag)
    assert said(report)[:2] == ("accepted", None)
    assert report.error == error_before
    assert statuses(database, pk) == {ALICE: "delivered" if kind == "delivered" else "pending", BOB: "pending"}


def test_an_event_by_id_corrects_a_refusal_too(database: Database) -> None:
    tag, pk = submit(database, ALICE, BOB)
    deliver(database, make_event("sending", tag=tag, message_id="one"))
    answer(database, pk, BAD_REQUEST)
    assert statuses(database, pk) == {ALICE: "sending", BOB: "pending"}

    deliver(database, make_event(recipient=BOB, message_id="one"))

    assert statuses(database, pk) == {ALICE: "sending", BOB: "delivered"}


@pytest.mark.parametrize("reply", [ACCEPTED, BAD_REQUEST, TIMED_OUT, BAD_GATEWAY])
def test_an_answer_after_the_event_leaves_it_accepted(database: Database, reply: SendResult) -> None:
    tag, pk = submit(database, ALICE, BOB)
    deliver(database, make_event(tag=tag, message_id="from the event"))

    answer(database, pk, reply)

    report = shown(database, tag)
    assert said(report)[:2] == ("accepted", None)
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "pending"}
    assert report.message_id == (MESSAGE_ID if reply is ACCEPTED else "from the event")


@pytest.mark.parametrize("first", [ACCEPTED, Accepted()])
@pytest.mark.parametrize("then", [BAD_REQUEST, UNREACHABLE, TIMED_OUT])
def test_accepted_is_absorbing(database: Database, first: SendResult, then: SendResult) -> None:
    tag, pk = store_message(database, ALICE, answer=first)

    answer(database, pk, then)
    database.write(lambda session: write_lapsed(session, now=times.now() + timedelta(days=9)))

    assert said(shown(database, tag))[:2] == ("accepted", None)
    assert statuses(database, pk) == {ALICE: "pending"}


def test_a_refusal_that_comes_late_settles_an_unknown(database: Database) -> None:
    tag, pk = store_message(database, ALICE, answer=TIMED_OUT)

    answer(database, pk, BAD_REQUEST)

    assert said(shown(database, tag)) == ("refused", "bandwidth", (400, "request-validation", "No such to."))
    assert statuses(database, pk) == {ALICE: "not_sent"}


def test_an_acceptance_that_comes_late_settles_an_unknown(database: Database) -> None:
    tag, pk = store_message(database, ALICE, answer=TIMED_OUT)

    answer(database, pk, ACCEPTED)

    assert said(shown(database, tag))[:2] == ("accepted", None)
    assert message_ids(database) == {MESSAGE_ID: pk}


@pytest.mark.parametrize("then", [TIMED_OUT, TOO_MANY])
def test_a_refusal_stays(database: Database, then: SendResult) -> None:
    tag, pk = store_message(database, ALICE, answer=BAD_REQUEST)

    answer(database, pk, then)

    assert said(shown(database, tag))[:2] == ("refused", "bandwidth")
    assert statuses(database, pk) == {ALICE: "not_sent"}


@pytest.mark.parametrize("reply", [BAD_REQUEST, UNREACHABLE, TIMED_OUT])
@pytest.mark.parametrize("attempt", [0, 2])
def test_the_answer_to_another_attempt_changes_nothing(database: Database, reply: SendResult, attempt: int) -> None:
    tag, pk = submit(database, ALICE)
    before = shown(database, tag)

    answer(database, pk, reply, attempt=attempt)

    assert shown(database, tag) == before


def test_an_acceptance_of_whichever_attempt_counts(database: Database) -> None:
    """Bandwidth has the message, and no later attempt makes that untrue."""
    tag, pk = submit(database, ALICE)

    answer(database, pk, ACCEPTED, attempt=2)

    assert shown(database, tag).send_status == "accepted"


class TestPastTheDeadline:
    """A submitting that nobody ended is shown as unknown, and later written so."""

    def test_it_is_shown_as_unknown_everywhere(self, database: Database) -> None:
        tag, pk = submit(database, ALICE, deadline_in=-MINUTE)

        assert shown(database, tag).send_status == "unknown"
        assert statuses(database, pk) == {ALICE: "pending"}

    def test_before_it_is_not(self, database: Database) -> None:
        tag, _ = submit(database, ALICE, deadline_in=MINUTE)

        assert shown(database, tag).send_status == "submitting"

    def test_lapsing_writes_it_and_nothing_else(self, database: Database) -> None:
        late, _ = submit(database, ALICE, deadline_in=-MINUTE)
        in_time, _ = submit(database, ALICE, deadline_in=MINUTE)
        refused, refused_pk = submit(database, ALICE, deadline_in=-MINUTE)
        answer(database, refused_pk, BAD_REQUEST)
        accepted, accepted_pk = submit(database, ALICE, deadline_in=-MINUTE)
        answer(database, accepted_pk, ACCEPTED)

        assert (sender.tidy(database), sender.tidy(database)) == (1, 0)

        stored = {row["tag"]: row["send_status"] for row in view(database, "messages")}
        assert stored == {late: "unknown", in_time: "submitting", refused: "refused", accepted: "accepted"}
        assert shown(database, late).send_status == "unknown"

    @pytest.mark.parametrize("written", [True, False])
    @pytest.mark.parametrize(
        ("reply", "status"), [(ACCEPTED, "accepted"), (BAD_REQUEST, "refused"), (TIMED_OUT, "unknown")]
    )
    def test_its_late_answer_still_counts(
        self, database: Database, reply: SendResult, status: str, *, written: bool
    ) -> None:
        tag, pk = submit(database, ALICE, deadline_in=-MINUTE)
        if written:
            sender.tidy(database)

        answer(database, pk, reply)

        assert shown(database, tag).send_status == status

    def test_overdue_is_what_accepted_and_unknown_become(self, database: Database) -> None:
        replies: list[SendResult | None] = [None, Accepted(), BAD_REQUEST, TIMED_OUT]
        for reply, overdue_in, deadline_in in product(replies, [MINUTE, -MINUTE], [MINUTE, -MINUTE]):
            tag, pk = submit(database, ALICE, BOB, CAROL, deadline_in=deadline_in, overdue_in=overdue_in)
            if reply is not None:
                answer(database, pk, reply)

            report = shown(database, tag)

            expected = overdue_in == -MINUTE and report.send_status in ("accepted", "unknown")
            assert {each.overdue for each in report.recipients} == {expected}, (reply, overdue_in, deadline_in)
            assert report.summary["overdue"] == (3 if expected else 0)


@pytest.mark.parametrize(
    ("kind", "code", "overdue"),
    [
        *[("sending", 0, True), ("sent", 0, True), ("unheard-of", 0, True)],
        *[("delivered", 0, False), ("failed", 4720, False), ("failed", 9999, False)],
    ],
)
def test_a_recipient_is_overdue_until_it_is_terminal(
    database: Database, kind: str, code: int, *, overdue: bool
) -> None:
    tag, _ = submit(database, ALICE, BOB, overdue_in=-MINUTE)

    deliver(database, make_event(kind, error_code=code, tag=tag))

    assert [each.overdue for each in shown(database, tag).recipients] == [overdue, True]


def test_two_messages_never_share_a_tag(database: Database) -> None:
    tag, pk = submit(database, ALICE)
    now = times.now()
    attempt = Attempt(at=now, deadline=now, overdue_at=now)
    with pytest.raises(StorageUnavailable):
        database.write(lambda session: add_submitting(session, make_message(BOB), tag=tag, attempt=attempt))

    assert list(recipients(database, pk)) == [ALICE]
    assert len(view(database, "messages")) == 1
