"""The queue: claims, leases and the fence, against everything that may happen to a queued message meanwhile."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from receiver.core import times
from receiver.core.tags import new_tag
from receiver.database.database import Database
from receiver.database.models import Message
from receiver.messages import outbox, queue
from receiver.messages.outbox import Attempt
from receiver.messages.sender import tidy
from tests.support.agreement import assert_views_agree
from tests.support.builders import ACCEPTED, ALICE, BOB, make_event, make_message
from tests.support.plans import plans
from tests.support.queue_steps import LEASE, UNREACHABLE, cancel, claim, enqueue, pks, put_back, submit
from tests.support.stored import answer, deliver, messages, statuses

MOMENT = timedelta(microseconds=1)


class TestOrder:
    def test_the_urgent_first_then_the_oldest(self, database: Database) -> None:
        priorities = [None, "high", "default", "high", None]
        first, high, second, higher, third = (enqueue(database, ALICE, priority=each)[1] for each in priorities)

        assert pks(claim(database, limit=3)) == [high, higher, first]
        assert pks(claim(database)) == [second, third]
        assert claim(database) == []

    def test_sqlite_reads_them_in_that_order_and_does_not_sort_all_that_wait(self, sqlite_url: str) -> None:
        with Database(sqlite_url) as database:
            plan = plans(database, lambda session: queue.claim(session, now=times.now(), lease=LEASE, limit=8))[0]
        assert "USING INDEX messages_queue_index" in plan
        assert "TEMP B-TREE" not in plan

    def test_what_is_put_back_keeps_its_place(self, database: Database) -> None:
        first, second = (enqueue(database, ALICE)[1] for _ in range(2))
        [claimed] = claim(database, limit=1)
        submit(database, claimed)

        put_back(database, claimed)

        assert pks(claim(database)) == [first, second]

    def test_what_is_queued_for_a_closed_sender_is_passed_over_and_keeps_its_place(self, database: Database) -> None:
        senders = ["+19195550110", "+19195550111", "+19195550112", "+19195550110"]
        first, second, third, last = (enqueue(database, ALICE, sender=sender)[1] for sender in senders)

        closed = select(Message.sender).where(Message.pk.in_([first, second]))

        passing = database.write(
            lambda session: queue.claim(session, now=times.now(), lease=LEASE, limit=9, closed=closed)
        )

        assert pks(passing) == [third]
        assert pks(claim(database)) == [first, second, last]

    def test_what_was_queued_or_claimed_before_the_clock_was_set_back_an_hour_does_not_wait_for_an_hour(
        self, database: Database
    ) -> None:
        before = times.now() + timedelta(hours=1)
        first, claimed_before, waiting = (enqueue(database, ALICE, now=each)[1] for each in (before, times.now(), None))
        [_, claimed, another] = claim(database, now=before)
        put_back_at = times.now() + queue.LONGEST_WAIT
        database.write(lambda session: queue.release_claims(session, [another], claimable_at=put_back_at))
        assert claim(database) == []

        tidy(database)

        assert pks(claim(database)) == [first, claimed_before]
        assert not submit(database, claimed)
        assert pks(claim(database, now=put_back_at)) == [first, claimed_before, waiting]

    def test_what_may_not_be_claimed_yet_is_passed_over(self, database: Database) -> None:
        first, second = (enqueue(database, ALICE)[1] for _ in range(2))
        [claimed] = claim(database, limit=1)
        submit(database, claimed)
        put_back(database, claimed, after=timedelta(minutes=5))

        assert pks(claim(database)) == [second]
        assert pks(claim(database, now=times.now() + timedelta(minutes=6))) == [first, second]


def test_a_claimed_message_is_what_was_asked_for(database: Database) -> None:
    expiration = times.whole_millisecond(times.now()) + timedelta(hours=1)
    asked = {"media": ("https://a.example/ä.png",), "expiration": expiration, "priority": "high", "sender": "LUNCH"}
    tag, pk = enqueue(database, BOB, ALICE, text="Mahlzeit 🍲", reference="order 7", **asked)

    [claimed] = claim(database)

    assert (claimed.pk, claimed.tag, claimed.attempts, claimed.failures) == (pk, tag, 0, 0)
    assert claimed.message == make_message(BOB, ALICE, text="Mahlzeit 🍲", reference="order 7", **asked)


class TestLease:
    def test_a_claimed_message_is_nobody_elses_until_it_ends(self, database: Database) -> None:
        _, pk = enqueue(database, ALICE)
        [claimed] = claim(database)

        assert claim(database, now=claimed.until - MOMENT) == []
        assert pks(claim(database, now=claimed.until)) == [pk]

    def test_of_two_that_claimed_it_one_after_the_other_only_the_second_has_it(self, database: Database) -> None:
        """The first wakes up after its lease ended: it submits, gives back and expires nothing."""
        tag, _ = enqueue(database, ALICE)
        [first] = claim(database)
        [second] = claim(database, now=first.until)

        assert submit(database, first) is False
        database.write(lambda session: queue.release_claims(session, [first], claimable_at=times.now()))
        database.write(lambda session: queue.expire(session, first, now=times.now()))
        assert messages(database)[tag].send_status == "queued"
        assert messages(database)[tag].claimable_at == second.until

        assert submit(database, second) is True
        assert submit(database, second) is False
        assert submit(database, first) is False
        assert messages(database)[tag].attempt == 1

    def test_one_that_nobody_else_claimed_meanwhile_may_still_be_submitted(self, database: Database) -> None:
        long_ago = times.now() - timedelta(hours=1)
        enqueue(database, ALICE, now=long_ago)
        [claimed] = claim(database, now=long_ago + LEASE)

        assert submit(database, claimed) is True

    def test_given_back_it_is_free_at_once_and_no_longer_the_givers(self, database: Database) -> None:
        _, pk = enqueue(database, ALICE)
        [claimed] = claim(database)

        database.write(lambda session: queue.release_claims(session, [claimed], claimable_at=times.now()))

        assert submit(database, claimed) is False
        assert pks(claim(database)) == [pk]

    def test_what_was_submitted_is_never_claimed_again(self, database: Database) -> None:
        enqueue(database, ALICE)
        [claimed] = claim(database)
        submit(database, claimed)

        assert claim(database, now=times.now() + timedelta(days=9)) == []


class TestCancel:
    def test_queued_or_claimed_it_is_refused_and_the_claim_is_void(self, database: Database) -> None:
        _, untouched = enqueue(database, ALICE)
        _, pk = enqueue(database, ALICE, BOB)
        claimed = next(each for each in claim(database) if each.pk == pk)

        assert (cancel(database, untouched), cancel(database, pk)) == (True, True)

        assert submit(database, claimed) is False
        assert claim(database, now=claimed.until) == []
        assert statuses(database, pk) == {ALICE: "not_sent", BOB: "not_sent"}
        for tag, row in messages(database).items():
            assert (row.send_status, row.refused_because, row.claimable_at) == ("refused", "cancelled", None)
            assert_views_agree(database, tag)

    def test_submitted_it_is_too_late(self, database: Database) -> None:
        tag, pk = enqueue(database, ALICE)
        [claimed] = claim(database)
        submit(database, claimed)

        assert cancel(database, pk) is False
        assert messages(database)[tag].send_status == "submitting"

    def test_put_back_it_can_be_cancelled_again_and_the_error_stays_as_evidence(self, database: Database) -> None:
        tag, pk = enqueue(database, ALICE)
        [claimed] = claim(database)
        submit(database, claimed)
        put_back(database, claimed, after=timedelta(minutes=5))

        assert cancel(database, pk) is True
        row = messages(database)[tag]
        assert (row.refused_because, row.error_description) == ("cancelled", "Connection refused.")


def test_an_expired_one_is_refused_and_was_never_sent(database: Database) -> None:
    tag, pk = enqueue(database, ALICE, BOB, expiration=times.now() + timedelta(hours=1))
    [claimed] = claim(database)

    database.write(lambda session: queue.expire(session, claimed, now=times.now()))

    row = messages(database)[tag]
    assert (row.send_status, row.refused_because, row.attempt, row.submitted_at) == ("refused", "expired", 0, None)
    assert statuses(database, pk) == {ALICE: "not_sent", BOB: "not_sent"}
    assert_views_agree(database, tag)


class TestPutBack:
    def test_it_is_queued_again_with_what_was_said_against_it(self, database: Database) -> None:
        tag, pk = enqueue(database, ALICE)
        [claimed] = claim(database)
        submit(database, claimed)

        assert put_back(database, claimed) is True

        row = messages(database)[tag]
        assert (row.send_status, row.refused_because, row.failures, row.attempt) == ("queued", None, 1, 1)
        assert row.error_description == "Connection refused."
        assert statuses(database, pk) == {ALICE: "pending"}
        assert_views_agree(database, tag)

    def test_the_next_attempt_begins_without_the_error_of_the_last(self, database: Database) -> None:
        tag, _ = enqueue(database, ALICE)
        [claimed] = claim(database)
        submit(database, claimed)
        put_back(database, claimed)

        [again] = claim(database)
        assert (again.attempts, again.failures) == (1, 1)
        submit(database, again)

        row = messages(database)[tag]
        assert (row.send_status, row.attempt, row.error_description) == ("submitting", 2, None)

    def test_the_answer_to_an_attempt_that_was_put_back_comes_too_late(self, database: Database) -> None:
        """It was recorded once already; a late repeat must not touch the attempt after it."""
        tag, pk = enqueue(database, ALICE)
        [claimed] = claim(database)
        submit(database, claimed)
        put_back(database, claimed)
        [again] = claim(database)
        submit(database, again)

        assert put_back(database, claimed) is False
        answer(database, pk, UNREACHABLE, attempt=1)

        assert messages(database)[tag].send_status == "submitting"


STAGES = ["queued", "claimed", "submitting", "put back", "cancelled"]


@pytest.mark.parametrize("stage", STAGES)
def test_an_event_that_proves_acceptance_ends_it_at_every_stage(database: Database, stage: str) -> None:
    tag, pk = enqueue(database, ALICE, BOB)
    claimed = claim(database) if stage != "queued" else []
    if stage in ("submitting", "put back"):
        submit(database, claimed[0])
    if stage == "put back":
        put_back(database, claimed[0])
    if stage == "cancelled":
        cancel(database, pk)

    deliver(database, make_event(tag=tag))

    for each in claimed:
        assert (submit(database, each), put_back(database, each)) == (False, False)
        database.write(lambda session, each=each: queue.release_claims(session, [each], claimable_at=times.now()))
        database.write(lambda session, each=each: queue.expire(session, each, now=times.now()))
    assert cancel(database, pk) is False
    assert claim(database, now=times.now() + timedelta(days=9)) == []
    row = messages(database)[tag]
    assert (row.send_status, row.refused_because) == ("accepted", None)
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "pending"}
    assert_views_agree(database, tag)


class TestBacklog:
    def test_it_counts_what_waits_what_nobody_knows_of_and_what_went_out(self, database: Database) -> None:
        before = times.whole_millisecond(times.now())
        _, accepted_pk = enqueue(database, ALICE, BOB, now=before)
        enqueue(database, ALICE, now=before + timedelta(seconds=1))
        [claimed, _] = claim(database, now=before + timedelta(seconds=2))
        submit(database, claimed)
        answer(database, accepted_pk, ACCEPTED)
        lapsed = Attempt(at=before, deadline=before - LEASE, overdue_at=before)
        database.write(
            lambda session: outbox.add_submitting(session, make_message(ALICE), tag=new_tag(before), attempt=lapsed)
        )

        with database.read() as session:
            found = queue.backlog(session, now=times.now(), since=before)
            later = queue.backlog(session, now=times.now(), since=times.now() + LEASE)

        assert (found.queued, found.oldest_queued_at) == (1, before + timedelta(seconds=1))
        assert (found.unknown, found.units, later.units) == (1, 3, 0)

    def test_an_empty_one_is_nothing(self, database: Database) -> None:
        with database.read() as session:
            found = queue.backlog(session, now=times.now(), since=times.now())

        assert (found.queued, found.oldest_queued_at, found.unknown, found.units) == (0, None, 0, 0)


def test_the_state_of_every_row_is_one_of_the_five(database: Database) -> None:
    """What a claim changes is the lease and nothing that anybody is shown."""
    tag, _ = enqueue(database, ALICE)
    with database.read() as session:
        before = session.scalars(select(Message.updated_at)).one()

    claim(database)

    row = messages(database)[tag]
    assert (row.send_status, row.updated_at, row.attempt) == ("queued", before, 0)
