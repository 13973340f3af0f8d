"""The views of conversations and of the queue: messages in both directions in order, and the same state as the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver.bandwidth.client import BandwidthAccount
from receiver.core import times
from receiver.core.messages import Accepted, Refused, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database
from receiver.messages import pace
from receiver.messages.credentials import deny, resume
from receiver.reports import overview
from tests.database.test_inbound_view import receive
from tests.support.builders import ALICE, BOB, SENDER, make_event, make_settings
from tests.support.queue_steps import claim, enqueue
from tests.support.stored import HOUR, MINUTE, answer, change, columns, deliver, submit, view

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
REFUSED = Refused(because=RefusedBecause.BANDWIDTH, status=401, type="unauthorized")


def conversation(database: Database, their_number: str) -> list[tuple[Any, ...]]:
    rows = view(database, "support_conversations", order="said_at", their_number=their_number)
    return [columns(row, "direction", "text", "status", "tag") for row in rows]


def test_a_conversation_is_everything_between_two_numbers_in_the_order_in_which_it_was_said(
    database: Database,
) -> None:
    first, _ = submit(database, ALICE, BOB, created_at=AT, text="Lunch?")
    second, _ = submit(database, ALICE, created_at=AT + 2 * HOUR, text="Or dinner?")
    submit(database, ALICE, created_at=AT, sender="123456", text="From elsewhere")
    for after, words in ((3, "Dinner."), (1, "No.")):  # the later one comes first
        said_at = (AT + timedelta(hours=after)).isoformat()
        receive(database, {"from": ALICE, "text": words, "to": [SENDER, BOB]}, words, time=said_at)
    receive(database, {"from": BOB, "text": "Yes!"}, "bob")
    deliver(database, make_event("failed", ALICE, message_id="1", tag=first, error_code=4404))

    rows = view(database, "support_conversations", order="said_at", our_number=SENDER, their_number=ALICE)

    assert [columns(row, "direction", "text", "status", "error_code", "tag") for row in rows] == [
        ("out", "Lunch?", "failed", 4404, first),
        ("in", "No.", None, None, None),
        ("out", "Or dinner?", "pending", None, second),
        ("in", "Dinner.", None, None, None),
    ]
    assert [row["group_members"] for row in rows] == [f"{ALICE} {BOB}", f"{SENDER} {BOB}", ALICE, f"{SENDER} {BOB}"]
    assert len(conversation(database, ALICE)) == 5
    assert [each[:2] for each in conversation(database, BOB)] == [("out", "Lunch?"), ("in", "Yes!")]


def test_media_are_urls_separated_by_spaces_both_ways(database: Database) -> None:
    urls = ("https://a.example/1", "https://a.example/2")
    submit(database, ALICE, created_at=AT, media=urls)
    submit(database, BOB, created_at=AT)
    receive(database, {"from": ALICE, "media": list(urls)})

    assert [row["media"] for row in view(database, "support_conversations", their_number=ALICE)] == [" ".join(urls)] * 2
    assert [row["media"] for row in view(database, "support_conversations", their_number=BOB)] == [None]


def test_a_reply_without_a_time_stands_where_it_came(database: Database) -> None:
    submit(database, ALICE, created_at=AT, text="Lunch?")
    receive(database, {"from": ALICE, "text": "Yes"})

    [_, reply] = view(database, "support_conversations", order="said_at", their_number=ALICE)
    assert reply["said_at"] == reply["stored_at"] > AT
    assert reply["said_utc"] == times.rfc3339(reply["said_at"])


def agree(database: Database) -> dict[str, Any]:
    """The one row of the view, which agrees with the API."""
    [row] = view(database, "support_sending")
    for name in ("paused_until", "credentials_refused_since"):
        if isinstance(row[name], str):  # as SQLite returns it
            row[name] = datetime.fromisoformat(row[name]).replace(tzinfo=UTC)
    report = overview.queue(database, make_settings(str(database.engine.url)))
    assert columns(row, "queued", "oldest_queued_at", "unknown", "paused_until", "credentials_refused_since") == (
        report.queued,
        report.oldest_queued_at,
        report.unknown,
        report.pace.paused_until,
        report.pace.credentials_refused_since,
    )
    assert row["units_per_second"] == pytest.approx(report.pace.last_minute)
    for name in ("oldest_queued", "paused_until", "credentials_refused_since", "credentials_tried"):
        instant = row.get(f"{name}_at", row.get(name))
        assert row[f"{name}_utc"] == (instant and times.rfc3339(instant))
    return row


def test_nothing_is_queued_at_first(database: Database) -> None:
    row = agree(database)

    assert columns(row, "queued", "oldest_queued_at", "unknown", "units_per_second") == (0, None, 0, 0)
    assert row["reason"] == "Nothing is queued, and nothing holds up sending."


def test_what_waits_and_what_went_out_is_counted_as_the_api_counts_it(database: Database) -> None:
    enqueue(database, ALICE)
    enqueue(database, BOB)
    _, unknown = submit(database, ALICE)
    answer(database, unknown, Unknown())
    submit(database, ALICE, deadline_in=-MINUTE)
    submit(database, ALICE)
    _, sent = submit(database, ALICE, BOB)
    answer(database, sent, Accepted(message_id="sent"))
    submit(database, ALICE, created_at=AT)

    row = agree(database)

    assert columns(row, "queued", "unknown") == (2, 2)
    assert row["units_per_second"] > 0
    assert row["reason"].startswith("Nothing holds up sending;")


def test_a_pause_is_shown_until_it_is_over(database: Database) -> None:
    database.write(lambda session: pace.pause(session, retry_after=60, jitter=0.5))
    assert "429" in agree(database)["reason"]

    change(database, "UPDATE lanes SET paused_until = :past", past=str(AT)[:19])
    assert agree(database)["paused_until"] is None


def test_a_refusal_of_the_credentials_is_shown_and_of_several_the_one_that_was_tried_last(
    database: Database,
) -> None:
    account = BandwidthAccount.of(make_settings(str(database.engine.url)))
    enqueue(database, ALICE)
    [claimed] = claim(database)
    for credentials in ("replaced", account.fingerprint):
        database.write(lambda session, name=credentials: deny(session, name, claimed, REFUSED))

    row = agree(database)

    assert row["credentials_refused_since"] is not None
    assert columns(row, "error_status", "error_type") == (401, "unauthorized")
    assert row["reason"].startswith("Bandwidth refuses the credentials:")
    database.write(lambda session: pace.pause(session, retry_after=60, jitter=0.5))
    assert agree(database)["reason"].startswith("Bandwidth refuses the credentials, and asked to wait")
    database.write(resume)
    assert agree(database)["credentials_refused_since"] is None


def test_refused_credentials_that_nobody_tries_any_more_hold_up_nothing(database: Database) -> None:
    enqueue(database, ALICE)
    [claimed] = claim(database)
    database.write(lambda session: deny(session, "replaced", claimed, REFUSED))
    assert agree(database)["credentials_refused_since"] is not None

    change(database, "UPDATE credential_pauses SET updated_at = :past", past=str(AT)[:19])
    assert agree(database)["credentials_refused_since"] is None


def test_a_403_about_one_message_alone_is_no_pause(database: Database) -> None:
    account = BandwidthAccount.of(make_settings(str(database.engine.url)))
    enqueue(database, ALICE)
    [claimed] = claim(database)
    alone = Refused(because=RefusedBecause.BANDWIDTH, status=403)
    database.write(lambda session: deny(session, account.fingerprint, claimed, alone))

    assert agree(database)["credentials_refused_since"] is None
