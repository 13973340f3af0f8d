"""How often GET /messages may be asked. Bandwidth counts by source address; here everything comes from this machine."""

import math
import threading
from collections import deque
from time import monotonic

from receiver.simulator.refusals import asked_too_often


class Quota:
    """At most ``most`` requests in any ``seconds``."""

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._asked: deque[float] = deque()

    def use(self) -> None:
        """Counts a request; raises Refusal 429 with the time until the next one is answered."""
        with self._lock:
            now = monotonic()
            while self._asked and self._asked[0] <= now - self._seconds:
                self._asked.popleft()
            if len(self._asked) >= self._most:
                raise asked_too_often(retry_after=math.ceil(self._asked[0] + self._seconds - now))
            self._asked.append(now)
