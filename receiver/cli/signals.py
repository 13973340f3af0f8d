"""Signals that a command defers or waits for."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

TERMINATION = {signal.SIGTERM, signal.SIGHUP}
"""The signals that end a process from outside: it is stopped, or its terminal is closed."""


def not_ignored(*signals: signal.Signals) -> set[signal.Signals]:
    """Returns the given signals that this process does not ignore; under nohup it ignores SIGHUP."""
    return {each for each in signals if signal.getsignal(each) is not signal.SIG_IGN}


@contextmanager
def deferred(*signals: signal.Signals) -> Iterator[None]:
    """Defers these signals until the block has ended, also in threads that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
