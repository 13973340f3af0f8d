"""The committer: stores all waiting callbacks in one transaction; they are answered after its commit.

A commit costs the same for one event as for a hundred. So one thread of the process, the committer's, stores at once
all callbacks that arrived during its previous transaction. A callback is done after the commit of its last element.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, repeat
from queue import Empty, SimpleQueue
from typing import Self

from receiver import metrics
from receiver.bandwidth import callbacks
from receiver.bandwidth.callbacks import Element
from receiver.database.database import Database
from receiver.database.pipeline import Pipeline, StatementRefused
from receiver.errors import StorageRefused, StorageUnavailable, locate
from receiver.events import notes
from receiver.events.store import LEFT, Tally, record, store_plain
from receiver.log import get_logger

log = get_logger(__name__)

PORTION = 1000
"""Elements per transaction. Every callback that was ever seen holds one element; of one that holds very many, a portion
is stored, and others have their turn before the next. Tens of thousands fit into WAIT_SECONDS."""

WAITING_CALLBACKS, WAITING_BYTES = 2000, 16 * 2**20
"""How much may wait for its commit. Beyond this limit we answer 503 immediately instead of timing out."""

LINGER_SECONDS = 0.005
"""How long the committer waits for as many callbacks as it stored the last time; after a single one it never waits."""

MOST_PASSES = 16
"""The most batches in a row that pass over the pipeline. Where it never stores anything, because no message id is
known, trying it for every batch takes up to a quarter more CPU time."""

WAIT_SECONDS = 8
"""How long a callback may wait for its commit; Bandwidth gives it 10 s in all."""


@dataclass(slots=True, eq=False)
class PendingCallback:
    """A callback on its way into the database."""

    size: int
    """Bytes of its body."""
    done: Callable[["PendingCallback"], object]
    """Is called once, by the committer's thread, when all is durable or failed; must neither wait nor raise."""
    elements: Sequence[Element] = ()
    stored: int = 0
    """How many of its elements are durable."""
    tally: Tally = Tally()  # noqa: RUF009 - it is frozen
    """What became of these."""
    error: Exception | None = None


class Committer:
    """Stores the callbacks that all threads of this process receive. The first callback starts its own thread."""

    def __init__(self, database: Database, pipeline: Pipeline | None = None) -> None:
        """``pipeline`` runs STORE_PLAIN; without it, all events are stored with several statements."""
        self._database = database
        self._pipeline = pipeline
        self._waiting: deque[PendingCallback] = deque()
        self._backlog: deque[PendingCallback] = deque()
        """What the committer's thread has taken over, and no other thread touches."""
        self._taken = self._bytes = 0
        """How many callbacks are not done, and the bytes of their bodies."""
        self._wanted = 1
        """How many must wait before the committer is woken."""
        self._together = 1
        """How many were stored together the last time."""
        self._in_vain = 0
        """How many times in a row the pipeline stored nothing."""
        self._passes = 0
        """How many batches will pass over the pipeline before it is tried again."""
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, body: bytes, done: Callable[[PendingCallback], object]) -> None:
        """Takes a callback, and calls ``done`` with it after the commit.

        Raises NotJSON when the body has no elements at all, and StorageUnavailable when too much waits already:
        Bandwidth sends it again for 24 hours after any response but 2xx, so nothing is lost by refusing it.
        """
        callback = PendingCallback(len(body), done)
        with self._changed:
            if self._taken >= WAITING_CALLBACKS or self._bytes + callback.size > WAITING_BYTES:
                raise StorageUnavailable("Too many callbacks are waiting; try again.")
            self._taken += 1
            self._bytes += callback.size
        try:
            callback.elements = callbacks.parse(body)
            with self._changed:
                if self._closing:
                    raise StorageUnavailable("The service is stopping; try again.")
                self._waiting.append(callback)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
                    self._thread.start()
                if len(self._waiting) >= self._wanted:
                    self._changed.notify()
        except Exception:
            self._leave([callback])
            raise

    def receive(self, body: bytes) -> PendingCallback:
        """Like submit, but waits for the commit.

        Raises StorageUnavailable also when that takes longer than WAIT_SECONDS; the events are stored all the same, as
        soon as they can be, and count as duplicates when they come again.
        """
        finished: SimpleQueue[PendingCallback] = SimpleQueue()
        self.submit(body, finished.put)
        try:
            callback = finished.get(timeout=WAIT_SECONDS)
        except Empty as error:
            raise StorageUnavailable from error
        if callback.error:
            raise callback.error
        return callback

    def close(self) -> None:
        """Refuses what comes from now on, and returns when everything that was taken is done."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while batch := self._next_batch():
            metrics.set_waiting(self._taken)
            elements = [element for _, portion in batch for element in portion]
            outcomes: Iterator[Tally | Exception]
            try:
                outcomes = iter(self._store(elements))
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must learn of it
                outcomes = repeat(error)
            done = []
            for callback, portion in batch:
                for outcome in islice(outcomes, len(portion)):
                    if isinstance(outcome, Exception):
                        callback.error = callback.error or outcome
                    else:
                        callback.tally = callback.tally + outcome if callback.stored else outcome
                        callback.stored += 1
                if callback.error or callback.stored == len(callback.elements):
                    callback.done(callback)
                    done.append(callback)
                else:
                    self._backlog.append(callback)
            self._leave(done)
            metrics.set_waiting(self._taken)
        if self._pipeline is not None:
            self._pipeline.release()
        metrics.write_counts()

    def _next_batch(self) -> list[tuple[PendingCallback, Sequence[Element]]]:
        """What one transaction takes of everything that waits: callbacks, and of each the elements that are next.

        Waits until there is something; returns nothing when there will be no more.
        """
        with self._changed:
            if not self._backlog:
                self._wait_for(1, None)
                # Clients that just got their responses may send the next; the first alone would make the others wait.
                self._wait_for(self._together, LINGER_SECONDS)
            # All at once: adding another meanwhile would have to wait for this thread.
            self._backlog.extend(self._waiting)
            self._waiting.clear()
        batch, room = [], PORTION
        while self._backlog and room > 0:
            callback = self._backlog.popleft()
            portion = callback.elements[callback.stored : callback.stored + room]
            room -= max(len(portion), 1)
            batch.append((callback, portion))
        self._together = len(batch)
        return batch

    def _wait_for(self, number: int, seconds: float | None) -> None:
        """Waits until so many wait, the time is over, or the committer is closing."""
        self._wanted = number
        self._changed.wait_for(lambda: len(self._waiting) >= number or self._closing, seconds)

    def _leave(self, callbacks: Sequence[PendingCallback]) -> None:
        """Gives back the room that these took."""
        with self._changed:
            self._taken -= len(callbacks)
            self._bytes -= sum(callback.size for callback in callbacks)

    def _store(self, elements: Sequence[Element]) -> list[Tally | Exception]:
        """What became of each element; for one that was not stored, the error."""
        tallies = [LEFT] * len(elements)
        if self._passes:
            self._passes -= 1
        elif self._pipeline is not None:
            begun = time.monotonic()
            try:
                result = store_plain(self._pipeline, elements, now=datetime.now(UTC))
            except StatementRefused as error:
                log.warning("statement refused", sqlstate=str(error))
            else:
                notes.publish(result, seconds=time.monotonic() - begun)
                tallies = result.tallies
                self._in_vain = 0 if result.arrivals else self._in_vain + 1
                self._passes = min(self._in_vain // 4, MOST_PASSES)
        rest = [element for element, tally in zip(elements, tallies, strict=True) if tally is LEFT]
        if not rest and elements:
            return [*tallies]
        if self._pipeline is not None:
            self._pipeline.release()
        others = iter(self._store_others(rest))
        return [next(others) if tally is LEFT else tally for tally in tallies]

    def _store_others(self, elements: Sequence[Element]) -> Sequence[Tally | Exception]:
        """Stores elements of every kind.

        One bad element does no harm to its neighbours: elements that cannot be stored together are halved until they
        can, or until one is left.
        """
        begun = time.monotonic()
        try:
            result = self._database.write(lambda session: record(session, elements, now=datetime.now(UTC)))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must learn of it
            if isinstance(error, StorageUnavailable) and not isinstance(error, StorageRefused):
                return [error] * len(elements)
            if len(elements) == 1:
                log.error("an element cannot be stored", error=type(error).__name__, place=locate(error))  # noqa: TRY400
                return [error]
            half = len(elements) // 2
            return [*self._store_others(elements[:half]), *self._store_others(elements[half:])]
        notes.publish(result, seconds=time.monotonic() - begun)
        return result.tallies
