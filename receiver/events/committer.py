"""Receives callbacks: bytes to events, one transaction for everything that waits, and only then the answers.

A commit costs the same for one event as for a hundred, so one thread of the process, the committer, stores whatever
the others brought while it stored what was there before. A callback is answered after the commit that holds all of it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Self

from receiver import metrics
from receiver.bandwidth import callbacks
from receiver.bandwidth.callbacks import Element
from receiver.core import times
from receiver.database.database import Database
from receiver.errors import StorageRefused, StorageUnavailable, place
from receiver.events.notes import Recorded, remark
from receiver.events.store import Fate, Tally, record
from receiver.log import get_logger

log = get_logger(__name__)

PORTION = 1000
"""Elements per transaction. Every callback that was ever seen holds one element; of one that holds very many, a
portion that is stored is stored, and the others have their turn in between. Tens of thousands fit into WAIT_SECONDS."""

WAITING_CALLBACKS, WAITING_BYTES = 2000, 16 * 2**20
"""How much may wait for its answer. What comes on top is told to come again at once: that is quicker than in vain."""

LINGER_SECONDS = 0.005
"""How long the committer waits for as many callbacks as it stored the last time; after a single one it never waits."""

WAIT_SECONDS = 8
"""How long a callback may wait for its commit; Bandwidth gives it 10 s in all."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A callback whose elements are durable."""

    tally: Tally
    elements: Sequence[Element]


Answer = Stored | Exception


@dataclass(slots=True, eq=False)
class Waiting:
    """A callback of which not everything is stored yet."""

    size: int
    """Bytes of its body."""
    answer: Callable[[Answer], object]
    """Is called once, by the committer's thread, and must neither wait nor fail."""
    elements: Sequence[Element] = ()
    fates: list[Fate] = field(default_factory=list)
    """Of the elements that are stored."""

    def portion(self, room: int) -> Sequence[Element]:
        return self.elements[len(self.fates) : len(self.fates) + room]


class Committer:
    """Stores what all threads of this process receive. The committer's own thread is started by the first of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Waiting] = deque()
        self._backlog: deque[Waiting] = deque()
        """What the committer's thread has taken over, and nobody else touches."""
        self._unanswered = self._bytes = 0
        self._wanted = 1
        """How many must wait before the committer is woken."""
        self._together = 1
        """How many were stored together the last time."""
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, body: bytes, answer: Callable[[Answer], object]) -> None:
        """Takes a callback; ``answer`` hears what became of its elements, after the commit.

        Raises NotJSON when the body has no elements at all, and StorageUnavailable when too much waits already:
        Bandwidth sends it again for 24 hours after any answer but 2xx, so nothing is lost by saying so.
        """
        callback = Waiting(len(body), answer)
        with self._changed:
            if self._unanswered >= WAITING_CALLBACKS or self._bytes + callback.size > WAITING_BYTES:
                raise StorageUnavailable("Too many callbacks are waiting; try again.")
            self._unanswered += 1
            self._bytes += callback.size
        try:
            callback.elements = callbacks.parse(body)
            self._add(callback)
        except Exception:
            self._leave([callback])
            raise

    def _add(self, callback: Waiting) -> None:
        with self._changed:
            if self._closing:
                raise StorageUnavailable("The service is stopping; try again.")
            self._waiting.append(callback)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
                self._thread.start()
            if len(self._waiting) >= self._wanted:
                self._changed.notify()

    def receive(self, body: bytes) -> Stored:
        """Like submit, and waits for it. Raises StorageUnavailable also when that takes longer than WAIT_SECONDS; its
        events are stored all the same, as soon as they can be, and those that come again are duplicates."""
        answers: SimpleQueue[Answer] = SimpleQueue()
        self.submit(body, answers.put)
        try:
            answer = answers.get(timeout=WAIT_SECONDS)
        except Empty as error:
            raise StorageUnavailable from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Refuses what comes from now on, and returns when everything that was taken is answered."""
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
            metrics.waiting(self._unanswered)
            outcomes: Sequence[Fate | Exception]
            try:
                outcomes = self._store([element for _, portion in batch for element in portion])
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                outcomes = [error] * sum(len(portion) for _, portion in batch)
            remaining = iter(outcomes)
            answered: list[Waiting] = []
            for callback, portion in batch:
                is_answered = self._told(callback, list(islice(remaining, len(portion))))
                (answered if is_answered else self._backlog).append(callback)
            self._leave(answered)
            metrics.waiting(self._unanswered)

    def _next_batch(self) -> list[tuple[Waiting, Sequence[Element]]]:
        """Everything that waits, as far as one transaction takes it; waits for something. Empty: there is no more."""
        with self._changed:
            if not self._backlog:
                self._wait_for(1, None)
                # Who was answered just now may be about to send the next; alone, the first would make all others wait.
                self._wait_for(self._together, LINGER_SECONDS)
            # All at once: whoever wants to add another meanwhile would have to wait for this thread.
            self._backlog.extend(self._waiting)
            self._waiting.clear()
        batch = list(self._take(PORTION))
        self._together = len(batch)
        return batch

    def _wait_for(self, number: int, seconds: float | None) -> None:
        self._wanted = number
        self._changed.wait_for(lambda: len(self._waiting) >= number or self._closing, seconds)

    def _take(self, room: int) -> Iterator[tuple[Waiting, Sequence[Element]]]:
        while self._backlog and room > 0:
            callback = self._backlog.popleft()
            portion = callback.portion(room)
            room -= max(len(portion), 1)
            yield callback, portion

    def _leave(self, callbacks: Sequence[Waiting]) -> None:
        with self._changed:
            self._unanswered -= len(callbacks)
            self._bytes -= sum(callback.size for callback in callbacks)

    def _told(self, callback: Waiting, outcomes: Sequence[Fate | Exception]) -> bool:
        """Whether it has its answer now."""
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                callback.answer(outcome)
                return True
            callback.fates.append(outcome)
        is_stored = len(callback.fates) == len(callback.elements)
        if is_stored:
            callback.answer(Stored(Tally.of(callback.fates), callback.elements))
        return is_stored

    def _store(self, elements: Sequence[Element]) -> list[Fate | Exception]:
        """The fate of each element; for one that the database refuses, or that breaks the program, the error.

        Whatever is wrong with one element does no harm to its neighbours: what cannot be stored together is halved
        until it can, or is that one element.
        """
        found: list[Recorded] = []
        begun = time.monotonic()
        try:
            fates = list(
                self._database.write(lambda session: record(session, elements, now=times.now(), recorded=found))
            )
        except Exception as error:
            if isinstance(error, StorageUnavailable) and not isinstance(error, StorageRefused):
                raise
            if len(elements) == 1:
                log.error("an element cannot be stored", error=type(error).__name__, place=place(error))  # noqa: TRY400
                return [error]
            half = len(elements) // 2
            return self._store(elements[:half]) + self._store(elements[half:])
        metrics.committed(fates, found, seconds=time.monotonic() - begun)
        remark(found)
        return [*fates]
