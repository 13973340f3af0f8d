"""Says once that the database does not answer, and once that it does again, however many ask meanwhile."""

import threading
import time

from receiver.log import get_logger

log = get_logger(__name__)

SETTLED_SECONDS = 1.0
"""How long nothing may have failed before an outage counts as over: one of every second transaction is one outage."""


class Outage:
    """Whether the database answers this process; shared by its threads."""

    def __init__(self, database: str | None = None) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last = 0.0
        self._failed = 0

    def note_failure(self, error: str, reason: str) -> None:
        """``reason`` is the database's own, and quotes no value."""
        with self._lock:
            self._last = time.monotonic()
            self._failed += 1
            if self._since is None:
                self._since = self._last
                log.error("the database does not answer", error=error, reason=reason, database=self._database)

    def note_success(self) -> None:
        if self._since is None:  # as nearly always
            return
        with self._lock:
            now = time.monotonic()
            if self._since is None or now - self._last < SETTLED_SECONDS:
                return
            log.warning("the database answers again", seconds=round(now - self._since, 1), failed=self._failed)
            self._since, self._failed = None, 0
