"""`make torture`: a stream of events, a seeded nemesis, and at the end nothing lost and nothing wrong."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from rich.console import Console
from rich.progress import Progress

from receiver.core import times
from receiver.core.messages import Accepted
from receiver.errors import StorageUnavailable
from receiver.storage.database import Database, Session
from receiver.storage.outbox import add_submitting, record_answer
from tests.builders import make_message
from tests.postgres import PostgresServer
from tests.processes import environment, run, wait_for
from tests.torture import report
from tests.torture.checking import Findings, check, read_stored
from tests.torture.client import Bandwidth, Delivery
from tests.torture.faults import Scene
from tests.torture.nemesis import Injected, Nemesis
from tests.torture.servers import Server
from tests.torture.storages import Postgres, Sqlite, Storage
from tests.torture.stream import Sent, Stream

ENGINES = ("postgresql", "sqlite")
SERVERS = 2
TOGETHER = 100
"""Messages stored in one transaction before the start."""


@dataclass(frozen=True)
class Plan:
    """How long and how hard; ``longest`` is that of the longest fault, in seconds."""

    seed: int
    seconds: float
    per_second: float
    longest: float


@dataclass(frozen=True)
class Result:
    """What was done on one engine, and what was found."""

    engine: str
    plan: Plan
    injected: Sequence[Injected]
    bandwidth: Bandwidth
    deliveries: Sequence[Delivery]
    """Those of the client and of the nemesis."""
    findings: Findings
    recomputed: str
    """What `receiver recompute --check` said last."""
    tracebacks: int

    @property
    def is_good(self) -> bool:
        recovered = all(each.recovered_after is not None for each in self.injected)
        complaints = self.findings.lost or self.findings.wrong or self.bandwidth.unacknowledged or self.tracebacks
        return recovered and not complaints and self.recomputed.endswith(" 0 differences")


def torture(engine: str, plan: Plan, folder: Path, *, told: Callable[[Injected], None]) -> Result:
    """Everything on one engine; ``told`` hears of every fault."""
    stream = Stream(seed=plan.seed, per_second=plan.per_second, seconds=plan.seconds)
    with ExitStack() as stack:
        storage = stack.enter_context(_storage(engine, folder, fsync=plan.longest > 5))
        database = stack.enter_context(Database(storage.url))
        keys = _store_messages(database, stream.messages)
        settings = environment(storage.url)
        servers = [stack.enter_context(Server(folder, settings)) for _ in range(SERVERS)]
        client = Bandwidth([each.port for each in servers], stream.callbacks, seed=plan.seed)
        nemesis = Nemesis(Scene(servers, client, storage, Random(plan.seed), plan.longest))
        threads = stack.enter_context(ThreadPoolExecutor(2))
        stack.callback(client.finish)
        posting = threads.submit(asyncio.run, client.post_all())
        answering = threads.submit(_record_answers, database, stream.messages, keys)
        injected = []
        for each in nemesis.torment(seconds=plan.seconds):
            injected.append(each)
            told(each)
        client.finish()
        answering.result()
        posting.result()
        deliveries = [*client.deliveries, *nemesis.probes]
        findings = check(stream.messages, deliveries, read_stored(database))
        recomputed = run("recompute", "--check", environment=settings, folder=folder).stdout.splitlines()[-1]
        tracebacks = sum(child.output.count("Traceback") for server in servers for child in server.children)
        return Result(engine, plan, injected, client, deliveries, findings, recomputed, tracebacks)


@contextmanager
def _storage(engine: str, folder: Path, *, fsync: bool) -> Iterator[Storage]:
    if engine == "sqlite":
        yield Sqlite(folder)
        return
    with PostgresServer(fsync=fsync) as server:
        yield Postgres(server)


def _store_messages(database: Database, messages: Sequence[Sent]) -> list[int]:
    """As the application has them before Bandwidth is called; their keys."""
    now = times.whole_millisecond(times.now())

    def store(session: Session, sent: Sent) -> int:
        deadline, overdue_at = now + timedelta(seconds=60), now + timedelta(hours=27)
        message = make_message(*sent.to)
        pk = add_submitting(session, message, tag=sent.tag, now=now, deadline=deadline, overdue_at=overdue_at)
        if not sent.answered_at:
            record_answer(session, pk, attempt=1, answer=Accepted(message_id=sent.message_id), now=now)
        return pk

    keys: list[int] = []
    for start in range(0, len(messages), TOGETHER):
        some = messages[start : start + TOGETHER]
        keys += database.write(lambda session, some=some: [store(session, sent) for sent in some])
    return keys


def _record_answers(database: Database, messages: Sequence[Sent], keys: Sequence[int]) -> None:
    """Bandwidth's answers, each in its time, whatever befalls the database meanwhile."""
    begun = time.monotonic()
    late = sorted(
        (sent.answered_at, pk, sent.message_id) for sent, pk in zip(messages, keys, strict=True) if sent.answered_at
    )
    for due, pk, message_id in late:
        time.sleep(max(begun + due - time.monotonic(), 0))
        wait_for(
            lambda pk=pk, message_id=message_id: _is_recorded(database, pk, message_id), "an answer to be recorded"
        )


def _is_recorded(database: Database, pk: int, message_id: str) -> bool:
    answer = Accepted(message_id=message_id)
    try:
        database.write(lambda session: record_answer(session, pk, attempt=1, answer=answer, now=times.now()))
    except StorageUnavailable:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="drawn unless given, and printed")
    parser.add_argument("--seconds", type=float, default=90.0, help="of each database")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="both unless given")
    options = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # the report says what went wrong
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was started ends, too
    seed = options.seed if options.seed is not None else Random().randrange(10**6)
    plan = Plan(seed=seed, seconds=options.seconds, per_second=300.0, longest=14.0)
    results = [_watched(engine, plan) for engine in options.engine or ENGINES]
    report.show(results)
    sys.exit(not all(each.is_good for each in results))


def _watched(engine: str, plan: Plan) -> Result:
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(engine, total=None)

        def told(injected: Injected) -> None:
            progress.console.print(report.sentence(injected), highlight=False, markup=False)
            progress.update(task, advance=1, description=f"{engine}, last: {injected.name}")

        return torture(engine, plan, Path(folder), told=told)


if __name__ == "__main__":
    main()
