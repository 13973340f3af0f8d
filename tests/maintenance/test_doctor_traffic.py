"""The doctor's findings about traffic, on both engines: silence, overdue, unlinked, an unworked queue, a pause."""

import re
from dataclasses import fields
from datetime import datetime, timedelta

import pytest

from receiver.bandwidth.client import BandwidthAccount
from receiver.core import times
from receiver.core.events import Source, Unreadable
from receiver.core.messages import Refused, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.core.tags import new_tag
from receiver.database.database import Database, Session
from receiver.database.lookup import MOST
from receiver.events.store import record
from receiver.maintenance import recompute
from receiver.maintenance.doctor import traffic
from receiver.maintenance.doctor.findings import Finding, Mark
from receiver.maintenance.doctor.traffic import SAMPLE, SenderTraffic
from receiver.messages import credentials, outbox, pace
from receiver.reports.overview import Figures
from tests.support.builders import ALICE, BOB, SENDER, make_event, make_message, make_settings, store_message
from tests.support.plans import plans
from tests.support.queue_steps import claim, enqueue
from tests.support.stored import HOUR, MINUTE, change, deliver, store_in_old_order

OTHER = "+19195550111"


def examine(database: Database) -> dict[str, list[Finding]]:
    """The findings by check."""
    found: dict[str, list[Finding]] = {}
    for each in traffic.check_traffic(database, make_settings("")):
        found.setdefault(each.check, []).append(each)
    return found


def only(database: Database, check: str) -> Finding:
    [finding] = examine(database)[check]
    return finding


def age(database: Database, by: timedelta) -> None:
    """Makes every message older by this span."""
    now = times.now()
    change(database, "UPDATE messages SET created_at = :at, submitted_at = :at", at=_stored(database, now - by))


def _stored(database: Database, instant: object) -> object:
    is_sqlite = database.engine.dialect.name == "sqlite"
    return instant.replace(tzinfo=None).isoformat(" ", "microseconds") if is_sqlite else instant  # type: ignore[attr-defined]


def test_a_new_database_has_nothing_wrong(database: Database) -> None:
    found = examine(database)

    marks = {check: each.mark for check, [each] in found.items()}
    assert marks.pop("events") is Mark.SKIPPED
    expected = {"overdue", "unknown", "unlinked", "unreadable", "replies", "queue", "pause", "credentials", "order"}
    assert set(marks) == expected
    assert set(marks.values()) == {Mark.OK}


def test_silence_after_sending_is_reported_with_sender_application_and_remedy(database: Database) -> None:
    store_message(database, ALICE)
    store_message(database, BOB)
    age(database, HOUR)

    finding = only(database, "events")

    assert finding.mark is Mark.WRONG
    assert "from sender ...0100 with application app in the last 60 minutes (2 messages)" in finding.found
    assert "no event has ever arrived" in finding.found
    assert "location" in finding.remedy
    assert SENDER not in str(finding)


@pytest.mark.parametrize("by", [MINUTE, timedelta(days=4)])
def test_nothing_is_said_of_what_bandwidth_may_still_queue_nor_of_what_is_long_past(
    database: Database, by: timedelta
) -> None:
    store_message(database, ALICE)
    age(database, by)

    finding = only(database, "events")

    assert finding.mark is Mark.SKIPPED
    assert "nothing was accepted between 15 minutes and 3 days ago; no event has ever arrived" in finding.found


def test_one_event_about_one_message_ends_the_silence(database: Database) -> None:
    store_message(database, ALICE)
    store_message(database, BOB, answer=Unknown())
    age(database, HOUR)
    deliver(database, make_event())

    finding = only(database, "events")

    assert finding.mark is Mark.OK
    assert "the last event arrived" in finding.found


def test_a_reply_does_not_end_it(database: Database) -> None:
    store_message(database, ALICE)
    age(database, HOUR)
    deliver(database, make_event("received"))

    finding = only(database, "events")

    assert finding.mark is Mark.WRONG
    assert "no event has ever arrived" in finding.found


def test_an_event_that_we_asked_for_does_not_end_it(database: Database) -> None:
    store_message(database, ALICE)
    age(database, HOUR)
    asked_for = [make_event()]
    database.write(lambda session: record(session, asked_for, now=times.now(), source=Source.RECONCILE))

    assert only(database, "events").mark is Mark.WRONG


def test_a_silent_sender_is_reported_although_events_come_about_others(database: Database) -> None:
    store_message(database, ALICE)
    store_message(database, ALICE, sender=OTHER, answer=None)
    change(database, "UPDATE messages SET send_status = 'accepted'")
    age(database, HOUR)
    deliver(database, make_event())

    finding = only(database, "events")

    assert finding.mark is Mark.WRONG
    assert "sender ...0111" in finding.found
    assert "the last event arrived" in finding.found


def test_more_than_the_sample_is_said_to_be_more() -> None:
    now = times.now()
    silent = SenderTraffic(sender=SENDER, application_id="app", accepted=SAMPLE, with_events=0, since=now - HOUR)

    [finding] = traffic.check_arrival([silent], None, now=now)

    assert f"({SAMPLE} or more messages)" in finding.found


def test_overdue_and_unknown_are_counted(database: Database) -> None:
    store_message(database, ALICE, BOB)
    store_message(database, ALICE, answer=Unknown())
    change(database, "UPDATE messages SET overdue_at = :at", at=_stored(database, times.now() - HOUR))
    change(database, "UPDATE recipients SET created_at = :at", at=_stored(database, times.now() - 30 * HOUR))

    overdue, unknown = only(database, "overdue"), only(database, "unknown")

    assert (overdue.mark, unknown.mark) == (Mark.WARNING, Mark.WARNING)
    assert overdue.found.endswith(": 3")
    assert unknown.found.endswith(": 1")
    assert "receiver reconcile" in overdue.remedy
    assert "receiver resolve" in unknown.remedy


def test_unlinked_and_unreadable_of_the_last_day_are_counted_and_inbound_is_not(database: Database) -> None:
    deliver(database, make_event(), make_event("received"), Unreadable(payload="42", reason="No object."))
    long_ago = times.now() - 25 * HOUR
    deliver(database, make_event(message_id="old"), Unreadable(payload="43", reason="No object."), now=long_ago)

    unlinked, unreadable = only(database, "unlinked"), only(database, "unreadable")

    assert (unlinked.mark, unreadable.mark) == (Mark.WARNING, Mark.WARNING)
    assert unlinked.found.endswith(": 1")
    assert unreadable.found.endswith(": 1")


def test_counting_ends_where_more_would_be_no_news() -> None:
    none = dict.fromkeys(field.name for field in fields(Figures)) | {"unlinked": 0, "unreadable": 0}
    [overdue, *_] = traffic.check_counts(Figures(**none | {"overdue": MOST}), unknown=0, unparsed=0)

    assert overdue.found.endswith(f": {MOST} or more")


def test_a_queue_that_nobody_works_is_wrong(database: Database) -> None:
    enqueue(database, ALICE, now=times.now() - 10 * MINUTE)

    finding = only(database, "queue")

    assert finding.mark is Mark.WRONG
    assert "waiting for a worker: 1, the first for 10 minutes" in finding.found
    assert "receiver worker" in finding.remedy


def test_what_was_queued_just_now_may_wait(database: Database) -> None:
    enqueue(database, ALICE)

    assert only(database, "queue").mark is Mark.OK


def test_a_claim_shows_that_a_worker_is_there(database: Database) -> None:
    for _ in range(2):
        enqueue(database, ALICE, now=times.now() - 10 * MINUTE)
    claim(database, limit=1)

    assert only(database, "queue").mark is Mark.OK


@pytest.mark.parametrize(("waited", "mark"), [(True, Mark.OK), (False, Mark.WRONG)])
def test_what_waited_and_was_sent_shows_a_worker_and_what_was_sent_at_once_does_not(
    database: Database, waited: bool, mark: Mark
) -> None:
    enqueue(database, ALICE, now=times.now() - 10 * MINUTE)
    tag, _ = store_message(database, BOB)
    if waited:
        before = _stored(database, times.now() - HOUR)
        change(database, "UPDATE messages SET created_at = :at WHERE tag = :tag", at=before, tag=tag)

    assert only(database, "queue").mark is mark


def test_a_turn_that_is_waited_for_shows_a_worker(database: Database) -> None:
    enqueue(database, ALICE, now=times.now() - 10 * MINUTE)
    turn = {"sender": SENDER, "units": 10, "credentials": "", "heeds_refusal": False}
    database.write(lambda session: pace.take_turn(session, pace.Rates(account=0.01), **turn))

    assert only(database, "queue").mark is Mark.OK


@pytest.mark.parametrize(("seconds", "mark"), [(60, Mark.OK), (3600, Mark.WARNING)])
def test_a_pause_is_reported_and_a_long_one_with_its_remedy(database: Database, seconds: int, mark: Mark) -> None:
    enqueue(database, ALICE, now=times.now() - 10 * MINUTE)
    database.write(lambda session: pace.pause(session, retry_after=seconds, jitter=0.5))

    pause, queue = only(database, "pause"), only(database, "queue")

    assert (pause.mark, queue.mark) == (mark, Mark.OK)
    assert ("receiver resume" in pause.remedy) == (mark is Mark.WARNING)
    assert database.write(pace.resume)
    assert not database.write(pace.resume)
    assert only(database, "pause").found == "sending is not paused"


def test_however_long_the_history_it_is_looked_at_by_indexes(postgres: Database) -> None:
    now, long_ago = times.now(), times.now() - 99 * HOUR
    sent = [(new_tag(long_ago), make_message(ALICE)) for _ in range(2_000)]
    postgres.write(lambda session: outbox.add_queued(session, sent, now=long_ago))
    change(postgres, "UPDATE messages SET send_status = 'accepted', submitted_at = created_at")
    change(postgres, "UPDATE recipients SET status = 'delivered'")
    deliver(postgres, *(make_event(message_id=f"id-{each}") for each in range(2_000)), now=long_ago)
    enqueue(postgres, ALICE, now=now - HOUR)

    asked = plans(postgres, lambda session: ask_everything(session, now=now))

    assert len(asked) == 8
    assert [plan for plan in asked if re.search("Seq Scan on (messages|recipients|events)", plan)] == []


def ask_everything(session: Session, *, now: datetime) -> None:
    traffic.read_sender_traffic(session, since=now - HOUR, until=now - MINUTE)
    traffic.read_queue_state(session, since=now - MINUTE, now=now)
    traffic.count_old_order(session)


@pytest.mark.parametrize("time", [times.now(), None], ids=["a known time", "an unknown time"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [("sending", 0), ("failed", 0), ("failed", 4404), ("failed", 99999)],
)
def test_an_order_of_an_earlier_release_is_reported_with_its_remedy_until_it_is_recomputed(
    database: Database, kind: str, code: int, time: datetime | None
) -> None:
    store_message(database, ALICE, BOB)
    deliver(database, make_event(kind, error_code=code, occurred_at=time))
    assert only(database, "order").mark is Mark.OK
    store_in_old_order(database)

    finding = only(database, "order")

    assert finding.mark is Mark.WARNING
    assert finding.found.endswith("at least 1")
    assert "receiver recompute" in finding.remedy
    assert len(list(recompute.recompute(database, check=False))) == 1
    assert only(database, "order").mark is Mark.OK


def test_the_order_is_looked_up_at_both_ends_by_indexes(database: Database) -> None:
    sent = [(new_tag(times.now()), make_message(ALICE)) for _ in range(2_000)]
    database.write(lambda session: outbox.add_queued(session, sent, now=times.now()))
    change(database, "UPDATE recipients SET status = CASE message_pk % 20 WHEN 0 THEN 'failed' ELSE 'delivered' END")

    [plan] = plans(database, traffic.count_old_order)

    assert plan.count("recipients_created_at_index") == 2
    assert plan.count("recipients_status_created_at_index") == 2


def test_refused_credentials_are_wrong_for_as_long_as_workers_pause(database: Database) -> None:
    settings = make_settings("")
    tag, _ = enqueue(database, ALICE)
    [claimed] = claim(database)
    refused = Refused(because=RefusedBecause.BANDWIDTH, status=401, type="unauthorized")
    fingerprint = BandwidthAccount.of(settings).fingerprint
    database.write(lambda session: credentials.deny(session, fingerprint, claimed, refused))

    finding = only(database, "credentials")
    assert (finding.mark, tag not in finding.found) == (Mark.WRONG, True)
    assert "refused them for" in finding.found
    assert "restart the workers" in finding.remedy

    database.write(lambda session: credentials.clear(session, fingerprint))
    assert only(database, "credentials").mark is Mark.OK
