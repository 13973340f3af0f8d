"""`make torture`: a stream of events and a seeded series of faults; in the end nothing is lost and nothing wrong."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.console import Console
from rich.progress import Progress

from receiver.database.database import Database
from tests.soak.command import begin, make_parser
from tests.soak.torture import report
from tests.soak.torture.checking import Findings, Stored, check, read_stored
from tests.soak.torture.client import Bandwidth, Delivery
from tests.soak.torture.faults import Scene
from tests.soak.torture.nemesis import Injected, Nemesis
from tests.soak.torture.sending import record_late_answers, store_messages
from tests.soak.torture.servers import Server
from tests.soak.torture.storages import Postgres, Sqlite, Storage
from tests.soak.torture.stream import Sent, Stream
from tests.support.postgres import PostgresServer
from tests.support.processes import environment, faults, run

SERVERS = 2


@dataclass(frozen=True)
class Plan:
    """How long and how hard to torture; ``longest`` is the length of the longest fault, in seconds."""

    seed: int
    seconds: float
    per_second: float
    longest: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a torture did on one engine, and what its checks found."""

    engine: str
    plan: Plan
    messages: int
    injected: Sequence[Injected]
    answers: Counter[str]
    """The number of responses that the client got, by their text."""
    deliveries: Sequence[Delivery]
    """The callbacks that were posted at least once, by the client and by the nemesis."""
    unacknowledged: int
    """The number of the client's callbacks without an acknowledgement at the end."""
    stored: int
    """The number of different events and unreadable elements."""
    findings: Findings
    recomputed: str
    """The last line that `receiver recompute --check` printed."""
    faults: int
    """The number of internal errors in the servers' logs."""

    @property
    def is_good(self) -> bool:
        recovered = all(each.recovered_after is not None for each in self.injected)
        complaints = self.findings.lost or self.findings.wrong or self.unacknowledged or self.faults
        return recovered and not complaints and self.recomputed == f"{self.messages} messages, 0 differences"


def torture(engine: str, plan: Plan, folder: Path, *, told: Callable[[Injected], None]) -> Result:
    """Tortures one engine and checks the end; ``told`` is called after every fault."""
    stream = Stream(seed=plan.seed, per_second=plan.per_second, seconds=plan.seconds)
    with ExitStack() as stack:
        storage = stack.enter_context(_storage(engine, folder))
        database = stack.enter_context(Database(storage.url))
        settings = environment(storage.url)
        servers = [stack.enter_context(Server(folder, settings)) for _ in range(SERVERS)]
        client = Bandwidth([each.port for each in servers], stream.callbacks, Random(plan.seed))
        nemesis = Nemesis(Scene(servers, client, storage, Random(plan.seed), plan.longest))
        injected = _torment(database, stream, client, nemesis, plan.seconds, told)
        deliveries = [each for each in (*client.deliveries, *nemesis.probes) if each.attempts]
        stored = read_stored(database)
        findings = check(stream.messages, deliveries, stored)
        findings.wrong += _api_differences(servers, stream.messages[:: len(stream.messages) // 20 + 1], stored)
        return Result(
            engine=engine,
            plan=plan,
            messages=len(stream.messages),
            injected=injected,
            answers=client.answers,
            deliveries=deliveries,
            unacknowledged=sum(each.attempts > 0 and not each.acknowledged for each in client.deliveries),
            stored=len(stored.events) + len(stored.unreadable),
            findings=findings,
            recomputed=run("recompute", "--check", environment=settings, folder=folder).stdout.splitlines()[-1],
            faults=sum(faults(child.output) for server in servers for child in server.children),
        )


def _torment(
    database: Database,
    stream: Stream,
    client: Bandwidth,
    nemesis: Nemesis,
    seconds: float,
    told: Callable[[Injected], None],
) -> list[Injected]:
    """Runs callbacks, late responses and faults at the same time; returns when all callbacks are acknowledged."""
    injected = []
    keys = store_messages(database, stream.messages)
    stopping = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        try:
            posting = threads.submit(asyncio.run, client.post_all())
            answering = threads.submit(record_late_answers, database, stream.messages, keys, stopping)
            for each in nemesis.torment(seconds=seconds):
                injected.append(each)
                told(each)
        finally:
            client.finish()
            stopping.set()
        answering.result()
        posting.result()
    return injected


def _api_differences(servers: Sequence[Server], messages: Sequence[Sent], stored: Stored) -> Iterator[str]:
    """Where a server's API differs from the support views about these messages, in sentences."""
    shown = {(row["tag"], row["recipient"]): (row["status"], row["error_code"]) for row in stored.recipients}
    for server in servers:
        for sent in messages:
            for each in server.api.message(sent.tag)["recipients"]:
                if (each["status"], each["errorCode"]) != shown[sent.tag, each["to"]]:
                    yield f"port {server.port} shows {each} for {sent.tag}"


@contextmanager
def _storage(engine: str, folder: Path) -> Iterator[Storage]:
    if engine == "sqlite":
        yield Sqlite(folder)
        return
    with PostgresServer() as server:
        yield Postgres(server)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="of each database")
    options = begin(parser)
    plan = Plan(seed=options.seed, seconds=options.seconds, per_second=300.0, longest=14.0)
    results = [_watched(engine, plan) for engine in options.engine]
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
