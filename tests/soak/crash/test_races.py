"""Two senders want the same message: whatever their timing, it is sent once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.crash.doom import Point
from tests.soak.crash.scene import Scene, staged
from tests.support.processes import Child, wait_for

SILENT = "+12005660001"


@pytest.fixture
def scene(database_url: str, tmp_path: Path) -> Iterator[Scene]:
    with staged(database_url, tmp_path, seed=1) as scene:
        yield scene


@pytest.fixture
def on_postgres(postgres_url: str, tmp_path: Path) -> Iterator[Scene]:
    with staged(postgres_url, tmp_path, seed=1) as scene:
        yield scene


def queue(scene: Scene, count: int = 1) -> list[str]:
    """Queues messages without events, so that only a response makes them accepted."""
    return [scene.queue(SILENT, reference="") for _ in range(count)]


def wait_for_statuses(scene: Scene, expected: dict[str, str]) -> None:
    wait_for(lambda: expected.items() <= scene.statuses().items(), f"{expected}")


def frozen_worker(scene: Scene, point: Point) -> Child:
    worker = scene.start("worker", point=point, how=signal.SIGSTOP)
    wait_for(lambda: worker.is_frozen, f"the worker to be frozen: {point}")
    return worker


def test_workers_whose_leases_are_always_over_send_every_message_once(scene: Scene) -> None:
    """All workers claim the same messages again and again; only the fence keeps them apart."""
    tags = queue(scene, 30)
    workers = [scene.start("worker", "--threads", "4") for _ in range(3)]

    def nothing_is_queued() -> bool:
        scene.end_leases()
        return "queued" not in scene.statuses().values()

    wait_for(nothing_is_queued, "everything to be submitted")
    for each in workers:
        each.end()

    assert scene.record() == dict.fromkeys(tags, 1)
    assert scene.statuses() == dict.fromkeys(tags, "accepted")


def test_a_request_that_outlasts_its_lease_and_its_deadline_is_not_made_again(scene: Scene) -> None:
    tags = queue(scene, 2)
    scene.simulator.switch(accident={"at": "accepted", "do": "hold"})
    slow = scene.start("worker", "--threads", "2")
    scene.simulator.wait_held(2)
    scene.let_time_pass()

    other = scene.start("worker")
    wait_for_statuses(scene, dict.fromkeys(tags, "unknown"))
    scene.simulator.release()
    wait_for_statuses(scene, dict.fromkeys(tags, "accepted"))
    for each in (slow, other):
        each.end()

    assert scene.record() == dict.fromkeys(tags, 1)


@pytest.mark.parametrize(("point", "meanwhile"), [(Point.CLAIMED, "accepted"), (Point.SUBMITTED, "unknown")])
def test_a_frozen_worker_and_the_one_that_takes_over_send_a_message_once(
    scene: Scene, point: Point, meanwhile: str
) -> None:
    """Before the fence the other worker sends it, and the frozen one sees that; after the fence the other does not."""
    (tag,) = queue(scene)
    frozen = frozen_worker(scene, point)
    scene.let_time_pass()
    other = scene.start("worker")
    wait_for_statuses(scene, {tag: meanwhile})
    other.end()

    frozen.thaw()
    (later,) = queue(scene)
    wait_for_statuses(scene, {tag: "accepted", later: "accepted"})
    frozen.end()

    assert scene.record() == {tag: 1, later: 1}


def test_what_another_worker_is_claiming_at_this_moment_is_passed_over(on_postgres: Scene) -> None:
    scene = on_postgres
    (tag,) = queue(scene)
    frozen = frozen_worker(scene, Point.CLAIMING)
    other = scene.start("worker")
    (later,) = queue(scene)
    wait_for_statuses(scene, {tag: "queued", later: "accepted"})

    frozen.thaw()
    wait_for_statuses(scene, {tag: "accepted"})
    for each in (frozen, other):
        each.end()

    assert scene.record() == {tag: 1, later: 1}


def test_a_worker_frozen_while_it_begins_leaves_the_message_to_who_is_sending_it(on_postgres: Scene) -> None:
    """If it had a transaction open, PostgreSQL ends its session; in any case another sender's attempt is stored."""
    scene = on_postgres
    (tag,) = queue(scene)
    frozen = frozen_worker(scene, Point.SUBMITTING)
    scene.wait_until_idle()
    scene.let_time_pass()
    scene.simulator.switch(accident={"at": "accepted", "do": "hold"}, times=1)
    other = scene.start("worker")
    scene.simulator.wait_held()

    frozen.thaw()
    frozen.end()  # once it has noticed
    scene.end_leases()
    (later,) = queue(scene)
    wait_for_statuses(scene, {later: "accepted"})  # so the other has asked the queue once more
    scene.simulator.release()
    wait_for_statuses(scene, {tag: "accepted"})
    other.end()

    assert scene.record() == {tag: 1, later: 1}
