"""The sentences in the views about a message and each recipient, which support passes on; and times in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import inspect, text

from receiver.core.messages import Accepted, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.database import Database
from receiver.maintenance.resolve import resolve
from tests.support.builders import ALICE, make_event, make_message, make_sender, store_message
from tests.support.stored import HOUR, MINUTE, change, deliver, submit, view

HAS_IT = "Bandwidth has it: a 202, or an event that proves it."
NOBODY_KNOWS = "May have been sent; nobody can say."
FULL = "Not sent: Bandwidth had too much to send for the account already (429)."


def reasons(database: Database) -> tuple[Any, Any]:
    """The sentences about the only message and its only recipient."""
    [message], [recipient] = view(database, "support_messages"), view(database, "support_recipients")
    return message["reason"], recipient["reason"]


@pytest.mark.parametrize(
    ("said", "of_message", "of_recipient"),
    [
        (Accepted(), HAS_IT, "Bandwidth has it, and has not said anything about this recipient."),
        (Unknown(status=502, description="Bad gateway"), NOBODY_KNOWS, NOBODY_KNOWS),
        (None, *["The request may be on its way right now."] * 2),
        *(
            (Refused(because=because, status=status, description="No."), sentence, sentence)
            for because, status, sentence in [
                (RefusedBecause.BANDWIDTH, 400, "Not sent: Bandwidth refused it. Bandwidth said: No."),
                (RefusedBecause.RATE_LIMITED, 429, f"{FULL} Bandwidth said: No."),
                (RefusedBecause.UNREACHABLE, None, "Not sent: Bandwidth could not be reached."),
                (RefusedBecause.EXPIRED, None, "Not sent: it expired while it was queued."),
                (RefusedBecause.CANCELLED, None, "Not sent: it was withdrawn while it was queued."),
                (RefusedBecause.OPERATOR, None, "Not sent: a person decided so."),
            ]
        ),
        (Refused(because=RefusedBecause.RATE_LIMITED), FULL, FULL),
    ],
)
def test_a_recipient_of_whom_nothing_was_said_has_the_reason_of_its_message(
    database: Database, said: SendResult | None, of_message: str, of_recipient: str
) -> None:
    store_message(database, ALICE, answer=said)

    assert reasons(database) == (of_message, of_recipient)


def test_what_a_person_decided_is_said_as_such_until_bandwidth_says_so_itself(database: Database) -> None:
    tag, _ = store_message(database, ALICE, answer=Unknown())
    resolve(database, tag, SendStatus.REFUSED, reason="Alice got nothing.", by="jane")
    assert reasons(database)[0] == "Not sent: a person decided so. Decided by jane: Alice got nothing."

    resolve(database, tag, SendStatus.ACCEPTED, reason="She has it now.", by="joe")
    decided = "A person decided that Bandwidth has it; Bandwidth has not said so. Decided by joe"
    assert reasons(database) == (
        f"{decided}: She has it now.",
        "A person decided that Bandwidth has it; Bandwidth has not said anything about this recipient.",
    )
    change(database, "UPDATE resolutions SET reason = ''")  # as after a purge
    assert reasons(database)[0] == f"{decided}."

    deliver(database, make_event("sending", tag=tag))
    assert reasons(database)[0] == HAS_IT


def test_an_empty_sentence_of_bandwidth_is_not_passed_on(database: Database) -> None:
    tag, _ = store_message(database, ALICE, answer=Refused(because=RefusedBecause.BANDWIDTH, description=""))
    assert reasons(database) == ("Not sent: Bandwidth refused it.",) * 2

    deliver(database, make_event("rejected-forbidden-country", tag=tag, description=""))
    assert reasons(database)[1] == "Definitely not delivered. Bandwidth gave no reason that its lists explain."


def test_a_queued_message_waits_and_one_past_its_deadline_is_unknown(database: Database) -> None:
    make_sender(database).queue(make_message(ALICE))
    waits = "Waits for its turn; nothing has been sent."
    assert reasons(database) == (waits, waits)

    tag, _ = submit(database, ALICE, deadline_in=-MINUTE)

    [message], [recipient] = view(database, "support_messages", tag=tag), view(database, "support_recipients", tag=tag)
    assert (message["reason"], recipient["reason"]) == (NOBODY_KNOWS, NOBODY_KNOWS)


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        (["sending"], "On its way to the carrier."),
        (["sent"], "Left Bandwidth's network."),
        (["delivered"], "Delivered. Handed to Bandwidth's network, no more."),
        (["sending", "delivered"], "Delivered. Receipts are on: the carrier acknowledged it."),
    ],
)
def test_what_an_event_said_is_the_reason(database: Database, kinds: list[str], reason: str) -> None:
    store_message(database, ALICE)
    deliver(database, *map(make_event, kinds))

    assert reasons(database) == (HAS_IT, reason)


@pytest.mark.parametrize(
    ("overdue_in", "ending"), [(HOUR, ""), (-HOUR, " It is overdue: more should be known by now.")]
)
def test_what_is_overdue_says_so(database: Database, overdue_in: Any, ending: str) -> None:
    tag, _ = submit(database, ALICE, overdue_in=overdue_in)
    deliver(database, make_event("sending", tag=tag))

    assert reasons(database)[1] == f"On its way to the carrier.{ending}"


INSTANT = datetime(2026, 11, 21, 23, 30, 0, 5, tzinfo=UTC)
TOLD = "2026-11-21T23:30:00.000005Z"


def test_a_time_is_shown_in_utc_on_both_engines_whatever_the_session_s_time_zone(database: Database) -> None:
    submit(database, ALICE, created_at=INSTANT)
    deliver(database, make_event(occurred_at=INSTANT), now=INSTANT)

    with database.read() as session:
        for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles"):
            if session.connection().dialect.name == "postgresql":
                session.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))
            told = session.execute(
                text("SELECT occurred_utc, first_received_utc, last_received_utc FROM support_events")
            )
            assert told.all() == [(TOLD, TOLD, TOLD)]
            whole_millisecond = session.execute(text("SELECT created_utc FROM support_messages")).scalar_one()
            assert whole_millisecond == "2026-11-21T23:30:00.000000Z"


def test_a_day_in_a_query_is_that_of_utc(database: Database) -> None:
    """As docs/support.md says: on PostgreSQL in a session with the time zone UTC."""
    day = "SELECT count(*) FROM support_messages WHERE created_at >= '2026-11-{}' AND created_at < '2026-11-{}'"
    for hour, minute in ((0, 0), (23, 59)):
        submit(database, ALICE, created_at=datetime(2026, 11, 21, hour, minute, tzinfo=UTC))

    with database.read() as session:
        if session.connection().dialect.name == "postgresql":
            session.execute(text("SET LOCAL TIME ZONE 'UTC'"))
        counts = [session.execute(text(day.format(first, first + 1))).scalar_one() for first in (20, 21, 22)]

    assert counts == [0, 2, 0]


def test_every_time_of_every_view_has_its_text(database: Database) -> None:
    inspector = inspect(database.engine)
    for name in inspector.get_view_names():
        columns = {each["name"] for each in inspector.get_columns(name)}
        instants = {column for column in columns if column.endswith("_at")} | columns & {"expiration"}
        assert {column.removesuffix("_at") + "_utc" for column in instants} <= columns, name
