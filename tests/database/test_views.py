"""The support views: each kind of event appears in the view that is named after it."""

from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import text

from receiver.bandwidth.error_codes import explain
from receiver.core.events import Unreadable
from receiver.core.messages import Accepted
from receiver.core.status import AMBIGUOUS_CODES, RecipientStatus
from receiver.database.database import Database
from tests.support.agreement import assert_views_agree
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, NOON, make_event, store_message
from tests.support.stored import HOUR, MINUTE, columns, deliver, submit, view

STRANGER = "+19995550199"

DISPOSITIONS: list[tuple[list[Any], list[str]]] = [
    ([make_event()], ["applied"]),
    ([make_event(), make_event("read")], ["applied", "applied"]),
    ([make_event("sending"), make_event("sent"), make_event()], ["applied"] * 3),
    ([make_event("failed", error_code=4720), make_event()], ["applied", "extraneous"]),
    ([make_event(), make_event("failed", error_code=4720)], ["extraneous", "applied"]),
    ([make_event("failed", error_code=4404), make_event("read")], ["applied", "extraneous"]),
    ([make_event("failed", error_code=5600), make_event()], ["applied", "conflicting"]),
    ([make_event("failed"), make_event("sent")], ["applied", "applied"]),
    ([make_event("failed", error_code=4000), make_event("failed", error_code=4001)], ["applied", "superseded"]),
    (
        [make_event("failed", error_code=4000), make_event("failed", error_code=4720), make_event()],
        ["applied", "superseded", "extraneous"],
    ),
    ([make_event("failed", error_code=9902), make_event()], ["superseded", "applied"]),
    ([make_event("rejected-spam", error_code=9902), make_event()], ["applied", "conflicting"]),
    ([make_event("rejected-")], ["applied"]),
    ([make_event("rejected")], ["unrecognized"]),
    ([make_event("delivered ")], ["unrecognized"]),
    ([make_event("unheard-of")], ["unrecognized"]),
    ([make_event("unheard-of", STRANGER)], ["unrecognized"]),
    ([make_event(recipient=STRANGER)], ["unexpected_recipient"]),
    ([make_event("failed", "", error_code=4720)], ["unexpected_recipient"]),
]


def test_an_event_is_what_the_present_facts_make_it(database: Database) -> None:
    for number, (said, expected) in enumerate(DISPOSITIONS):
        message_id = f"id-{number}"
        tag, _ = store_message(database, ALICE, BOB, answer=Accepted(message_id=message_id))

        deliver(database, *(replace(event, message_id=message_id) for event in said))

        rows = view(database, "support_events", order="first_received_at", tag=tag)
        assert [row["disposition"] for row in rows] == expected, said
        assert_views_agree(database, tag)


def test_extraneous_unlinked_inbound_and_unreadable_have_a_view_each(database: Database) -> None:
    tag, _ = store_message(database, ALICE, BOB)
    deliver(
        database,
        make_event("failed", error_code=4720),
        make_event(),
        make_event(message_id="foreign", tag="their-own-42"),
        make_event("received", BOB, tag=tag),
        Unreadable(payload='"x"', reason="No object."),
    )

    [extraneous] = view(database, "support_extraneous")
    assert columns(extraneous, "tag", "recipient", "type") == (tag, ALICE, "message-delivered")
    [unlinked] = view(database, "support_unlinked")
    assert columns(unlinked, "tag", "message_id", "event_tag") == (None, "foreign", "their-own-42")
    [inbound] = view(database, "support_inbound")
    assert columns(inbound, "tag", "message_id", "type") == (None, MESSAGE_ID, "message-received")
    [unreadable] = view(database, "support_unreadable")
    assert columns(unreadable, "payload", "reason", "deliveries") == ('"x"', "No object.", 1)


UNLISTED = [0, 1, 4000, 4999, 5000, 5699, 5998, 9000, 99999]


def test_a_failure_is_explained_as_the_table_in_the_code_does(database: Database) -> None:
    """4121 has no name; the digits of an unlisted code still say something."""
    codes = [4720, 4432, 4775, 9902, 4121, *UNLISTED]
    for code in codes:
        tag, _ = store_message(database, ALICE, answer=Accepted(message_id=f"id-{code}"))
        deliver(database, make_event("failed", error_code=code, description=None, message_id=f"id-{code}"))

        [row] = view(database, "support_recipients", tag=tag)
        known = explain(code)
        assert columns(row, "error_code", "error_name", "billable", "advice", "remove_number") == (
            code or None,
            known.name,
            known.billable,
            known.advice,
            known.remove_number,
        )
        status = RecipientStatus(row["status"])
        assert row["reason"] == f"{status.meaning[0].upper()}{status.meaning[1:]}. {known.reason}"
        assert_views_agree(database, tag)
    failures = {failure["error_code"] or 0: failure for failure in view(database, "support_failures")}
    assert failures.keys() == {code for code in codes if code not in AMBIGUOUS_CODES}
    for code, failure in failures.items():
        assert columns(failure, "category", "billable", "reason", "advice", "remove_number") == columns(
            asdict(explain(code)), "category", "billable", "reason", "advice", "remove_number"
        )


def test_a_failure_without_a_code_is_explained_by_bandwidth_s_own_words(database: Database) -> None:
    store_message(database, ALICE)
    deliver(database, make_event("rejected-forbidden-country", description="forbidden to country"))

    [row] = view(database, "support_recipients")
    assert row["reason"] == "Definitely not delivered. Bandwidth said: forbidden to country"


def test_failures_are_counted_by_utc_day_and_code(database: Database) -> None:
    """Recipients whose winning statement failed; an unconfirmed one did not."""
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    for number, (occurred_at, code) in enumerate(
        [
            (midnight - timedelta(microseconds=1), 4720),
            (midnight, 4720),
            (midnight + HOUR, 4720),
            (midnight + HOUR, 5600),
            (midnight + HOUR, 0),
            (None, 4720),
            (midnight, 9902),
        ]
    ):
        message_id = f"id-{number}"
        store_message(database, ALICE, answer=Accepted(message_id=message_id))
        deliver(database, make_event("failed", message_id=message_id, error_code=code, occurred_at=occurred_at))
    store_message(database, ALICE, BOB, answer=Accepted(message_id="both"))
    deliver(database, make_event("failed", message_id="both", error_code=9999, occurred_at=midnight))
    deliver(database, make_event("delivered", message_id="both", occurred_at=midnight))

    rows = [columns(row, "day", "error_code", "recipients") for row in view(database, "support_failures")]
    assert sorted(rows, key=repr) == sorted(
        [
            (date(2026, 11, 21), 4720, 1),
            (date(2026, 11, 22), 4720, 2),
            (date(2026, 11, 22), 5600, 1),
            (date(2026, 11, 22), None, 1),
            (None, 4720, 1),
        ],
        key=repr,
    )


def test_the_day_of_a_failure_does_not_depend_on_the_session_s_time_zone(postgres: Database) -> None:
    store_message(postgres, ALICE)
    deliver(postgres, make_event("failed", occurred_at=datetime(2026, 11, 21, 23, 30, tzinfo=UTC)))

    for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles"):
        with postgres.read() as session:
            session.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))
            assert session.execute(text("SELECT day FROM support_failures")).scalar_one() == date(2026, 11, 21)


RECEIPTS = [(("sending", number), "carrier") for number in (ALICE, BOB, STRANGER, "")]
NO_RECEIPTS = [((kind, BOB), "bandwidth") for kind in ("queued", "sent", "read", "received", "unheard-of")]


def test_a_receipt_for_anybody_makes_every_delivery_the_carrier_s_word(database: Database) -> None:
    """A receipt is a `message-sending`; nothing else is."""
    for (kind, number), word in RECEIPTS + NO_RECEIPTS:
        tag, _ = submit(database, ALICE, BOB, CAROL)

        def confirmed_by(tag: str = tag) -> list[Any]:
            return [row["confirmed_by"] for row in view(database, "support_recipients", order="position", tag=tag)]

        told = {"message_id": f"id of {tag}", "tag": tag}
        deliver(database, make_event(**told), make_event(recipient=BOB, **told))
        assert confirmed_by() == ["bandwidth", "bandwidth", None]

        deliver(database, make_event(kind, number, **told))

        assert confirmed_by() == [word, word, None], (kind, number)
        assert_views_agree(database, tag)


def test_the_overdue_are_listed_until_they_are_terminal(database: Database) -> None:
    tag, _ = submit(database, ALICE, BOB, CAROL, overdue_in=-MINUTE)
    submit(database, ALICE, overdue_in=HOUR)
    assert view(database, "support_overdue") == []

    deliver(database, make_event("sending", tag=tag), make_event(recipient=BOB, tag=tag, occurred_at=NOON))

    assert [columns(row, "tag", "recipient") for row in view(database, "support_overdue", order="position")] == [
        (tag, ALICE),
        (tag, CAROL),
    ]
