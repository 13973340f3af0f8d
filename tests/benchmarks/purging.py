"""What a purge costs those who call back meanwhile, and how much it purges. Speed is shown, never asserted.

    python -m tests.benchmarks.purging [--messages 60000] [--rounds 3] [--seconds 5]

A service with a history of old messages, on each database in turn, is called back without a purge, beside one that
removes and beside one that redacts, in turn, in one run; each purge is a process of its own, which is killed when the
time is over and finds what is left the next time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from receiver.core import times
from receiver.database.database import Database
from tests.benchmarks.history import History
from tests.benchmarks.load import Load, Outcome
from tests.benchmarks.workload import Store, make_events, make_request
from tests.support.loop import select
from tests.support.old_rows import DAY, store_history
from tests.support.postgres import PostgresServer
from tests.support.processes import Child, environment, serving

FOLDER = Path("build/bench")

CONNECTIONS = 4

LEFT = {
    "remove": "SELECT count(*) FROM messages WHERE pk <= {}",
    "redact": "SELECT count(*) FROM messages WHERE pk <= {} AND redacted_at IS NULL",
}


@dataclass(frozen=True)
class Run:
    """The result of a few seconds of callbacks."""

    database: str
    beside: str
    """What ran meanwhile: nothing, redact or remove."""
    per_second: float
    median: float
    """Milliseconds to the response, like the next two."""
    p99: float
    longest: float
    not_2xx: int
    purged: float
    """Messages purged per second."""


class Subject:
    """A service on one database, and the events that it has not received yet."""

    def __init__(self, name: str, url: str, folder: Path, stack: ExitStack, *, messages: int) -> None:
        self.name, self.url, self.folder, self.messages = name, url, folder, messages
        store = Store(url, plain=False)
        store.reset()
        with Database(url) as database:
            store_history(database, History(messages, end=times.now() - 15 * DAY))
            database.write(lambda session: session.execute(text("ANALYZE")))
        self.settings = environment(url)
        _, api = stack.enter_context(serving(folder, self.settings, from_command_line=True))
        self.port = urlsplit(api.url).port or 0
        self.requests = [make_request(each) for each in make_events(60_000)]

    def run(self, beside: str, *, seconds: float) -> Run:
        with self._purge(beside) if beside != "nothing" else nullcontext():
            before = self._left(beside)
            outcome = Load(self.port, self.requests).run(connections=CONNECTIONS, warm_up=0.5, seconds=seconds)
            purged = before - self._left(beside)
        self.requests = self.requests[len(outcome.answered) :]
        return self._run(beside, outcome, purged / (outcome.seconds + 0.5))

    @contextmanager
    def _purge(self, mode: str) -> Iterator[None]:
        options = ["--redact"] if mode == "redact" else []
        command = ["purge", "--older-than", "14d", "--yes", *options]
        with Child(*command, environment=self.settings, folder=self.folder, from_command_line=True) as child:
            before = self._left(mode)
            child.wait_until(lambda: self._left(mode) < before, "something to be purged")
            yield
            assert child.process.poll() is None, "there was too little to purge"
            child.kill()

    def _left(self, mode: str) -> int:
        return int(select(self.url, LEFT.get(mode, LEFT["remove"]).format(self.messages))[0][0])

    def _run(self, beside: str, outcome: Outcome, purged: float) -> Run:
        milliseconds = [each / 1e6 for each in outcome.latencies]
        return Run(
            database=self.name,
            beside=beside,
            per_second=outcome.measured / outcome.seconds,
            median=median(milliseconds),
            p99=quantiles(milliseconds, n=100)[-1],
            longest=max(milliseconds),
            not_2xx=sum(outcome.refused.values()) + outcome.dropped + outcome.unanswered,
            purged=purged,
        )


def measure(*, messages: int, rounds: int, seconds: float) -> list[Run]:
    with tempfile.TemporaryDirectory() as folder, PostgresServer(fsync=True) as server, ExitStack() as stack:
        urls = {"PostgreSQL": server.create_database("purging"), "SQLite": f"sqlite:///{folder}/purging.sqlite3"}
        subjects = [Subject(name, url, Path(folder), stack, messages=messages) for name, url in urls.items()]
        return [
            each.run(beside, seconds=seconds)
            for _ in range(rounds)
            for each in subjects
            for beside in ("nothing", "redact", "remove")
        ]


def show(runs: list[Run]) -> None:
    """Prints the medians, and their ratios to those with nothing running."""
    table = Table("database", "beside", "callbacks/s", "median ms", "p99 ms", "longest ms", "not 2xx", "purged/s")
    for database in dict.fromkeys(each.database for each in runs):
        alone: dict[str, float] = {}
        for beside in ("nothing", "redact", "remove"):
            found = [each for each in runs if (each.database, each.beside) == (database, beside)]
            cells = []
            for figure in ("per_second", "median", "p99", "longest"):
                value = median(getattr(each, figure) for each in found)
                alone.setdefault(figure, value)
                cells.append(f"{value:.1f} ({value / alone[figure]:.2f}x)")
            purged = f"{median(each.purged for each in found):.0f}"
            table.add_row(database, beside, *cells, str(sum(each.not_2xx for each in found)), purged)
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=60_000, help="of the old history (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    options = parser.parse_args()
    runs = measure(**vars(options))
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "purging.json").write_text(json.dumps([vars(options), *(each.__dict__ for each in runs)], indent=1))
    show(runs)


if __name__ == "__main__":
    main()
