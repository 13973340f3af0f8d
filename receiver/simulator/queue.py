"""The account's rate, and the queue of what exceeds it.

Bandwidth, "Rate limits" guide: a rate in messages per second, a group counting once per recipient and a long text
once per segment. What exceeds the rate is accepted and waits; what does not fit into the queue is refused whole.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from receiver.simulator.refusals import queue_full


@dataclass(frozen=True, slots=True)
class Turn:
    """When a message goes out, in seconds after it was accepted."""

    starts: float = 0.0
    ends: float = 0.0
    """When the next message may go out."""


class Queue:
    """``rate`` None: everything goes out at once."""

    def __init__(self, *, rate: float | None, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._seconds, self._clock = rate, seconds, clock
        self._lock = threading.Lock()
        self._free_at = 0.0
        """When all that was accepted has gone out."""

    @property
    def waiting(self) -> float:
        """How many messages, as the rate counts them, have not gone out yet."""
        return max(0.0, self._free_at - self._clock()) * (self._rate or 0.0)

    def admit(self, units: int, *, retry_after: int | None) -> Turn:
        """Raises Refusal 429 if they do not fit; an empty queue takes a message of any size."""
        if self._rate is None:
            return Turn()
        with self._lock:
            now = self._clock()
            starts = max(self._free_at, now)
            ends = starts + units / self._rate
            if starts > now and ends - now > self._seconds:
                raise queue_full(rate=self._rate, seconds=self._seconds, retry_after=retry_after)
            self._free_at = ends
        return Turn(starts - now, ends - now)
