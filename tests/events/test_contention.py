"""Many at once, in opposite orders, from threads and from processes: nobody fails, and the outcome is the fold."""

import multiprocessing
import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

from receiver.core.events import Event
from receiver.core.messages import Accepted, Refused
from receiver.core.send_status import RefusedBecause
from receiver.core.status import fold
from receiver.database.database import Database
from receiver.maintenance import recompute
from tests.support.builders import ALICE, BOB, CAROL, NOON, make_event
from tests.support.locks import PATIENCE, Counted, threads
from tests.support.stored import MINUTE, answering, events, links, recipients, recording, submit

IDS = ("a", "m", "z")
NUMBERS = (ALICE, BOB, CAROL)


def contradictions() -> list[Event]:
    """What Bandwidth might say about three messages to three recipients: everything, and its opposite."""
    said = [("sending", 0), ("delivered", 0), ("failed", 9902), ("failed", 4720), ("failed", 5600)]
    return [
        make_event(kind, number, error_code=code, message_id=message_id, occurred_at=NOON + place * MINUTE)
        for message_id in IDS
        for number in NUMBERS
        for place, (kind, code) in enumerate(said)
    ]


def batches(seed: int) -> list[list[Event]]:
    """All of them in some order, cut into batches; every fourth turns the order of its predecessor round."""
    order = contradictions()
    random.Random(seed - seed % 4).shuffle(order)
    if seed % 2:
        order.reverse()
    return [order[start : start + 9] for start in range(0, len(order), 9)]


def deliver_all(database: Database, seeds: Sequence[int]) -> int:
    """Delivers the batches; how many transactions lost to another and had to begin again."""
    works = [Counted(recording(*batch)) for seed in seeds for batch in batches(seed)]
    for work in works:
        database.write(work)
    return sum(work.begun - 1 for work in works)


def deliver_all_in_a_process(url: str, seeds: Sequence[int], start: Barrier, lost: SimpleQueue[int]) -> None:
    with Database(url) as database:
        start.wait(PATIENCE)
        lost.put(deliver_all(database, seeds))


def assert_outcome_is_the_fold(database: Database, pks: Sequence[int], *, times: int) -> None:
    for message_id, pk in zip(IDS, pks, strict=True):
        for number, row in recipients(database, pk).items():
            said = [each for each in contradictions() if (each.message_id, each.recipient) == (message_id, number)]
            winner = fold(said).winner
            assert winner is not None
            assert (row.status, row.error_code, row.occurred_at) == ("failed", winner.error_code, winner.occurred_at)
            assert row.invalid_recipient
    assert [row.deliveries for row in events(database)] == [times] * len(contradictions())
    assert {message_pk for message_pk, _ in links(database)} == set(pks)
    assert [each for batch in recompute.recompute(database, check=True) for each in batch.differences] == []


def submit_three(database: Database) -> list[int]:
    """In the opposite order of their message ids."""
    return [submit(database, *NUMBERS)[1] for _ in IDS][::-1]


def test_eight_threads_deliver_the_same_contradictions_in_opposite_orders(postgres: Database) -> None:
    """The answers come last of all, or in between, with refusals for other attempts."""
    pks = submit_three(postgres)
    together = threading.Barrier(10)
    lost: list[int] = []

    def deliver_them(seed: int) -> None:
        together.wait(PATIENCE)
        lost.append(deliver_all(postgres, [seed, seed + 4]))

    def say(answers: Sequence[Callable[..., None]]) -> None:
        together.wait(PATIENCE)
        for each in answers:
            postgres.write(each)

    accepted = [answering(pk, Accepted(message_id=each)) for each, pk in zip(IDS, pks, strict=True)]
    refused = [answering(pk, Refused(because=RefusedBecause.BANDWIDTH)) for pk in pks]
    with threads() as pool:
        begun = [pool.submit(partial(deliver_them, seed)) for seed in range(8)]
        begun += [pool.submit(partial(say, accepted)), pool.submit(partial(say, refused[::-1]))]
        for each in begun:
            each.result(PATIENCE)

    assert_outcome_is_the_fold(postgres, pks, times=16)
    assert lost == [0] * 8


def run_processes(url: str, processes: int, *, rounds: int) -> list[int]:
    """Each delivers everything ``rounds`` times, all at once; how many transactions each lost."""
    spawn = multiprocessing.get_context("spawn")
    start, lost = spawn.Barrier(processes), spawn.SimpleQueue()
    seeds = [list(range(number * 4, number * 4 + rounds)) for number in range(processes)]
    running = [spawn.Process(target=deliver_all_in_a_process, args=(url, each, start, lost)) for each in seeds]
    for each in running:
        each.start()
    for each in running:
        each.join(PATIENCE)
    assert [each.exitcode for each in running] == [0] * processes
    return [lost.get() for _ in running]


def test_three_processes_deliver_to_one_database(database: Database) -> None:
    """On SQLite too, where they wait for each other's turn: another process, `receiver recompute`, may be writing."""
    url = database.engine.url.render_as_string(hide_password=False)
    pks = submit_three(database)
    for message_id, pk in zip(IDS, pks, strict=True):
        database.write(answering(pk, Accepted(message_id=message_id)))

    lost = run_processes(url, 3, rounds=2)

    assert_outcome_is_the_fold(database, pks, times=6)
    assert lost == [0] * 3


def test_answers_and_untagged_events_race_freely_and_every_event_is_linked(postgres: Database) -> None:
    """Thirty messages; for each of them the answer and the events start together."""
    pks = [submit(postgres, *NUMBERS)[1] for _ in range(30)]
    together = threading.Barrier(3)

    def run(works: Sequence[Callable[..., object]]) -> None:
        for each in works:
            together.wait(PATIENCE)
            postgres.write(each)

    with threads() as pool:
        begun = [
            pool.submit(partial(run, [answering(pk, Accepted(message_id=f"id-{pk}")) for pk in pks])),
            pool.submit(partial(run, [recording(make_event(message_id=f"id-{pk}")) for pk in pks])),
            pool.submit(partial(run, [recording(make_event("failed", BOB, message_id=f"id-{pk}")) for pk in pks])),
        ]
        for each in begun:
            each.result(PATIENCE)

    assert sorted(links(postgres)) == sorted([(pk, "messageId") for pk in pks] * 2)
    assert {row.status for pk in pks for row in [recipients(postgres, pk)[BOB]]} == {"failed"}
