"""Plain events are stored by one statement, and end as they would by the others; it never stores what is not plain."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from receiver.core import times
from receiver.core.events import Event, Unreadable
from receiver.core.messages import Accepted, Refused
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database, Session
from receiver.database.pipeline import Pipeline
from receiver.events.committer import Committer
from receiver.events.notes import notes_of
from receiver.events.store import LEFT, STORE_PLAIN, StoreResult, Tally, record, store_plain
from receiver.maintenance import recompute
from receiver.maintenance.purge import make_terms, remove_messages
from tests.support.builders import ALICE, BOB, CAROL, NOON, make_body, make_element, make_event, store_message
from tests.support.locks import PATIENCE, Counted, Held, locked, onlooker, threads
from tests.support.old_rows import QUARTER, store_old_message
from tests.support.stored import (
    change,
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

SECOND = timedelta(seconds=1)


@pytest.fixture
def pipeline(postgres: Database) -> Iterator[Pipeline]:
    with Pipeline(postgres, STORE_PLAIN) as pipeline:
        yield pipeline


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


def store(pipeline: Pipeline, *elements: Event | Unreadable) -> StoreResult:
    return store_plain(pipeline, elements, now=times.now())


def test_a_statement_about_an_accepted_message_is_plain(postgres: Database, pipeline: Pipeline) -> None:
    tag, pk = store_message(postgres)
    plain = [
        make_event(tag=tag),
        make_event("failed", BOB, error_code=4720, tag=None),
        make_event("sending", CAROL, tag="another's"),
        make_event("of-tomorrow"),
        make_event(recipient="+19195550199"),
        make_event(recipient=""),
        make_event("received", message_id="inbound", tag=tag),
    ]

    assert store(pipeline, *plain).tallies == [Tally(recorded=1)] * len(plain)

    assert statuses(postgres, pk) == {ALICE: "delivered", BOB: "failed", CAROL: "sending"}
    assert [row.linked_by for row in events(postgres)] == ["tag", *["messageId"] * 5, None]
    assert messages(postgres)[tag].receipts
    assert all(tally == Tally(duplicates=1) for tally in store(pipeline, *plain).tallies)
    assert [row.deliveries for row in events(postgres)] == [2] * len(plain)


def test_of_equal_elements_the_first_is_new(postgres: Database, pipeline: Pipeline) -> None:
    store_message(postgres)
    tallies = store(pipeline, make_event(), make_event("sent"), make_event(), make_event()).tallies
    assert tallies == [Tally(recorded=1), Tally(recorded=1), Tally(duplicates=1), Tally(duplicates=1)]
    assert [row.deliveries for row in events(postgres)] == [3, 1]


def not_plain(database: Database) -> dict[str, Event | Unreadable]:
    """An element of each kind that needs more than the statement does."""
    tag, _ = store_message(database, ALICE, answer=Accepted(message_id="known"))
    another, _ = store_message(database, ALICE, answer=Accepted(message_id="another"))
    open_tag, _ = submit(database, ALICE)
    store_message(database, ALICE, answer=Refused(because=RefusedBecause.BANDWIDTH))
    deliver(database, make_event("failed", message_id="known"), make_event("sent", message_id="unlinked"))
    for message_id in ("was accepted", "early"):
        store_message(database, ALICE, answer=Accepted(message_id=message_id))
    change(
        database,
        "UPDATE messages SET send_status = 'unknown' WHERE pk IN"
        " (SELECT message_pk FROM message_ids WHERE message_id = 'was accepted')",
    )
    return {
        "an id that stands for no message": make_event(message_id="unheard of"),
        "a new id with our tag": make_event(message_id="new", tag=tag),
        "the first event of an open message": make_event(message_id="open", tag=open_tag),
        "the tag of another message": make_event(message_id="known", tag=another),
        "a message that is not accepted": make_event(message_id="was accepted"),
        "a repeat with an earlier time": make_event("failed", message_id="known", occurred_at=NOON - SECOND),
        "a repeat with a later time": make_event("failed", message_id="known", occurred_at=NOON + SECOND),
        "a repeat without a time": make_event("failed", message_id="known", occurred_at=None),
        "a repeat of an unlinked event": make_event("sent", message_id="unlinked"),
        "rubbish": Unreadable(payload="7", reason="No object."),
    }


def contents(database: Database) -> list[Any]:
    """All that is stored, apart from unreadable elements."""
    rows: list[Any] = [*events(database), *messages(database).values()]
    rows += [
        row for pk in [each.pk for each in messages(database).values()] for row in recipients(database, pk).values()
    ]
    stored = [{name: value for name, value in vars(row).items() if not name.startswith("_")} for row in rows]
    return [*stored, sorted(message_ids(database).items(), key=str), len(unreadables(database))]


def test_what_is_not_plain_is_left_and_changes_nothing(postgres: Database, pipeline: Pipeline) -> None:
    left = not_plain(postgres)
    before = contents(postgres)

    for name, element in left.items():
        assert (name, store(pipeline, element).tallies) == (name, [LEFT])
    assert store(pipeline, *left.values()).tallies == [LEFT] * len(left)

    assert contents(postgres) == before


def test_an_event_with_two_tags_is_left(postgres: Database, pipeline: Pipeline) -> None:
    tag, _ = store_message(postgres)
    event = make_event(tag=tag)
    assert store(pipeline, event, replace(event, tag="another's")).tallies == [LEFT, LEFT]


def test_what_is_not_plain_does_not_hold_up_its_neighbours(postgres: Database, pipeline: Pipeline) -> None:
    _, pk = store_message(postgres)
    left = list(not_plain(postgres).values())
    everything = [make_event(), *left, make_event("failed", BOB, error_code=4720), make_event()]
    ours = [tally is not LEFT for tally in store(pipeline, *everything).tallies]

    assert ours == [True, *[False] * len(left), True, True]
    assert statuses(postgres, pk) == {ALICE: "delivered", BOB: "failed", CAROL: "pending"}


@pytest.fixture
def committer(postgres: Database, pipeline: Pipeline) -> Iterator[Committer]:
    with Committer(postgres, pipeline) as committer:
        yield committer


def test_a_callback_of_both_kinds_is_answered_for_all_its_elements(postgres: Database, committer: Committer) -> None:
    tag, pk = store_message(postgres)
    parts = [make_element(tag=tag), make_element(message_id="foreign"), {"type": 7}, make_element(tag=tag)]
    body = make_body(*parts, make_element("received", message_id="inbound"))

    assert committer.receive(body).tally == Tally(recorded=3, duplicates=1, unlinked=1, unreadable=1)
    assert committer.receive(body).tally == Tally(duplicates=4, unreadable=1)
    assert statuses(postgres, pk)[ALICE] == "delivered"
    assert len(unreadables(postgres)) == 1


def test_a_statement_that_is_refused_is_replaced_by_the_others(postgres: Database) -> None:
    """As by a pooler that has dropped the prepared statements, or when a message is purged at the same moment."""
    tag, pk = store_message(postgres)
    with Committer(postgres, Pipeline(postgres, "SELECT 1 / 0, $1, $2")) as committer:
        assert committer.receive(make_body(make_element(tag=tag))).tally == Tally(recorded=1)
    assert statuses(postgres, pk)[ALICE] == "delivered"


Ids = Sequence[str]


def random_event(chance: random.Random, ids: Ids, tags: Sequence[str | None]) -> Event:
    kinds = ("sending", "sent", "delivered", "read", "of-tomorrow", "received", "failed", "failed", "failed")
    kind = chance.choice(kinds)
    code = chance.choice((0, 4720, 9902)) if kind == "failed" else 0
    return make_event(
        kind,
        chance.choice((ALICE, BOB, "+19195550199", "")),
        error_code=code,
        message_id=chance.choice(ids),
        tag=chance.choice(tags),
        occurred_at=chance.choice((NOON, NOON, NOON, NOON - SECOND, None)),
        description=chance.choice(("ok", "fine", None)),
    )


def state(database: Database, prefix: str, pks: Sequence[int]) -> list[Any]:
    """What is stored about these messages, without keys, and without instants of ours."""
    found: list[Any] = []
    for row in sorted(
        events(database, under=prefix), key=lambda row: (row.message_id, row.recipient, row.type, row.error_code)
    ):
        place = pks.index(row.message_pk) if row.message_pk else None
        of_event = (row.recipient, row.type, row.error_code, row.occurred_at, row.description, row.deliveries)
        found.append((row.message_id.removeprefix(prefix), *of_event, row.linked_by, place))
    for pk in pks:
        rows = recipients(database, pk).values()
        found += [
            (r.recipient, r.status, r.error_code, r.occurred_at, r.description, r.invalid_recipient) for r in rows
        ]
    return found + [(row.receipts, row.send_status) for row in messages(database).values() if row.pk in pks]


@pytest.mark.parametrize("seed", range(12))
def test_events_end_as_they_would_by_the_other_statements(postgres: Database, pipeline: Pipeline, seed: int) -> None:
    """The same events about two sets of messages: one is stored by this way and the rest by the others, one by them."""
    sides = []
    for prefix in ("quick ", "careful "):
        ids = [f"{prefix}{each}" for each in ("one", "two", "unknown")]
        sent = [store_message(postgres, ALICE, BOB, answer=Accepted(message_id=each)) for each in ids[:2]]
        sides.append((prefix, ids, [tag for tag, _ in sent], [pk for _, pk in sent]))
    told: list[list[Any]] = []
    for side, (_, ids, tags, _) in enumerate(sides):
        chance, of_side = random.Random(seed), []
        for _ in range(12):
            batch = [random_event(chance, ids, [*tags, None, None, "another's"]) for _ in range(chance.randint(1, 8))]
            results = []
            if side == 0:
                results.append(store(pipeline, *batch))
                batch = [each for each, its in zip(batch, results[0].tallies, strict=True) if its is LEFT]
            results.append(postgres.write(lambda session, batch=batch: record(session, batch, now=times.now())))  # type: ignore[misc]
            notes = [note for result in results for note in notes_of(result)]
            tally = sum((result.tally for result in results), Tally())
            of_side.append((tally, sorted((n.event.identity[1:], n.is_new, n.deliveries) for n in notes)))
        told.append(of_side)

    assert told[0] == told[1]
    assert state(postgres, *sides[0][::3]) == state(postgres, *sides[1][::3])
    assert [each for batch in recompute.recompute(postgres, check=True) for each in batch.differences] == []


@pytest.mark.parametrize("together", [False, True])
def test_each_is_logged_as_by_the_other_statements(postgres: Database, pipeline: Pipeline, *, together: bool) -> None:
    """Its disposition, its delay, what its recipient showed before, and the rest of its note."""
    said = [make_event(kind, error_code=code) for kind, code in (("sent", 0), ("delivered", 0), ("failed", 4404))]
    said += [make_event("delivered"), make_event("received", message_id="inbound"), make_event("read")]
    found = []
    for quick in (True, False):
        store_message(postgres, ALICE, BOB, answer=Accepted(message_id=str(quick)))
        ours = [
            replace(each, message_id=f"{each.message_id}{quick}" if "in" in each.message_id else str(quick))
            for each in said
        ]
        notes = []
        for batch in [ours] if together else [[each] for each in ours]:
            result = (
                store(pipeline, *batch)
                if quick
                else postgres.write(lambda session, batch=batch: record(session, batch, now=times.now()))  # type: ignore[misc]
            )
            notes += notes_of(result)
        unknown = [(n.tag is None, n.outcome_after is None, n.delay is None, n.lag is None) for n in notes]
        known = [(n.event.type, n.is_new, n.deliveries, n.disposition, n.is_known_false, n.old_status) for n in notes]
        found.append((unknown, known))
    assert found[0] == found[1]


Way = Callable[[], object]


def test_it_waits_for_its_locks_in_the_order_of_the_other_statements(
    postgres: Database, pipeline: Pipeline, url: str
) -> None:
    """Each stops halfway, at a recipient that somebody else has locked, while the other runs into it."""
    pks = [store_message(postgres, ALICE, BOB, answer=Accepted(message_id=each))[1] for each in ("z", "a", "m")]
    batch = [make_event("sending", number, message_id=each) for each in "zam" for number in (BOB, ALICE)]
    deliver(postgres, *(replace(each, type="message-of-tomorrow") for each in batch))
    for quick_first in (True, False):
        change(postgres, "UPDATE messages SET receipts = false")
        change(postgres, "UPDATE recipients SET standing = '', status = 'pending'")
        careful = Counted(recording(*batch))
        quick: Way = lambda: store(pipeline, *reversed(batch))  # noqa: E731
        ways: list[Way] = [quick, lambda: postgres.write(careful)]  # noqa: B023
        with threads() as pool, onlooker(url) as watching:
            with locked(url, f"SELECT 1 FROM recipients WHERE message_pk = {pks[2]} FOR UPDATE"):
                begun = [pool.submit(ways[not quick_first])]
                watching.wait_for(1)
                begun.append(pool.submit(ways[quick_first]))
                watching.wait_for(2)
            for each in begun:
                each.result(PATIENCE)  # a victim of a deadlock would be refused
        assert careful.begun == 1
        assert {number: status for pk in pks for number, status in statuses(postgres, pk).items()} == {
            ALICE: "sending",
            BOB: "sending",
        }


def test_new_and_old_ways_store_the_same_contradictions_in_opposite_orders(postgres: Database, url: str) -> None:
    """As while processes of the previous version run beside those of this one."""
    ids, numbers = ("a", "m", "z"), (ALICE, BOB, CAROL)
    pks = [store_message(postgres, *numbers, answer=Accepted(message_id=each))[1] for each in reversed(ids)]
    said = [("sending", 0), ("delivered", 0), ("failed", 9902), ("failed", 4720), ("failed", 5600)]
    everything = [
        make_event(kind, number, error_code=code, message_id=each)
        for each in ids
        for number in numbers
        for kind, code in said
    ]

    def run(seed: int) -> int:
        order = everything[:]
        random.Random(seed).shuffle(order)
        lost = 0
        with Database(url) as database, Pipeline(database, STORE_PLAIN) as pipeline:
            for start in range(0, len(order), 9):
                batch = order[start : start + 9]
                if seed % 2:
                    assert LEFT not in store(pipeline, *batch).tallies  # StatementRefused if it is a victim
                else:
                    work = Counted(recording(*batch))
                    database.write(work)
                    lost += work.begun - 1
        return lost

    with threads() as pool:
        assert sum(pool.map(run, range(24))) == 0

    assert [row.deliveries for row in events(postgres)] == [24] * len(everything)
    assert {pk for pk, _ in links(postgres)} == set(pks)
    assert {status for pk in pks for status in statuses(postgres, pk).values()} == {"failed"}
    assert [each for batch in recompute.recompute(postgres, check=True) for each in batch.differences] == []


def purging(pk: int) -> Callable[[Session], object]:
    return lambda session: remove_messages(session, [pk], make_terms(QUARTER, redact=False))


def test_a_message_that_is_being_purged_is_waited_for_and_its_event_is_stored_unlinked(
    postgres: Database, url: str
) -> None:
    tag, pk = store_old_message(postgres, ALICE, days=91, message_id="known")
    purge = Held(purging(pk))
    with (
        Committer(postgres, Pipeline(postgres, STORE_PLAIN)) as committer,
        threads() as pool,
        onlooker(url) as watching,
    ):
        begun = pool.submit(postgres.write, purge)
        purge.wait()
        received = pool.submit(committer.receive, make_body(make_element(message_id="known", tag=tag)))
        watching.wait_for(1)
        purge.release()
        begun.result(PATIENCE)
        assert received.result(PATIENCE).tally == Tally(recorded=1, unlinked=1)
    assert messages(postgres) == {}
    assert links(postgres) == [(None, None)]


def test_a_purge_waits_for_an_event_that_is_being_stored_and_neither_is_a_victim(
    postgres: Database, pipeline: Pipeline, url: str
) -> None:
    """The event's statement stops at its recipient, before the check of the foreign key, which locks the message."""
    _, pk = store_old_message(postgres, ALICE, days=91, message_id="known")
    purge = Counted(purging(pk))
    with threads() as pool, onlooker(url) as watching:
        with locked(url, "SELECT 1 FROM recipients FOR UPDATE"):
            stored = pool.submit(store, pipeline, make_event(message_id="known"))
            watching.wait_for(1)
            purged = pool.submit(postgres.write, purge)
            watching.wait_for(2)
        assert stored.result(PATIENCE).tallies == [Tally(recorded=1)]
        purged.result(PATIENCE)
    assert purge.begun == 1


def test_a_pipeline_that_stores_nothing_is_tried_ever_less_often_and_at_once_again_when_it_stores(
    postgres: Database,
) -> None:
    tag, _ = store_message(postgres)
    with CountedPipeline(postgres, STORE_PLAIN) as pipeline, Committer(postgres, pipeline) as committer:
        for place in range(200):
            committer.receive(make_body(make_element("sent", ALICE, message_id=f"stranger {place}")))
        tries = pipeline.runs
        while pipeline.runs == tries:
            committer.receive(make_body(make_element("delivered", BOB, tag=tag)))
        seen = pipeline.runs
        for _ in range(10):
            committer.receive(make_body(make_element("delivered", BOB, tag=tag)))
    assert tries < 60
    assert pipeline.runs == seen + 10
    assert len(events(postgres)) == 201


class CountedPipeline(Pipeline):
    """Counts how often its statement runs."""

    runs = 0

    def run(self, *parameters: bytes) -> bytes:
        self.runs += 1
        return super().run(*parameters)
