"""`receiver purge`: old rows are removed, or lose their personal data; all others stay as they are."""

import json
from datetime import timedelta

import pytest

from receiver.bandwidth.callbacks import parse
from receiver.core import times
from receiver.core.events import Unreadable
from receiver.core.messages import Refused, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.database import Database
from receiver.database.json_rows import instant
from receiver.events import replay
from receiver.maintenance.purge import Kind
from receiver.maintenance.resolve import resolve
from receiver.messages import outbox
from receiver.reports import messages as reporting
from tests.support.agreement import assert_views_agree
from tests.support.builders import ALICE, BOB, CAROL, make_body, make_element, make_event
from tests.support.old_rows import (
    DAY,
    is_its_fold,
    purge,
    rows,
    store_old_events,
    store_old_message,
    survey,
    tables,
    with_belongings,
)
from tests.support.queue_steps import enqueue
from tests.support.stored import answer, change, deliver, events, message_ids, messages, statuses, submit, the_event

RUBBISH = Unreadable(payload='"+19195550101"', reason="The element is not an object.")
BOTH_MODES = pytest.mark.parametrize("redact", [False, True], ids=["removed", "redacted"])


def fill(database: Database, *, days: float, mark: str) -> tuple[str, int]:
    """Stores one row of every kind, so many days ago; returns the message's tag and key."""
    tag, pk = store_old_message(database, ALICE, BOB, days=days, message_id=f"{mark}-known", reference="lunch-1")
    with_belongings(database, pk)
    store_old_events(
        database,
        make_event("failed", ALICE, message_id=f"{mark}-known", error_code=4720, tag=tag),
        make_event("delivered", ALICE, message_id=f"{mark}-known", tag=tag),
        make_event("delivered", CAROL, message_id=f"{mark}-known"),
        make_event("delivered", "", message_id=f"{mark}-known"),
        make_event("delivered", ALICE, message_id=f"{mark}-nobody's", tag="their own"),
        make_event("received", ALICE, message_id=f"{mark}-inbound"),
        Unreadable(payload=f'"{mark} {ALICE}"', reason="The element is not an object."),
        days=days,
    )
    return tag, pk


COUNTS = {
    "messages": 1,
    "recipients": 2,
    "events": 4,
    "unlinked events": 1,
    "inbound events": 1,
    "unreadable elements": 1,
}
OF_ONE = {
    "messages": 1,
    "recipients": 2,
    "message_ids": 2,
    "events": 6,
    "unreadable_callbacks": 1,
    "resolutions": 1,
    "idempotency_keys": 1,
}


def test_what_is_old_goes_with_all_that_belongs_to_it_and_the_rest_stays(database: Database) -> None:
    _, young = fill(database, days=89, mark="young")
    before = tables(database)
    fill(database, days=91, mark="old")
    assert rows(tables(database)) == {name: 2 * count for name, count in OF_ONE.items()}

    assert purge(database) == COUNTS

    assert tables(database) == before
    assert rows(tables(database)) == OF_ONE
    assert statuses(database, young) == {ALICE: "failed", BOB: "pending"}
    assert is_its_fold(database)


def test_redacting_keeps_every_row_and_leaves_the_young_alone(database: Database) -> None:
    young, _ = fill(database, days=89, mark="young")
    before = tables(database)
    fill(database, days=91, mark="old")

    assert purge(database, redact=True) == COUNTS

    after = tables(database)
    assert rows(after, "idempotency_keys") == {
        name: 2 * count for name, count in OF_ONE.items() if name != "idempotency_keys"
    }
    for name, stored in before.items():
        assert {key: after[name].get(key) for key in stored} == stored, name
    assert reporting.message(database, young).redacted_at is None


def test_a_redacted_message_still_tells_its_outcome(database: Database) -> None:
    tag, pk = fill(database, days=91, mark="old")
    before, heard = reporting.message(database, tag), reporting.events(database, tag)

    purge(database, redact=True)

    after, told = reporting.message(database, tag), reporting.events(database, tag)
    assert [each.to for each in after.recipients] == [f"redacted-{pk}-1", f"redacted-{pk}-2"]
    assert [each.status for each in after.recipients] == [each.status for each in before.recipients]
    assert [each.error_code for each in after.recipients] == [4720, None]
    assert (after.summary, after.complete, after.updated_at) == (before.summary, before.complete, before.updated_at)
    assert (after.text, after.media, after.reference, after.message_id) == (None, [], "lunch-1", "old-known")
    assert [each.disposition for each in told] == [each.disposition for each in heard]
    assert {each.disposition for each in told} >= {"extraneous", "unexpected_recipient"}
    assert {json.loads(each.payload)["redacted"] for each in told} == {True}
    assert is_its_fold(database)
    assert_views_agree(database, tag)


@BOTH_MODES
def test_doing_it_again_finds_nothing_to_do(database: Database, *, redact: bool) -> None:
    fill(database, days=91, mark="old")
    purge(database, redact=redact)
    before = tables(database)

    assert not survey(database, redact=redact).counts
    assert purge(database, redact=redact) == {}

    assert tables(database) == before


def test_what_was_redacted_can_be_removed_later(database: Database) -> None:
    fill(database, days=91, mark="old")
    purge(database, redact=True)

    assert purge(database) == COUNTS

    assert rows(tables(database)) == {}


# What is old --------------------------------------------------------------------------------------------------------


@BOTH_MODES
def test_a_message_that_is_queued_stays_however_old(database: Database, *, redact: bool) -> None:
    enqueue(database, ALICE, now=times.now() - 400 * DAY)
    before = tables(database)

    assert survey(database, redact=redact).staying == 1
    assert purge(database, redact=redact) == {}

    assert tables(database) == before


def test_a_message_is_as_old_as_its_last_request_to_bandwidth(database: Database) -> None:
    tag, _ = store_old_message(database, ALICE, days=91)
    change(database, "UPDATE messages SET submitted_at = :at", at=instant(times.now() - DAY))

    assert survey(database).staying == 1
    assert purge(database) == {}
    assert list(messages(database)) == [tag]


def test_one_whose_request_may_be_on_its_way_stays_until_its_deadline(database: Database) -> None:
    _, pk = submit(database, ALICE, created_at=times.now() - 91 * DAY)

    assert purge(database) == {}
    submit(database, BOB, created_at=times.now() - 91 * DAY, deadline_in=timedelta(seconds=-1))

    assert purge(database) == {"messages": 1, "recipients": 1}
    assert [row.pk for row in messages(database).values()] == [pk]


def test_what_is_open_goes_too_and_is_reported_beforehand(database: Database) -> None:
    _, unknown = submit(database, ALICE, created_at=times.now() - 91 * DAY)
    answer(database, unknown, Unknown())
    store_old_message(database, ALICE, BOB, days=92)
    _, refused = submit(database, ALICE, created_at=times.now() - 93 * DAY)
    answer(database, refused, Refused(because=RefusedBecause.BANDWIDTH, status=400))

    found = survey(database)

    assert (found.counts["messages"], found.counts["open"]) == (3, 2)
    assert purge(database)["messages"] == 3


def test_an_unlinked_event_and_an_unreadable_element_are_as_old_as_their_last_delivery(database: Database) -> None:
    for days in (200, 1):
        store_old_events(database, make_event(message_id="nobody's"), RUBBISH, days=days)
    store_old_events(database, make_event("sent", message_id="nobody's"), days=100)

    assert purge(database) == {"unlinked events": 1}

    assert (the_event(database).type, the_event(database).deliveries) == ("message-delivered", 2)
    assert message_ids(database) == {"nobody's": None}


def test_a_message_id_goes_with_the_last_event_that_came_under_it(database: Database) -> None:
    store_old_events(database, make_event(message_id="one"), make_event("sent", message_id="one"), days=91)
    store_old_events(database, make_event(message_id="other"), days=89)

    purge(database)

    assert message_ids(database) == {"other": None}


def test_a_survey_says_how_many_and_from_when_to_when_and_changes_nothing(database: Database) -> None:
    for days in (91, 95, 93):
        fill(database, days=days, mark=str(days))
    before = tables(database)

    found = survey(database)

    assert found.counts == {**{name: 3 * count for name, count in COUNTS.items()}, "open": 3}
    ages = {kind: tuple((times.now() - at).days for at in span) for kind, span in found.span.items()}
    assert ages == dict.fromkeys(Kind, (95, 91))
    assert tables(database) == before


def test_more_than_a_page_is_found_to_its_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.maintenance.purge.PAGE", 2)
    for number in range(5):
        fill(database, days=95 - number / 10, mark=str(number))
    enqueue(database, ALICE, now=times.now() - 95 * DAY)

    assert survey(database).counts["messages"] == 5
    assert purge(database, redact=True) == {name: 5 * count for name, count in COUNTS.items()}
    assert purge(database) == {name: 5 * count for name, count in COUNTS.items()}
    assert rows(tables(database)) == {"messages": 1, "recipients": 1}


# What comes later ---------------------------------------------------------------------------------------------------


def test_a_late_event_of_a_removed_message_is_unlinked_and_goes_in_its_turn(database: Database) -> None:
    tag, _ = store_old_message(database, ALICE, days=91, message_id="known")
    store_old_events(database, make_event("sent", message_id="known"), days=91)
    purge(database)

    assert deliver(database, make_event(message_id="known", tag=tag)).unlinked == 1

    assert message_ids(database) == {"known": None}
    change(database, "UPDATE events SET first_received_at = '2026-01-01', last_received_at = '2026-01-01'")
    assert purge(database) == {"unlinked events": 1}
    assert rows(tables(database)) == {}


def test_an_event_that_is_read_again_after_its_message_was_redacted_is_redacted_in_turn(database: Database) -> None:
    """It came before the redaction, when it could not be understood yet."""
    tag, _ = store_old_message(database, ALICE, days=91, message_id="known")
    element = make_element(message_id="known", tag=tag)
    store_old_events(database, Unreadable(payload=json.dumps(element), reason="An older parser's."), days=85)
    purge(database, redact=True)

    assert [each.rows for each in replay.replay(database)] == [1]

    assert the_event(database).recipient == ALICE
    assert purge(database, redact=True) == {"messages": 1, "events": 1}
    assert ALICE not in str(tables(database))
    assert is_its_fold(database)
    assert_views_agree(database, tag)


def test_nobody_calls_himself_as_a_blanked_number(database: Database) -> None:
    """Such an event would change an outcome, or keep the real one from being redacted for ever."""
    tag, pk = store_old_message(database, ALICE, days=91, message_id="known")
    forged = make_element("failed", f"redacted-{pk}-1", message_id="known", tag=tag)
    store_old_events(database, make_event("failed", message_id="known"), *parse(make_body(forged)), days=91)

    purge(database, redact=True)
    store_old_events(database, *parse(make_body(forged | {"errorCode": 4720})), days=0)

    assert [each.recipient for each in events(database)] == [f"redacted-{pk}-1"]
    assert reporting.message(database, tag).recipients[0].error_code is None
    assert rows(tables(database))["unreadable_callbacks"] == 2


def test_what_a_person_says_of_a_redacted_message_is_redacted_in_turn(database: Database) -> None:
    tag, _ = store_old_message(database, ALICE, days=91)
    change(database, "UPDATE messages SET send_status = 'unknown'")
    purge(database, redact=True)

    resolve(database, tag, SendStatus.ACCEPTED, reason="Alice has it.", by="jane")

    assert purge(database, redact=True) == {"messages": 1}
    assert "Alice" not in str(tables(database))
    assert purge(database, redact=True) == {}


@pytest.mark.parametrize("whole_body", [False, True], ids=["element", "body"])
def test_what_was_unreadable_and_redacted_is_not_read_again(database: Database, *, whole_body: bool) -> None:
    """No reply remains to be read, and the blank payload is not Bandwidth's."""
    store_old_events(database, Unreadable(payload="[" * 9000, reason="Too deep.", whole_body=whole_body), days=91)
    purge(database, redact=True)
    before = tables(database)

    assert replay.count_unreadable(database) == 0
    assert list(replay.replay(database)) == []

    assert tables(database) == before


@pytest.mark.parametrize("known_by", ["tag", "message id"])
def test_a_late_event_of_a_redacted_message_changes_no_outcome_and_is_redacted_in_turn(
    database: Database, known_by: str
) -> None:
    tag, pk = store_old_message(database, ALICE, days=91, message_id="known")
    store_old_events(database, make_event("failed", message_id="known", error_code=4720), days=91)
    purge(database, redact=True)

    late = make_event(message_id="known" if known_by == "message id" else "new", tag=tag if known_by == "tag" else None)
    assert deliver(database, late, late).recorded == 1

    [stored] = events(database, under=late.message_id)[-1:]
    assert (stored.message_pk, stored.recipient) == (pk, ALICE)
    assert reporting.events(database, tag)[-1].disposition == "unexpected_recipient"
    assert statuses(database, pk) == {f"redacted-{pk}-1": "failed"}
    assert is_its_fold(database)
    assert purge(database, redact=True) == {"messages": 1, "events": 1}
    assert ALICE not in {each.recipient for each in events(database)}
    assert purge(database, redact=True) == {}
    assert is_its_fold(database)


def test_an_event_that_waited_links_after_it_was_redacted_and_does_no_harm(database: Database) -> None:
    store_old_events(database, make_event(message_id="waiting"), days=91)
    purge(database, redact=True)

    _, pk = store_old_message(database, ALICE, days=0, message_id="waiting")

    assert the_event(database).message_pk == pk
    assert statuses(database, pk) == {ALICE: "pending"}
    assert is_its_fold(database)


def test_a_refused_message_that_was_redacted_is_not_queued_again(database: Database) -> None:
    """With its key a repeat would find it, and it would be sent without numbers and text."""
    _, pk = submit(database, ALICE, created_at=times.now() - 91 * DAY)
    answer(database, pk, Refused(because=RefusedBecause.UNREACHABLE))
    with_belongings(database, pk, expires=False)
    with database.read() as session:
        [stored] = outbox.not_taken(session, [pk])

    purge(database, redact=True)

    assert rows(tables(database), "recipients", "messages", "resolutions") == {}
    assert not database.write(lambda session: outbox.retry_refused(session, stored, None, now=times.now()))


def test_the_key_that_keeps_a_file_from_being_sent_twice_outlasts_the_redaction(database: Database) -> None:
    _, pk = store_old_message(database, ALICE, days=91)
    with_belongings(database, pk, expires=False)

    purge(database, redact=True)

    assert rows(tables(database))["idempotency_keys"] == 1
    purge(database)
    assert rows(tables(database)) == {}


@BOTH_MODES
def test_events_that_bandwidth_put_under_one_id_for_two_messages_stay_apart(
    database: Database, *, redact: bool
) -> None:
    """That is an error of Bandwidth. With equal places in their messages the two events would get the same identity."""
    tags = [store_old_message(database, each, days=91, message_id="shared")[0] for each in (ALICE, BOB)]
    store_old_events(
        database,
        *(make_event("sent", to, message_id="shared", tag=tag) for to, tag in zip((ALICE, BOB), tags, strict=True)),
        days=91,
    )

    assert purge(database, redact=redact) == {"messages": 2, "recipients": 2, "events": 2}
    assert is_its_fold(database)
