"""What a check finds. A check that breaks, or does not end, is a finding too, and the others go on."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue

from receiver.errors import ReceiverError, place

LONGEST_SECONDS = 60.0
"""What no check takes: its own time-outs are shorter, but not every wait has one (a file on a dead network share)."""


class Mark(StrEnum):
    OK = "ok"
    WARNING = "warning"  # may be meant so, or may pass
    WRONG = "wrong"
    SKIPPED = "skipped"  # could not be looked at, or there was nothing to look at


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    mark: Mark
    check: str
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(Mark.OK, check, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    return Finding(Mark.WARNING, check, found, remedy)


def wrong(check: str, found: str, remedy: str) -> Finding:
    return Finding(Mark.WRONG, check, found, remedy)


def skipped(check: str, reason: str) -> Finding:
    return Finding(Mark.SKIPPED, check, reason)


def examined(name: str, check: Callable[[], Iterable[Finding]], *, seconds: float = LONGEST_SECONDS) -> list[Finding]:
    """What the check found. Never raises, and never waits longer than ``seconds``."""
    found: list[Finding] = []
    ended: SimpleQueue[Exception | None] = SimpleQueue()

    def run() -> None:
        try:
            found.extend(check())
            ended.put(None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            ended.put(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        error = ended.get(timeout=seconds)
    except Empty:
        hangs = f"the check did not end within {seconds:g} s"
        return [*found, wrong(name, hangs, "something hangs: look at disk and network.")]
    return found if error is None else [*found, _broken(name, error)]


def _broken(name: str, error: Exception) -> Finding:
    if isinstance(error, ReceiverError):
        return wrong(name, f"the check could not be ended: {error}", "try again.")
    broke = f"the check broke: {type(error).__name__} in {place(error)}"
    return wrong(name, broke, "that is a mistake of this program: report it.")
