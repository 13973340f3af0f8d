from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from receiver.core.send_status import SendStatus
from receiver.core.status import (
    INVALID_RECIPIENT_CODES,
    RECEIPT_TYPES,
    STATEMENT_RANK,
    TERMINAL,
    ConfirmedBy,
    Disposition,
    Outcome,
    RecipientStatus,
    confirmed_by,
    disposition,
    fold,
    is_failure,
    is_overdue,
    says_invalid_recipient,
    statement,
)
from tests.support.strategies import INBOUND_TYPES, MICROSECOND, STATEMENT_TYPES, UNKNOWN_TYPES, event

PENDING, SENDING, SENT, UNCONFIRMED, DELIVERED, FAILED, NOT_SENT = RecipientStatus

# Which status each event states.
SAID_BY = [
    ("message-sending", 0, SENDING),
    ("message-queued", 0, SENDING),
    ("message-sent", 0, SENT),
    ("message-delivered", 0, DELIVERED),
    ("message-read", 0, DELIVERED),
    # A failure without a code is a definite one.
    ("message-failed", 0, FAILED),
    ("message-failed", 1, FAILED),
    ("message-failed", 4404, FAILED),
    ("message-failed", 4432, FAILED),
    ("message-failed", 5999, FAILED),
    # 9000 to 9999: Bandwidth itself does not know.
    ("message-failed", 8999, FAILED),
    ("message-failed", 9000, UNCONFIRMED),
    ("message-failed", 9902, UNCONFIRMED),
    ("message-failed", 9999, UNCONFIRMED),
    ("message-failed", 10000, FAILED),
    ("message-failed", 99020, FAILED),
    ("message-failed", 99999, FAILED),
    # The form of 2017, with the reason in the type.
    ("message-rejected-forbidden-country", 0, FAILED),
    ("message-rejected-anything-else", 0, FAILED),
    ("message-rejected-forbidden-country", 4432, FAILED),
    ("message-rejected-forbidden-country", 9902, FAILED),
    # Only failures have a code that means something.
    ("message-delivered", 4404, DELIVERED),
    ("message-delivered", 9902, DELIVERED),
    ("message-sending", 9902, SENDING),
    ("message-sent", 4404, SENT),
    ("message-read", 4404, DELIVERED),
]

NOT_A_STATEMENT = [
    *INBOUND_TYPES,
    "location-request-response",
    "message-expired",
    "message-deliver",
    "message-delivered-2",
    "message-rejected",
    "messages-rejected-forbidden-country",
    "x-message-rejected-forbidden-country",
    "message-failed-2",
    "Message-Delivered",
    "MESSAGE-FAILED",
    " message-failed",
    "message-failed ",
    "message_failed",
    "delivered",
    "failed",
    "x",
]


@pytest.mark.parametrize(("event_type", "error_code", "status"), SAID_BY)
def test_every_status_is_said_by_the_events_of_the_table(
    event_type: str, error_code: int, status: RecipientStatus
) -> None:
    assert statement(event_type, error_code) is status
    assert fold([event(event_type, error_code)]).status is status


@pytest.mark.parametrize("event_type", NOT_A_STATEMENT)
@pytest.mark.parametrize("error_code", [0, 4404, 9902])
def test_every_other_type_says_nothing(event_type: str, error_code: int) -> None:
    assert statement(event_type, error_code) is None
    assert not is_failure(event_type)
    assert fold([event(event_type, error_code)]) == Outcome()


def test_without_a_statement_a_recipient_is_pending() -> None:
    assert fold([]).status is PENDING
    assert fold([]).winner is None
    assert not fold([]).invalid_recipient


def test_the_statuses_are_named_as_in_the_api() -> None:
    assert [status.value for status in RecipientStatus] == [
        "pending",
        "sending",
        "sent",
        "unconfirmed",
        "delivered",
        "failed",
        "not_sent",
    ]


def test_what_events_say_is_ranked_as_in_the_table() -> None:
    assert sorted(STATEMENT_RANK, key=lambda status: STATEMENT_RANK[status]) == [
        SENDING,
        SENT,
        UNCONFIRMED,
        DELIVERED,
        FAILED,
    ]
    assert len(set(STATEMENT_RANK.values())) == len(STATEMENT_RANK)


@pytest.mark.parametrize("status", RecipientStatus)
def test_a_recipient_is_settled_when_it_is_unconfirmed_delivered_failed_or_not_sent(status: RecipientStatus) -> None:
    assert (status in TERMINAL) == (status in (UNCONFIRMED, DELIVERED, FAILED, NOT_SENT))


def test_seven_codes_say_that_the_number_cannot_receive() -> None:
    seven = {4303, 4350, 4404, 4406, 4408, 4720, 4721}
    assert seven == INVALID_RECIPIENT_CODES
    assert {code for code in range(100_000) if fold([event("message-failed", code)]).invalid_recipient} == seven


@pytest.mark.parametrize("event_type", [*STATEMENT_TYPES, *UNKNOWN_TYPES, *INBOUND_TYPES])
def test_only_a_failure_says_that_the_number_cannot_receive(event_type: str) -> None:
    failure = event_type == "message-failed" or event_type.startswith("message-rejected-")
    assert is_failure(event_type) == failure
    assert says_invalid_recipient(event_type, 4404) == failure
    assert fold([event(event_type, 4404)]).invalid_recipient == failure


@pytest.mark.parametrize("code", sorted(INVALID_RECIPIENT_CODES))
@pytest.mark.parametrize("other", STATEMENT_TYPES)
def test_an_invalid_recipient_has_failed_whatever_else_is_said(code: int, other: str) -> None:
    """The view support_extraneous relies on it."""
    assert fold([event("message-failed", code), event(other, 9999)]).status is FAILED


def test_a_recipient_stays_invalid_when_another_failure_wins() -> None:
    earlier = datetime(2024, 1, 1, tzinfo=UTC)
    events = [event("message-failed", 4432, occurred_at=earlier), event("message-failed", 4404)]
    outcome = fold(events)
    assert outcome.winner == events[0]
    assert outcome.invalid_recipient


# What is each event to its recipient? Each row is the first that fits, so every row also holds what later rows want.


@dataclass(frozen=True, kw_only=True)
class Facts:
    event_type: str
    linked: bool = True
    is_winner: bool = False
    recipient: RecipientStatus | None = DELIVERED
    invalid_recipient: bool = False


DISPOSITIONS = [
    *((Facts(event_type=type_), Disposition.INBOUND) for type_ in INBOUND_TYPES),
    (Facts(event_type="message-received", linked=False), Disposition.INBOUND),
    (Facts(event_type="message-received", recipient=FAILED, invalid_recipient=True), Disposition.INBOUND),
    (Facts(event_type="message-delivered", linked=False, recipient=None), Disposition.UNLINKED),
    (Facts(event_type="message-failed", linked=False, recipient=None), Disposition.UNLINKED),
    (Facts(event_type="message-expired", linked=False, recipient=None), Disposition.UNLINKED),
    (Facts(event_type="message-expired"), Disposition.UNRECOGNIZED),
    (Facts(event_type="message-expired", recipient=None), Disposition.UNRECOGNIZED),
    (Facts(event_type="message-rejected", recipient=FAILED), Disposition.UNRECOGNIZED),
    (Facts(event_type="message-delivered", recipient=None), Disposition.UNEXPECTED_RECIPIENT),
    (Facts(event_type="message-failed", recipient=None), Disposition.UNEXPECTED_RECIPIENT),
    (Facts(event_type="message-delivered", recipient=FAILED, invalid_recipient=True), Disposition.EXTRANEOUS),
    (Facts(event_type="message-read", recipient=FAILED, invalid_recipient=True), Disposition.EXTRANEOUS),
    (Facts(event_type="message-delivered", recipient=FAILED), Disposition.CONFLICTING),
    (Facts(event_type="message-read", recipient=FAILED), Disposition.CONFLICTING),
    (Facts(event_type="message-failed", recipient=FAILED), Disposition.SUPERSEDED),
    (Facts(event_type="message-failed", recipient=DELIVERED), Disposition.SUPERSEDED),
    (Facts(event_type="message-failed", recipient=UNCONFIRMED), Disposition.SUPERSEDED),
    (Facts(event_type="message-failed", recipient=FAILED, invalid_recipient=True), Disposition.SUPERSEDED),
    (Facts(event_type="message-rejected-forbidden-country", recipient=FAILED), Disposition.SUPERSEDED),
    (Facts(event_type="message-failed", recipient=FAILED, is_winner=True), Disposition.APPLIED),
    (
        Facts(event_type="message-failed", recipient=FAILED, is_winner=True, invalid_recipient=True),
        Disposition.APPLIED,
    ),
    (Facts(event_type="message-failed", recipient=UNCONFIRMED, is_winner=True), Disposition.APPLIED),
    (Facts(event_type="message-rejected-forbidden-country", recipient=FAILED, is_winner=True), Disposition.APPLIED),
    (Facts(event_type="message-delivered", recipient=DELIVERED, is_winner=True), Disposition.APPLIED),
    (Facts(event_type="message-delivered", recipient=DELIVERED), Disposition.APPLIED),
    (Facts(event_type="message-read", recipient=DELIVERED), Disposition.APPLIED),
    (Facts(event_type="message-sending", recipient=FAILED, invalid_recipient=True), Disposition.APPLIED),
    (Facts(event_type="message-sending", recipient=DELIVERED), Disposition.APPLIED),
    (Facts(event_type="message-queued", recipient=SENT), Disposition.APPLIED),
    (Facts(event_type="message-sent", recipient=FAILED), Disposition.APPLIED),
    (Facts(event_type="message-sent", recipient=SENT, is_winner=True), Disposition.APPLIED),
]


def judge(facts: Facts) -> Disposition:
    return disposition(
        event_type=facts.event_type,
        linked=facts.linked,
        is_winner=facts.is_winner,
        recipient=facts.recipient,
        invalid_recipient=facts.invalid_recipient,
    )


@pytest.mark.parametrize(("facts", "expected"), DISPOSITIONS)
def test_what_an_event_is_to_its_recipient_is_the_first_that_fits(facts: Facts, expected: Disposition) -> None:
    assert judge(facts) is expected


def test_every_disposition_has_a_row() -> None:
    assert {expected for _, expected in DISPOSITIONS} == set(Disposition)


def test_every_combination_of_facts_has_the_disposition_of_the_list() -> None:
    for event_type, linked, is_winner, recipient, invalid in product(
        (*STATEMENT_TYPES, *INBOUND_TYPES, *UNKNOWN_TYPES),
        (True, False),
        (True, False),
        (*RecipientStatus, None),
        (True, False),
    ):
        facts = Facts(
            event_type=event_type, linked=linked, is_winner=is_winner, recipient=recipient, invalid_recipient=invalid
        )
        fits = {
            "inbound": event_type in INBOUND_TYPES,
            "unlinked": not linked,
            "unrecognized": event_type not in STATEMENT_TYPES,
            "unexpected_recipient": recipient is None,
            "extraneous": event_type in ("message-delivered", "message-read") and recipient is FAILED and invalid,
            "conflicting": event_type in ("message-delivered", "message-read") and recipient is FAILED,
            "superseded": event_type.startswith(("message-failed", "message-rejected-")) and not is_winner,
            "applied": True,
        }
        assert judge(facts).value == next(name for name, fit in fits.items() if fit), facts


# What does delivered mean?


@pytest.mark.parametrize("status", RecipientStatus)
def test_only_a_delivered_recipient_is_confirmed_and_receipts_tell_by_whom(status: RecipientStatus) -> None:
    delivered = status is DELIVERED
    assert confirmed_by(status, receipts=False) == (ConfirmedBy.BANDWIDTH if delivered else None)
    assert confirmed_by(status, receipts=True) == (ConfirmedBy.CARRIER if delivered else None)


def test_message_sending_proves_that_receipts_are_on() -> None:
    assert "message-sending" in RECEIPT_TYPES
    assert {statement(event_type, 0) for event_type in RECEIPT_TYPES} == {SENDING}


# When is it overdue?

OVERDUE_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", RecipientStatus)
@pytest.mark.parametrize("send_status", SendStatus)
def test_a_recipient_of_a_sent_message_is_overdue_while_it_is_not_settled(
    status: RecipientStatus, send_status: SendStatus
) -> None:
    expected = send_status in (SendStatus.ACCEPTED, SendStatus.UNKNOWN) and status in (PENDING, SENDING, SENT)
    late = OVERDUE_AT + timedelta(hours=1)
    assert is_overdue(status, send_status=send_status, overdue_at=OVERDUE_AT, now=late) == expected


@pytest.mark.parametrize(
    ("overdue_at", "now", "expected"),
    [
        (OVERDUE_AT, OVERDUE_AT - MICROSECOND, False),
        (OVERDUE_AT, OVERDUE_AT, False),
        (OVERDUE_AT, OVERDUE_AT + MICROSECOND, True),
        (None, OVERDUE_AT, False),
    ],
)
def test_overdue_begins_after_the_instant_stored_with_the_request(
    overdue_at: datetime | None, now: datetime, expected: bool
) -> None:
    assert is_overdue(PENDING, send_status=SendStatus.ACCEPTED, overdue_at=overdue_at, now=now) == expected
