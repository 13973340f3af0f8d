"""What was unreadable is read again: an event that an older parser did not know is recorded as if it came in time."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from typing import Any

from receiver.core.events import Unreadable
from receiver.database.database import Database, Session
from receiver.events import replay as replaying
from receiver.events.committer import Committer
from receiver.events.replay import replay
from receiver.events.store import Tally, record
from receiver.maintenance import recompute
from tests.support.agreement import assert_views_agree
from tests.support.builders import (
    ALICE,
    BOB,
    CAROL,
    MESSAGE_ID,
    NOON,
    make_body,
    make_element,
    make_event,
    store_message,
)
from tests.support.locks import one_waits_for_the_other, threads
from tests.support.stored import HOUR, deliver, events, recipients, recording, statuses, the_event, unreadables


def keep(
    database: Database, payload: str, *, times: int = 1, at: datetime = NOON, whole_body: bool = False
) -> Unreadable:
    """Leaves what a parser that did not understand this would have left."""
    kept = Unreadable(payload=payload, reason="An older parser did not understand it.", whole_body=whole_body)
    database.write(lambda session: record(session, [kept] * times, now=at))
    return kept


def element(*arguments: Any, **changes: Any) -> str:
    return json.dumps(make_element(*arguments, **changes))


def replayed(database: Database) -> Tally:
    """What became of all of them, together."""
    batches = [each.stored for each in replay(database)]
    return Tally(
        recorded=sum(each.recorded for each in batches),
        duplicates=sum(each.duplicates for each in batches),
        unlinked=sum(each.unlinked for each in batches),
        unreadable=sum(each.unreadable for each in batches),
    )


def test_what_is_an_event_now_is_recorded_linked_and_merged_and_no_longer_unreadable(database: Database) -> None:
    tag, pk = store_message(database, ALICE, BOB, CAROL)
    keep(database, element("failed", ALICE, errorCode=4720))
    keep(database, element("delivered", BOB, message_id="by-tag", tag=tag))
    keep(database, element("delivered", CAROL, message_id="of-nobody"))

    assert replayed(database) == Tally(recorded=3, unlinked=1)

    assert statuses(database, pk) == {ALICE: "failed", BOB: "delivered", CAROL: "pending"}
    assert [row.source for row in events(database)] == ["callback"] * 3
    assert unreadables(database) == []
    assert [each.differences for each in recompute.recompute(database, check=True)] == [[]]


def test_what_an_odd_code_made_unreadable_is_recorded(database: Database) -> None:
    """Rows of a release that took no such code, with the reason that it gave."""
    numbers = (ALICE, BOB, CAROL)
    tag, pk = store_message(database, *numbers)
    for number, kind, code in zip(numbers, ("delivered", "failed", "failed"), ("", 4404.0, 104_404), strict=True):
        payload, reason = element(kind, number, errorCode=code), "errorCode is not an integer from 0 to 99999."
        deliver(database, *[Unreadable(payload=payload, reason=reason)] * 2, now=NOON)

    assert replayed(database) == Tally(recorded=3, duplicates=3)

    assert {number: (row.status, row.error_code) for number, row in recipients(database, pk).items()} == {
        ALICE: ("delivered", None),
        BOB: ("failed", 4404),
        CAROL: ("failed", None),
    }
    assert {row.first_received_at for row in events(database)} == {NOON}
    assert unreadables(database) == []
    assert_views_agree(database, tag)


def test_an_event_keeps_the_times_and_the_count_of_its_deliveries(database: Database) -> None:
    keep(database, element(), times=2, at=NOON)
    deliver(database, *[Unreadable(payload=element(), reason="still")] * 3, now=NOON + HOUR)

    assert replayed(database) == Tally(recorded=1, duplicates=4, unlinked=1)

    stored = the_event(database)
    assert (stored.deliveries, stored.first_received_at, stored.last_received_at) == (5, NOON, NOON + HOUR)
    assert stored.payload == element()


def test_one_event_in_several_texts_is_one_event(database: Database) -> None:
    keep(database, element(), times=2, at=NOON + HOUR)
    keep(database, element(description="the same again"), at=NOON)

    replayed(database)

    stored = the_event(database)
    assert (stored.deliveries, stored.first_received_at, stored.last_received_at) == (3, NOON, NOON + HOUR)


def test_an_event_that_came_readable_meanwhile_is_only_counted_and_first_came_when_it_was_unreadable(
    database: Database,
) -> None:
    store_message(database)
    deliver(database, make_event(description="readable"), now=NOON + HOUR)
    keep(database, element(description="kept"), times=2, at=NOON)

    assert replayed(database) == Tally(duplicates=2)

    stored = the_event(database)
    assert (stored.deliveries, stored.first_received_at, stored.last_received_at) == (3, NOON, NOON + HOUR)
    assert stored.description == "readable"


def test_an_event_read_again_makes_its_message_change_now(database: Database) -> None:
    """Whoever polls with ``updatedSince`` must not miss it."""
    _, pk = store_message(database, ALICE)
    keep(database, element("delivered", ALICE), at=NOON)
    before = recipients(database, pk)[ALICE].updated_at

    replayed(database)

    assert recipients(database, pk)[ALICE].updated_at > before > NOON


def test_what_is_still_unreadable_stays_and_says_why_it_is_so_now(database: Database) -> None:
    kept = [keep(database, each, times=2) for each in ("42", '"x"', "[1]", f"[{element()}]", element(type=""))]

    assert replayed(database) == Tally()

    stored = {row.payload: row for row in unreadables(database)}
    assert set(stored) == {each.payload for each in kept}
    assert {row.deliveries for row in stored.values()} == {2}
    assert {row.first_received_at for row in stored.values()} == {NOON}
    assert stored["42"].reason == "The element is not an object."
    assert stored[kept[-1].payload].reason == "type is not a non-empty string."
    assert events(database) == []


def test_what_the_present_parser_leaves_unreadable_is_still_unreadable(database: Database) -> None:
    """Whatever comes, two deep bodies among it: one is JSON, and of the other nobody knows."""
    bodies = [b"[1]", b"[[1]]", b"[" * 200_000 + b"]" * 200_000, b"[" * 200_000, b'{"type": ""}', b'["\\ud800"]']
    with Committer(database) as committer:
        for body in bodies:
            committer.receive(body)
    before = [(row.sha256, row.payload, row.reason, row.whole_body) for row in unreadables(database)]
    assert [whole for *_, whole in before] == [False, False, True, True, False, False]

    assert replayed(database) == Tally()

    assert [(row.sha256, row.payload, row.reason, row.whole_body) for row in unreadables(database)] == before


def test_a_body_kept_whole_is_taken_apart_into_its_elements(database: Database) -> None:
    _, pk = store_message(database, ALICE, BOB)
    body = f"[{element('delivered', ALICE)}, 42, {element('failed', BOB, errorCode=4720)}]"
    keep(database, body, times=2, whole_body=True)

    assert replayed(database) == Tally(recorded=2, duplicates=2, unreadable=2)

    assert statuses(database, pk) == {ALICE: "delivered", BOB: "failed"}
    assert [(row.payload, row.deliveries, row.whole_body) for row in unreadables(database)] == [("42", 2, False)]


def test_a_bare_object_kept_whole_is_one_event(database: Database) -> None:
    _, pk = store_message(database, ALICE)
    keep(database, element("delivered", ALICE), whole_body=True)

    assert replayed(database) == Tally(recorded=1)

    assert statuses(database, pk) == {ALICE: "delivered"}


def test_a_replay_that_was_stopped_is_finished_by_the_next_and_counts_nothing_twice(database: Database) -> None:
    count = replaying.ROWS_PER_STEP + 20
    for number in range(count):
        keep(database, element(message_id=str(number)))
    keep(database, "42")
    assert replaying.count_unreadable(database) == count + 1

    next(replay(database))
    assert replaying.count_unreadable(database) in (21, 22)  # "42" was among them, or not
    replayed(database)

    assert replaying.count_unreadable(database) == 1
    assert [row.deliveries for row in events(database)] == [1] * count
    assert replayed(database) == Tally()


def test_two_replays_at_once_record_each_event_once(postgres: Database) -> None:
    _, pk = store_message(postgres, ALICE)
    keep(postgres, element("delivered", ALICE))
    one, other = Replay(), Replay()

    one_waits_for_the_other(postgres, one, other)

    assert (one.found, other.found) == (1, 0)
    assert the_event(postgres).deliveries == 1
    assert statuses(postgres, pk) == {ALICE: "delivered"}


def test_what_is_received_unreadable_while_it_is_read_again_is_not_lost(postgres: Database) -> None:
    """By a host that still runs the older parser."""
    kept = keep(postgres, element())

    one_waits_for_the_other(postgres, Replay(), recording(kept))

    assert (the_event(postgres).deliveries, [row.deliveries for row in unreadables(postgres)]) == (1, [1])


def test_the_same_event_received_while_it_is_read_again_is_counted_for_both(postgres: Database) -> None:
    store_message(postgres)
    keep(postgres, element(), times=2)

    one_waits_for_the_other(postgres, Replay(), recording(make_event()))

    assert the_event(postgres).deliveries == 3


def test_replays_and_callbacks_at_once_lose_nothing_and_count_nothing_twice(database: Database) -> None:
    """Many events of few messages, each both kept and coming again while several replays run."""
    numbers = range(150)
    for number in numbers:
        keep(database, element(message_id=MESSAGE_ID + str(number % 7), errorCode=number))
    coming = [make_element(message_id=MESSAGE_ID + str(number % 7), errorCode=number) for number in numbers]

    with threads() as pool, Committer(database) as committer:
        replays = [pool.submit(partial(replayed, database)) for _ in range(2)]
        received = [pool.submit(committer.receive, make_body(*coming[at : at + 10])) for at in range(0, 150, 10)]
        tallies = [*(each.result() for each in replays), *(each.result().tally for each in received)]

    assert sum(each.recorded for each in tallies) == len(numbers)
    assert [row.deliveries for row in events(database)] == [2] * len(numbers)
    assert unreadables(database) == []


class Replay:
    """The work of the first transaction of a replay, and how many rows it found."""

    found: int | None = None

    def __call__(self, session: Session) -> None:
        batch = replaying.replay_step(session, after="")
        self.found = batch.rows if batch else 0
