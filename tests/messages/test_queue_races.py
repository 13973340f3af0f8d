"""Workers, cancellations and events that meet at one queued message: forced to, both ways, and left free."""

import pytest

from receiver.core import times
from receiver.database.database import Database, Session
from receiver.messages import queue
from tests.support.builders import ALICE, make_event
from tests.support.locks import Counted, Held, locked, one_waits_for_the_other, onlooker, threads
from tests.support.queue_steps import LEASE, UNREACHABLE, attempt, claim, claiming, enqueue, pks, submit
from tests.support.stored import answering, messages, recording, statuses

both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["", "the other way round"])


def test_two_workers_that_race_for_rows_share_them_out(database: Database) -> None:
    """Left free: whichever way they meet, no message is claimed twice and none is left out."""
    expected = sorted(enqueue(database, ALICE)[1] for _ in range(60))

    with threads() as pool:
        batches = list(pool.map(lambda _: claim(database, limit=7), range(9)))
    claimed = [pk for batch in batches for pk in pks(batch)] + pks(claim(database, limit=60))

    assert sorted(claimed) == expected


def test_two_that_submit_what_both_believe_to_have_claimed(database: Database) -> None:
    for _ in range(10):
        enqueue(database, ALICE)
        [first] = claim(database)
        [second] = claim(database, now=first.until)
        with threads() as pool:
            begun = list(pool.map(lambda each: submit(database, each), [first, second] * 3))

        assert sorted(begun) == [False] * 5 + [True]
        assert begun.index(True) in (1, 3, 5)


def test_what_another_is_claiming_is_passed_over_without_waiting(postgres: Database) -> None:
    first, second = (enqueue(postgres, ALICE)[1] for _ in range(2))
    held = Held(claiming(limit=1))
    with threads() as pool:
        one = pool.submit(lambda: postgres.write(held))
        held.wait()
        try:
            assert pks(claim(postgres)) == [second]
        finally:
            held.release()
        one.result()

    assert claim(postgres) == []
    assert pks(claim(postgres, now=times.now() + LEASE)) == [first, second]


def test_a_claim_passes_over_what_is_being_cancelled_or_proved_accepted(postgres: Database) -> None:
    (tag, _), (_, cancelled), (_, left) = (enqueue(postgres, ALICE) for _ in range(3))

    def change(session: Session) -> None:
        queue.cancel(session, cancelled, now=times.now())
        recording(make_event(tag=tag))(session)

    held = Held(change)
    with threads() as pool:
        one = pool.submit(lambda: postgres.write(held))
        held.wait()
        try:
            assert pks(claim(postgres)) == [left]
        finally:
            held.release()
        one.result()

    assert claim(postgres) == []


@both_ways
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("first submits", "second submits"),
        ("second submits", "cancel"),
        ("second submits", "event"),
        ("cancel", "event"),
        ("second submits", "second gives back"),
        ("first submits", "cancel"),
    ],
)
def test_of_two_changes_the_second_sees_the_first(postgres: Database, one: str, other: str, *, reverse: bool) -> None:
    tag, pk = enqueue(postgres, ALICE)
    [first] = claim(postgres)
    [second] = claim(postgres, now=first.until)
    begun: dict[str, bool] = {}

    def works(session: Session, name: str) -> None:
        now = times.now()
        match name:
            case "event":
                recording(make_event(tag=tag))(session)
            case "cancel":
                begun[name] = queue.cancel(session, pk, now=now)
            case "second gives back":
                queue.release_claims(session, [second], claimable_at=now)
            case _:
                claimed = first if name.startswith("first") else second
                begun[name] = queue.submit(session, claimed, attempt(claimed))

    names = [other, one] if reverse else [one, other]
    counted = [Counted(lambda session, name=name: works(session, name)) for name in names]
    if "first submits" in names:  # it writes no row, hence nobody waits for it
        for each in counted:
            postgres.write(each)
    else:
        one_waits_for_the_other(postgres, *counted)

    assert [each.begun for each in counted] == [1, 1]
    row = messages(postgres)[tag]
    assert begun.get("first submits", False) is False
    expected = {
        frozenset({"first submits", "second submits"}): "submitting",
        frozenset({"second submits", "cancel"}): "submitting" if names[0] == "second submits" else "refused",
        frozenset({"second submits", "event"}): "accepted",
        frozenset({"cancel", "event"}): "accepted",
        frozenset({"second submits", "second gives back"}): "submitting" if not reverse else "queued",
        frozenset({"first submits", "cancel"}): "refused",
    }
    assert row.send_status == expected[frozenset(names)]
    assert begun.get("cancel", False) is ("cancel" in names and (names[0] == "cancel" or "first submits" in names))
    assert row.attempt == int(begun.get("second submits", False))


@both_ways
def test_put_back_and_the_event_that_proves_acceptance(postgres: Database, *, reverse: bool) -> None:
    tag, pk = enqueue(postgres, ALICE)
    [claimed] = claim(postgres)
    submit(postgres, claimed)
    now = times.now()

    def back(session: Session) -> None:
        if not queue.requeue_after_failure(
            session, claimed, UNREACHABLE, failures=1, claimable_at=now, denied_at=None, now=now
        ):
            answering(pk, UNREACHABLE)(session)

    works = [Counted(back), Counted(recording(make_event(tag=tag)))]
    one_waits_for_the_other(postgres, *(reversed(works) if reverse else works))

    assert [each.begun for each in works] == [1, 1]
    assert messages(postgres)[tag].send_status == "accepted"
    assert claim(postgres) == []
    assert statuses(postgres, pk) == {ALICE: "delivered"}


def test_many_given_back_and_many_proved_accepted_do_not_deadlock(postgres: Database) -> None:
    """Claimed by urgency, locked by key: the oldest is the last of the claimed and the first of the events."""
    (_, oldest), *_ = queued = [enqueue(postgres, ALICE, priority=each) for each in (None, "high", "high")]
    claimed = claim(postgres)
    assert pks(claimed)[-1] == oldest
    proving = Counted(recording(*(make_event(tag=tag, message_id=tag) for tag, _ in queued)))
    giving = Counted(lambda session: queue.release_claims(session, claimed, claimable_at=times.now()))
    url = postgres.engine.url.render_as_string(hide_password=False)

    with threads() as pool, onlooker(url) as watching:
        with locked(url, f"SELECT FROM messages WHERE pk = {oldest} FOR NO KEY UPDATE"):
            works = [pool.submit(lambda: postgres.write(proving))]
            watching.wait_for(1)
            works.append(pool.submit(lambda: postgres.write(giving)))
            watching.wait_for(2)
        for each in works:
            each.result()

    assert (proving.begun, giving.begun) == (1, 1)
    assert {row.send_status for row in messages(postgres).values()} == {"accepted"}
