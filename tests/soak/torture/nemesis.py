"""Draws faults, and waits after each until the service has recovered by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count, repeat

import requests

from tests.soak.torture.client import TIMEOUT, UNREAD, Delivery
from tests.soak.torture.faults import ON_EITHER, Fault, Scene
from tests.soak.torture.stream import make_probe
from tests.support.builders import CALLBACK_AUTH
from tests.support.processes import wait_for

RECOVERY = 60.0
"""Seconds that a recovery may take."""

PROBES = 4
"""New connections to each server that must all get a response: its processes share them by chance."""


@dataclass(frozen=True)
class Injected:
    """A fault that happened."""

    name: str
    did: str
    recovered_after: float | None
    """Seconds after the fault was undone; None if that took too long, or if the fault could not happen."""


@dataclass
class Nemesis:
    scene: Scene
    probes: list[Delivery] = field(default_factory=list)
    """The callbacks that it posted itself, to see whether the service has recovered."""
    _numbers: Iterator[int] = field(default_factory=count)

    def torment(self, *, seconds: float) -> Iterator[Injected]:
        """Causes every fault once, in random order, and again until the time is up or a recovery fails."""
        until = time.monotonic() + seconds
        faults = list((ON_EITHER | self.scene.storage.faults()).items())
        rounds = (self.scene.chance.sample(faults, len(faults)) for _ in repeat(None))
        for number, (name, fault) in enumerate(chain.from_iterable(rounds)):
            if number >= len(faults) and time.monotonic() > until:
                return
            injected = self._inject(name, fault)
            yield injected
            if injected.recovered_after is None:
                return
            time.sleep(self.scene.longest / 10)  # in which the stream goes on undisturbed

    def _inject(self, name: str, fault: Fault) -> Injected:
        try:
            did = fault(self.scene)
            undone = time.monotonic()
            wait_for(self._has_recovered, f"recovery from: {name}", seconds=RECOVERY)
        except AssertionError as error:
            return Injected(name, str(error), None)
        return Injected(name, did, time.monotonic() - undone)

    def _has_recovered(self) -> bool:
        return all(self._is_stored(server.port) for server in self.scene.servers for _ in range(PROBES))

    def _is_stored(self, port: int) -> bool:
        """Whether a new callback is acknowledged."""
        probe = Delivery(make_probe(next(self._numbers)))
        probe.attempts += 1
        self.probes.append(probe)
        try:
            answer = requests.post(
                f"http://127.0.0.1:{port}/callbacks/bandwidth",
                data=probe.callback.body,
                auth=CALLBACK_AUTH,
                timeout=TIMEOUT,
            )
        except requests.RequestException:
            probe.possible += 1
            return False
        probe.possible += answer.status_code not in UNREAD
        probe.acknowledged += answer.ok
        return answer.ok
