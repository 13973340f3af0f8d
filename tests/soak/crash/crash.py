"""`make crash`: kills senders between any two steps; in the end nothing is sent twice, forgotten or untrue."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from receiver.database.schema import upgrade
from tests.soak.command import begin, make_parser
from tests.soak.crash import report
from tests.soak.crash.checking import Findings, Outcome, check
from tests.soak.crash.rounds import Senders, Servers, Told, Workers, plan, play
from tests.soak.crash.scene import Life, staged
from tests.support.databases import PostgresqlDatabases, SqliteDatabases
from tests.support.postgres import PostgresServer
from tests.support.processes import faults, invoke

NewUrl = Callable[[Path], AbstractContextManager[str]]
"""Makes an empty, migrated database."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one round did, and what its checks found."""

    engine: str
    who: type[Senders]
    seed: int
    lives: Sequence[Life]
    outcome: Outcome
    reconciled: Outcome
    """The outcome after `receiver reconcile`."""
    findings: Findings
    recomputed: str
    """The last line that `receiver recompute --check` printed."""
    faults: int
    """The number of internal errors in the logs of all senders."""

    @property
    def is_good(self) -> bool:
        recomputed = f"{len(self.outcome.rows)} messages, 0 differences"
        return self.findings == Findings() and self.recomputed == recomputed and not self.faults


def crash(who: type[Senders], url: str, folder: Path, *, seed: int, times: int, told: Told) -> Result:
    """Runs one round on one database, in which senders die ``times`` times at every point."""
    engine = url.partition("+")[0].partition(":")[0]
    with staged(url, folder, seed=seed) as scene:
        senders = who(scene)
        lives = plan(senders, times=times, most_senders=1 if engine == "sqlite" else 3)
        outcome, reconciled = play(senders, lives, told=told)
        return Result(
            engine=engine,
            who=who,
            seed=seed,
            lives=lives,
            outcome=outcome,
            reconciled=reconciled,
            findings=check(outcome) + check(reconciled),
            recomputed=invoke("recompute", "--check", environment=scene.settings()).output.splitlines()[-1],
            faults=sum(faults(each.output) for each in scene.senders),
        )


@contextmanager
def _postgres() -> Iterator[NewUrl]:
    with PostgresServer(fsync=False) as server:
        upgrade(server.create_database("crash_template"))
        databases = PostgresqlDatabases(server, "crash")
        yield lambda folder: databases.new(folder, "crash_template")


@contextmanager
def _sqlite() -> Iterator[NewUrl]:
    @contextmanager
    def new(folder: Path) -> Iterator[str]:
        with SqliteDatabases().new(folder, None) as url:
            upgrade(url)
            yield url

    yield new


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="on each database, with workers and with servers")
    options = begin(parser)
    seeds = range(options.seed, options.seed + options.rounds)
    with Progress(console=Console(stderr=True)) as progress:
        results = list(_rounds(options.engine, seeds, progress))
    report.show(results)
    sys.exit(not all(each.is_good for each in results))


def _rounds(engines: Sequence[str], seeds: Sequence[int], progress: Progress) -> Iterator[Result]:
    lives = sum(len(who.points) for who in (Workers, Servers))
    task = progress.add_task("", total=len(engines) * len(seeds) * lives)
    with ExitStack() as stack:
        new = {each: stack.enter_context(_postgres() if each == "postgresql" else _sqlite()) for each in engines}
        for seed in seeds:
            for engine in engines:
                for who in (Workers, Servers):

                    def told(life: Life, text: str = f"{engine}, {who.__name__.lower()}, seed {seed}") -> None:
                        progress.update(task, advance=1, description=f"{text}: {life.point}")

                    with tempfile.TemporaryDirectory() as folder, new[engine](Path(folder)) as url:
                        yield crash(who, url, Path(folder), seed=seed, times=1, told=told)


if __name__ == "__main__":
    main()
