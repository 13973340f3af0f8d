"""The switches as they are now, and the requests that an accident holds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from receiver.simulator.accidents import Accident, Action, Point
from receiver.simulator.switches import RequestFate, Switches


@dataclass(slots=True, eq=False)
class Held:
    """A request that stands still, or goes on slowly, until ``goes_on`` is set."""

    at: Point
    goes_on: threading.Event = field(default_factory=threading.Event)
    do: Action | None = None
    """What ends its connection then; None: nothing."""


class Switchboard:
    """Hands every request to send its switches, and holds the requests that are to be held."""

    def __init__(self, switches: Switches) -> None:
        self._lock = threading.Lock()
        self._held: list[Held] = []
        self._stopped = False
        self._set(switches)

    def _set(self, switches: Switches) -> None:
        self._switches, self._left = switches, switches.times

    @property
    def switches(self) -> Switches:
        """What goes wrong from now on; to set it releases every request that is held."""
        return self._switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        with self._lock:
            self._set(switches)
        self.release()

    @property
    def awaits_connections(self) -> bool:
        """Whether the next request to send comes to grief before it is read."""
        accident = self._switches.accident
        return accident is not None and accident.at is Point.CONNECTED

    def take(self) -> Switches:
        """The switches for one request to send; it counts."""
        with self._lock:
            if self._left == 0:
                return replace(self._switches, request=RequestFate.ACCEPT, accident=None)
            if self._left:
                self._left -= 1
            return self._switches

    @property
    def held(self) -> tuple[Point, ...]:
        """Where requests are held, the longest held first."""
        with self._lock:
            return tuple(each.at for each in self._held)

    def hold(self, accident: Accident) -> Action | None:
        """Returns once the request may go on: what is to end its connection, or None."""
        with self.holding(accident.at) as held:
            held.goes_on.wait(accident.seconds)
        return held.do

    @contextmanager
    def holding(self, at: Point) -> Iterator[Held]:
        """Counts a request among those that are held, until it is released or the block ends."""
        held = Held(at)
        with self._lock:
            if self._stopped:
                held.goes_on.set()
            else:
                self._held.append(held)
        try:
            yield held
        finally:
            with self._lock:
                if held in self._held:
                    self._held.remove(held)

    def release(self, do: Action | None = None) -> int:
        """Lets all held requests go on, or ends their connections; how many there were."""
        with self._lock:
            released, self._held = self._held, []
            for each in released:
                each.do = do
                each.goes_on.set()
        return len(released)

    def stop(self) -> None:
        """Releases what is held, and holds nothing any more."""
        with self._lock:
            self._stopped = True
        self.release()
