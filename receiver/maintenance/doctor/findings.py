"""The result of a check. A check that fails or hangs is a finding, too, and the other checks go on."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue

from receiver.errors import ReceiverError, locate

LONGEST_SECONDS = 60.0
"""When a check is abandoned. Its own time-outs are shorter, but not every wait has one: a file on a dead network share
has none."""


class Mark(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"  # may be intended, or may pass
    WRONG = "wrong"
    SKIPPED = "skipped"  # could not be checked, or there was nothing to check


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, what was found, and what to do about it."""

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


def run_check(name: str, check: Callable[[], Iterable[Finding]], *, seconds: float = LONGEST_SECONDS) -> list[Finding]:
    """The findings of a check. Never raises, and never waits longer than ``seconds``."""
    found: list[Finding] = []
    ended: SimpleQueue[Exception | None] = SimpleQueue()

    def run() -> None:
        try:
            found.extend(check())
            ended.put(None)
        except Exception as error:  # noqa: BLE001 - every exception becomes a finding
            ended.put(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        error = ended.get(timeout=seconds)
    except Empty:
        hangs = f"the check did not finish within {seconds:g} s"
        return [*found, wrong(name, hangs, "something is hanging: check the disk and the network.")]
    if error is None:
        return found
    if isinstance(error, ReceiverError):
        return [*found, wrong(name, f"the check did not finish: {error}", "try again.")]
    failed = f"the check failed: {type(error).__name__} in {locate(error)}"
    return [*found, wrong(name, failed, "this is a bug: please report it.")]
