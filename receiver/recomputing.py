"""Folds stored events again: after a release that learns a type, or to prove that the stored state is their fold."""

from collections.abc import Iterator
from dataclasses import dataclass

from receiver.core import times
from receiver.database.database import Database, Session
from receiver.storage.refolding import Difference, compare, messages_after, repair

BATCH = 200
"""Messages per transaction: short enough not to hold up receiving."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction found, and repaired unless it only checked."""

    messages: int
    last_tag: str
    """Where to resume after it."""
    differences: list[Difference]


def recompute(database: Database, *, check: bool, after_tag: str = "") -> Iterator[Batch]:
    """Goes through all messages with a higher tag than ``after_tag``, oldest first; ``check`` changes nothing."""

    def work(session: Session) -> Batch | None:
        messages = messages_after(session, after_tag, limit=BATCH)
        if not messages:
            return None
        differences = compare(session, messages)
        if not check:
            repair(session, differences, now=times.now())
        return Batch(len(messages), messages[-1].tag, differences)

    while batch := database.write(work):
        yield batch
        after_tag = batch.last_tag
