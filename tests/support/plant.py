"""The service, the simulator and workers, as real processes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.loop import select
from tests.support.postgres import free_port
from tests.support.processes import (
    Api,
    Child,
    SimulatorProcess,
    environment,
    faults,
    serving,
    simulating,
    wait_for,
    working,
)

SILENT = "+12005660001"


class Plant:
    """The service, the simulator, and the workers that a test starts."""

    def __init__(self, folder: Path, settings: dict[str, str], simulator: SimulatorProcess, api: Api) -> None:
        self.folder, self.settings, self.simulator, self.api = folder, settings, simulator, api

    @contextmanager
    def workers(self, count: int, *options: str, threads: int = 4) -> Iterator[list[Child]]:
        arguments = ["--threads", str(threads), *options]
        with ExitStack() as stack:
            children = [stack.enter_context(working(self.folder, self.settings, *arguments)) for _ in range(count)]
            yield children
            assert not any(faults(child.output) for child in children)

    def queue(self, count: int, *to: str) -> list[str]:
        """Leaves that many messages to the workers; their tags."""
        return [self.api.queue(*to or (SILENT,)) for _ in range(count)]

    def states(self) -> Counter[str]:
        rows = select(self.settings["DATABASE_URL"], "SELECT send_status, count(*) FROM messages GROUP BY send_status")
        return Counter(dict(rows))

    def wait_for_states(self, **expected: int) -> None:
        wait_for(lambda: self.states() == Counter(expected), f"{expected}; it is {self.states()}")

    def sent(self) -> Counter[str]:
        """How often the simulator accepted each message."""
        return Counter(each["tag"] for each in self.simulator.recorded())


@contextmanager
def plant(folder: Path, database_url: str, *simulator_options: str, **changes: Any) -> Iterator[Plant]:
    port = free_port()
    callback_url = f"http://127.0.0.1:{port}/callbacks/bandwidth"
    with simulating(folder, *simulator_options, callback_url=callback_url) as simulator:
        settings = environment(database_url, bandwidth_api_url=simulator.api_url, bandwidth_read_timeout=3.0, **changes)
        with serving(folder, settings, port=port) as (_, api):
            yield Plant(folder, settings, simulator, api)
