"""A purge meets events, repairs, repeated requests and another purge: nobody deadlocks, and nothing is torn."""

from collections.abc import Callable

import pytest

from receiver.core import times
from receiver.core.messages import Refused
from receiver.core.send_status import RefusedBecause
from receiver.core.tags import new_tag
from receiver.database.database import Database, Session
from receiver.events.committer import Committer
from receiver.maintenance import recompute
from receiver.maintenance.purge import make_terms, redact_events, redact_messages, remove_events, remove_messages
from receiver.messages import idempotency, outbox
from tests.support.builders import ALICE, BOB, make_body, make_element, make_event, make_key, make_message
from tests.support.locks import PATIENCE, Counted, locked, one_waits_for_the_other, onlooker, threads, wait_until
from tests.support.old_rows import (
    DAY,
    QUARTER,
    is_its_fold,
    purge,
    store_old_events,
    store_old_message,
    with_belongings,
)
from tests.support.stored import answer, events, links, messages, recording, submit

Work = Callable[[Session], object]

BOTH_MODES = pytest.mark.parametrize("redact", [False, True], ids=["removed", "redacted"])
BOTH_WAYS = pytest.mark.parametrize("reverse", [False, True], ids=["", "the other way round"])


def purging_messages(*pks: int, redact: bool) -> Counted:
    change = redact_messages if redact else remove_messages
    return Counted(lambda session: change(session, pks, make_terms(QUARTER, redact=redact)))


def in_turn(database: Database, *works: Work, reverse: bool) -> None:
    """One transaction has done everything but commit when the other comes to wait for it, in either order."""
    one_waits_for_the_other(database, *(reversed(works) if reverse else works))


LATE = {
    "known by its tag": make_event(message_id="new"),
    "known by its message id": make_event(message_id="known"),
    "that came before": make_event("sent", message_id="known"),
}


@BOTH_MODES
@BOTH_WAYS
@pytest.mark.parametrize("name", LATE)
def test_an_event_of_the_message(postgres: Database, name: str, *, redact: bool, reverse: bool) -> None:
    tag, pk = store_old_message(postgres, ALICE, days=91, message_id="known")
    store_old_events(postgres, make_event("sent", message_id="known", tag=tag), days=91)
    late = make_event(LATE[name].type.removeprefix("message-"), message_id=LATE[name].message_id, tag=tag)

    in_turn(postgres, purging_messages(pk, redact=redact), recording(late), reverse=reverse)

    assert is_its_fold(postgres)
    if redact:
        purge(postgres, redact=True)
        assert {each.message_pk for each in events(postgres)} == {pk}
        assert ALICE not in {each.recipient for each in events(postgres)}
        assert is_its_fold(postgres)
    else:
        assert messages(postgres) == {}
        assert links(postgres) == ([] if reverse else [(None, None)])


@BOTH_MODES
def test_an_event_without_a_message_that_is_being_linked(postgres: Database, *, redact: bool) -> None:
    store_old_events(postgres, make_event(message_id="waiting"), make_event("received", message_id="inbound"), days=91)
    tag, _ = store_old_message(postgres, ALICE, days=0, message_id=None)
    change = redact_events if redact else remove_events
    pks = [each.pk for each in events(postgres)]
    works = [
        recording(make_event("sent", message_id="waiting", tag=tag)),
        Counted(lambda session: change(session, pks, make_terms(QUARTER, redact=redact))),
    ]

    in_turn(postgres, *works, reverse=False)

    [linked] = [each for each in events(postgres, under="waiting") if each.type == "message-delivered"]
    assert (linked.recipient, linked.linked_by) == (ALICE, "messageId")
    assert is_its_fold(postgres)


@BOTH_MODES
@BOTH_WAYS
def test_a_refused_message_that_is_being_sent_after_all(postgres: Database, *, redact: bool, reverse: bool) -> None:
    tag, pk = submit(postgres, ALICE, created_at=times.now() - 91 * DAY)
    answer(postgres, pk, Refused(because=RefusedBecause.UNREACHABLE))
    with postgres.read() as session:
        [stored] = outbox.not_taken(session, [pk])
    again = Counted(lambda session: outbox.retry_refused(session, stored, None, now=times.now()))

    in_turn(postgres, purging_messages(pk, redact=redact), again, reverse=reverse)

    row = messages(postgres).get(tag)
    assert (row and (row.send_status, row.text is None)) == (
        ("queued", False) if reverse else ("refused", True) if redact else None
    )


def repairing(session: Session) -> None:
    found = recompute.compare(session, recompute.messages_after(session, "", limit=9))
    recompute.repair(session, found, now=times.now())


def repeating(session: Session) -> None:
    """Requests with existing Idempotency-Keys."""
    now = times.now()
    pks = outbox.add_queued(session, [(new_tag(now), make_message(ALICE)) for _ in range(2)], now=now)
    idempotency.add_keys(session, [(make_key(f"once-{pk}"), new) for pk, new in zip((1, 2), pks, strict=True)], now=now)


OTHERS: dict[str, Work] = {
    "a repair": repairing,
    "requests with the same keys": repeating,
    "new events": recording(make_event("sent", message_id="two"), make_event("sent", message_id="one")),
    "events that came before": recording(make_event(message_id="two"), make_event(message_id="one")),
    "events that say that receipts are on": recording(
        make_event("sending", BOB, message_id="two"), make_event("sending", BOB, message_id="one")
    ),
}
GATES = ("idempotency_keys", "message_ids", "events", "recipients")


@BOTH_MODES
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", OTHERS)
def test_who_comes_when_a_purge_stands_half_way_waits_or_passes(
    postgres: Database, name: str, gate: str, *, redact: bool
) -> None:
    """Another transaction has locked rows of the second message."""
    for message_id in ("one", "two"):
        _, pk = store_old_message(postgres, ALICE, BOB, days=91, message_id=message_id)
        with_belongings(postgres, pk)
        store_old_events(postgres, make_event(message_id=message_id), days=91)
    url = postgres.engine.url.render_as_string(hide_password=False)
    purges, other = purging_messages(1, 2, redact=redact), Counted(OTHERS[name])

    with threads() as pool, onlooker(url) as watching:
        with locked(url, f"SELECT 1 FROM {gate} WHERE message_pk = 2 FOR UPDATE"):
            works = [pool.submit(postgres.write, purges)]
            watching.wait_for(1)
            works.append(pool.submit(postgres.write, other))
            wait_until(lambda: works[1].done() or watching.waiting == 2)
        for each in works:
            each.result(PATIENCE)

    assert purges.begun == 1
    assert other.begun == 1 or (not redact and "events" in name)  # an event looks again when its message has gone
    assert is_its_fold(postgres)


@BOTH_MODES
@BOTH_WAYS
def test_another_purge(postgres: Database, *, redact: bool, reverse: bool) -> None:
    one, two, three = (store_old_message(postgres, ALICE, BOB, days=91 + number)[1] for number in range(3))
    works = [purging_messages(one, two, three, redact=redact), purging_messages(three, two, redact=redact)]

    in_turn(postgres, *works, reverse=reverse)

    assert [each.begun for each in works] == [1, 1]
    assert len(messages(postgres)) == (3 if redact else 0)
    assert purge(postgres, redact=redact) == {}


@BOTH_MODES
def test_left_free_purges_and_callbacks_do_no_harm(postgres: Database, *, redact: bool) -> None:
    tags = [store_old_message(postgres, ALICE, BOB, days=91, message_id=f"id-{number}")[0] for number in range(40)]
    late = [
        make_element("failed", to, message_id=f"id-{number}", tag=tag, errorCode=code)
        for code in (1, 2, 1)
        for number, tag in enumerate(tags)
        for to in (ALICE, BOB)
    ]

    with threads() as pool, Committer(postgres) as one, Committer(postgres) as other:
        purges = [pool.submit(purge, postgres, redact=redact) for _ in range(2)]
        callbacks = [pool.submit((one, other)[n % 2].receive, make_body(*late[n::24])) for n in range(24)]
        counts = [each.result(PATIENCE) for each in purges]
        answers = [each.result(PATIENCE) for each in callbacks]

    assert sum(each.get("messages", 0) for each in counts) >= 40  # and more, if a redacted message got a late event
    assert sum(each.tally.recorded + each.tally.duplicates for each in answers) == len(late)
    assert is_its_fold(postgres)
    purge(postgres, redact=redact)
    assert {each.message_pk is None for each in events(postgres)} <= {not redact}
