"""The pace: when the next message may go out, and how long to hold back after Bandwidth asked for it.

Bandwidth limits an account by messages per second, counts a group once per recipient and segment, queues what exceeds
the limit for 15 minutes, and answers 429 when that queue is full (Bandwidth, "Rate limits"). A *unit* is one recipient
times one segment. A *lane* is what shares a rate: the account, or one sender number.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

BURST = timedelta(seconds=0.5)
"""How much of an idle time a lane may make up for: enough that nobody who wakes up late costs the rate anything. With
PATIENCE it makes one second, the most that ever goes out at once."""

PATIENCE = timedelta(seconds=0.5)
"""How far ahead a turn is taken. What would have to wait for longer leaves its place to others, and asks again."""

MOST_UNITS = 64
"""Of one message: 2,048 characters of two code units each."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=60)
"""After a 429 that names no time; Bandwidth names none either, but advises to double it."""

DENIALS = 3
"""How many different messages in a row must be answered 403 or 404 before all wait: either may be about one message."""

FIRST_PROBE, LONGEST_PROBE = timedelta(seconds=1), timedelta(seconds=60)
"""Between two messages that are tried while Bandwidth refuses the credentials."""

FIRST_DENIED, LONGEST_DENIED, DENIED_FOR = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
"""Between two attempts of a message that alone is answered 403 or 404, and how long it is tried."""

FIRST_BACKOFF, LONGEST_BACKOFF = timedelta(seconds=2), timedelta(minutes=10)
"""Between two attempts to send one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Units per second; None is no limit."""

    account: float | None = None
    sender: float | None = None
    """Of each sender number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What shares a rate."""

    rate: float
    """Units per second."""
    next_at: datetime
    """When it is free for the next message; long past when it has been idle."""

    def turn(self, now: datetime) -> datetime:
        """When the next message may go; at most BURST before ``now``."""
        return max(self.next_at, now - BURST)

    def taken(self, now: datetime, *, units: int) -> datetime:
        """When the lane is free again, once that turn is taken."""
        return self.turn(now) + self.lasts(units)

    def lasts(self, units: int) -> timedelta:
        return timedelta(seconds=units / self.rate)


def latest(now: datetime, *, rate: float) -> datetime:
    """When a lane is free at the latest, whatever was sent. One that is taken for longer was taken at a lower rate, or
    by a clock that was set back since."""
    return now + PATIENCE + timedelta(seconds=MOST_UNITS / rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Bandwidth has asked to slow down."""

    until: datetime
    length: timedelta
    """Without the jitter; the next one, if it follows at once, is twice as long."""


def next_pause(last: Pause | None, *, now: datetime, retry_after: int | None, jitter: float) -> Pause:
    """The pause after a 429 at ``now``: as long as Bandwidth says (in seconds), else doubling, up to LONGEST_PAUSE.

    ``jitter`` is a random number from 0 to 1. Whatever was on its way when the pause began adds nothing to it.
    """
    if retry_after:  # "at once", and a date that has passed, would only be answered 429 again
        asked = Pause(until=now + timedelta(seconds=retry_after), length=FIRST_PAUSE)
        return last if last and last.until > asked.until else asked
    if last and now < last.until:
        return last
    follows = last is not None and now - last.until <= last.length
    length = min(2 * last.length, LONGEST_PAUSE) if last and follows else FIRST_PAUSE
    return Pause(until=now + length * (0.75 + jitter / 2), length=length)


def next_probe(last: timedelta) -> timedelta:
    """How long to wait after a probe that was refused, if it came so long after the one before."""
    return min(max(2 * last, FIRST_PROBE), LONGEST_PROBE)


def denied_wait(since_first: timedelta) -> timedelta | None:
    """How long a message waits that alone is answered 403 or 404, so long after the first time: 1, 2, 4 ... minutes, an
    hour at most. None: it is not tried any more."""
    if since_first >= DENIED_FOR:
        return None
    return min(max(since_first, timedelta(0)) + FIRST_DENIED, LONGEST_DENIED)


def backoff(failures: int, *, jitter: float) -> timedelta:
    """How long a message waits for its next attempt after so many that failed. ``jitter`` is from 0 to 1."""
    doublings: int = 2 ** min(failures - 1, 20)
    return min(FIRST_BACKOFF * doublings, LONGEST_BACKOFF) * (0.75 + jitter / 2)
