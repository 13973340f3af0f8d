"""Two transactions that meet on PostgreSQL, forced to meet in both orders."""

from collections.abc import Callable
from typing import Any

import pytest

from receiver.core.events import Event, Unreadable
from receiver.core.messages import Accepted, Refused, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database, Session
from tests.support.agreement import assert_views_agree
from tests.support.builders import ALICE, BOB, CAROL, make_event, store_message
from tests.support.locks import PATIENCE, Counted, Held, one_waits_for_the_other, threads
from tests.support.stored import (
    answering,
    deliver,
    events,
    links,
    message_ids,
    messages,
    recipients,
    recording,
    statuses,
    submit,
    unreadables,
)

REFUSED = Refused(because=RefusedBecause.BANDWIDTH, status=400)
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["", "the other way round"])

Work = Callable[[Session], object]


def meet(database: Database, one: Work, other: Work, *, reverse: bool) -> None:
    """Each is begun once: neither was a victim of a deadlock."""
    first, second = Counted(one), Counted(other)
    if reverse:
        one_waits_for_the_other(database, second, first)
    else:
        one_waits_for_the_other(database, first, second)
    assert (first.begun, second.begun) == (1, 1)


@both_ways
@pytest.mark.parametrize(
    "parked",
    [
        [make_event()],
        [make_event(), make_event("failed", BOB, error_code=4720), make_event(recipient=CAROL, message_id="other")],
    ],
    ids=["one", "several"],
)
def test_an_answer_never_misses_an_event_that_is_being_parked(
    postgres: Database, parked: list[Event], *, reverse: bool
) -> None:
    _, pk = submit(postgres)
    ours = parked[0].message_id

    meet(postgres, recording(*parked), answering(pk, Accepted(message_id=ours)), reverse=reverse)

    assert {row.message_pk for row in events(postgres) if row.message_id == ours} == {pk}
    assert message_ids(postgres)[ours] == pk
    assert statuses(postgres, pk)[ALICE] == "delivered"


@both_ways
def test_a_tag_never_misses_an_event_that_is_being_parked(postgres: Database, *, reverse: bool) -> None:
    tag, pk = submit(postgres)

    meet(postgres, recording(make_event()), recording(make_event("failed", BOB, tag=tag)), reverse=reverse)

    assert {message_pk for message_pk, _ in links(postgres)} == {pk}
    assert statuses(postgres, pk) == {ALICE: "delivered", BOB: "failed", CAROL: "pending"}


@both_ways
def test_two_repeats_of_which_one_has_the_tag(postgres: Database, *, reverse: bool) -> None:
    tag, pk = submit(postgres)

    meet(postgres, recording(make_event()), recording(make_event(tag=tag)), reverse=reverse)

    assert [row.deliveries for row in events(postgres)] == [2]
    assert [message_pk for message_pk, _ in links(postgres)] == [pk]
    assert statuses(postgres, pk)[ALICE] == "delivered"


@both_ways
@pytest.mark.parametrize(
    ("one", "other", "status", "code", "invalid"),
    [
        (make_event("failed", error_code=4720), make_event("failed", error_code=5600), "failed", 4720, True),
        (make_event("failed", error_code=4720), make_event("failed", error_code=4000), "failed", 4000, True),
        (make_event("failed", error_code=4720), make_event("delivered"), "failed", 4720, True),
        (make_event("failed", error_code=9999), make_event("delivered"), "delivered", None, False),
        (make_event("sending"), make_event("delivered"), "delivered", None, False),
        (make_event("delivered"), make_event("read"), "delivered", None, False),
    ],
    ids=lambda value: value.type if isinstance(value, Event) else "",
)
def test_the_statement_of_higher_standing_wins(
    postgres: Database, one: Event, other: Event, status: str, code: int | None, *, invalid: bool, reverse: bool
) -> None:
    tag, pk = store_message(postgres, ALICE)

    meet(postgres, recording(one), recording(other), reverse=reverse)

    row = recipients(postgres, pk)[ALICE]
    assert (row.status, row.error_code, row.invalid_recipient) == (status, code, invalid)
    assert_views_agree(postgres, tag)


@both_ways
@pytest.mark.parametrize("said", [REFUSED, Unknown(status=502), Accepted(message_id="of the answer")], ids=str)
@pytest.mark.parametrize("kind", ["delivered", "unheard-of"])
def test_an_answer_meets_an_event_that_proves_acceptance(
    postgres: Database, said: Any, kind: str, *, reverse: bool
) -> None:
    tag, pk = submit(postgres, ALICE, BOB)

    meet(postgres, recording(make_event(kind, tag=tag)), answering(pk, said), reverse=reverse)

    row = messages(postgres)[tag]
    assert (row.send_status, row.refused_because) == ("accepted", None)
    assert row.error_status == getattr(said, "status", None)
    assert statuses(postgres, pk) == {ALICE: "delivered" if kind == "delivered" else "pending", BOB: "pending"}
    assert_views_agree(postgres, tag)


@both_ways
def test_two_messages_that_name_one_id(postgres: Database, *, reverse: bool) -> None:
    """Bandwidth would have to err; whoever comes first keeps it, and neither call fails."""
    (_, one), (_, other) = submit(postgres), submit(postgres)

    meet(
        postgres,
        answering(one, Accepted(message_id="same")),
        answering(other, Accepted(message_id="same")),
        reverse=reverse,
    )

    assert message_ids(postgres) == {"same": other if reverse else one}


@both_ways
def test_the_same_batch_twice_at_once(postgres: Database, *, reverse: bool) -> None:
    _, pk = store_message(postgres)
    batch = [make_event(recipient=number) for number in (ALICE, BOB, CAROL)]

    meet(postgres, recording(*batch), recording(*reversed(batch)), reverse=reverse)

    assert [row.deliveries for row in events(postgres)] == [2, 2, 2]
    assert set(statuses(postgres, pk).values()) == {"delivered"}


@both_ways
def test_the_same_unreadable_elements_at_once(postgres: Database, *, reverse: bool) -> None:
    rubbish = [Unreadable(payload=f"{number}", reason="No object.") for number in range(5)]

    meet(postgres, recording(*rubbish), recording(*reversed(rubbish)), reverse=reverse)

    assert [row.deliveries for row in unreadables(postgres)] == [2] * 5


@both_ways
def test_batches_about_the_same_messages_in_opposite_orders(postgres: Database, *, reverse: bool) -> None:
    pks = [store_message(postgres, ALICE, BOB, answer=Accepted(message_id=each))[1] for each in ("z", "a", "m")]
    deliveries = [make_event(recipient=number, message_id=each) for each in "zam" for number in (BOB, ALICE)]
    failures = [make_event("failed", each.recipient, message_id=each.message_id) for each in deliveries]

    meet(postgres, recording(*deliveries), recording(*reversed(failures)), reverse=reverse)

    assert all(statuses(postgres, pk) == {ALICE: "failed", BOB: "failed"} for pk in pks)


def test_a_batch_does_not_wait_for_one_about_other_messages(postgres: Database) -> None:
    """Only rows are locked: no table, no gap, no lock that all share."""
    for message_id in ("one", "two"):
        store_message(postgres, ALICE, answer=Accepted(message_id=message_id))
    held = Held(recording(make_event(message_id="one"), make_event(message_id="parked one")))
    with threads() as pool:
        first = pool.submit(lambda: postgres.write(held))
        held.wait()
        deliver(postgres, make_event(message_id="two"), make_event(message_id="parked two"))
        held.release()
        first.result(PATIENCE)

    assert len(events(postgres)) == 4
