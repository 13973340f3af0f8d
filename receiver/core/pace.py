"""The pace: when the next message may go out, and how long to hold back after Bandwidth asked for it.

Bandwidth limits an account by messages per second, counts a group once per recipient and segment, queues what exceeds
the limit for 15 minutes, and answers 429 when that queue is full (Bandwidth, "Rate limits"). A *unit* is one recipient
times one segment. A *lane* is what shares a rate: the account, or one sender number.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

BURST = timedelta(seconds=0.5)
"""How much idle time a lane may make up for: enough that a worker that wakes late does not lower the rate. Together
with PATIENCE it makes one second, the most that ever goes out at once."""

PATIENCE = timedelta(seconds=0.5)
"""How far ahead a turn is taken. A message that would have to wait longer lets others go first, and tries again."""

MOST_UNITS = 64
"""The highest number of units of one message: 2,048 characters of two code units each."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=60)
"""After a 429 without Retry-After. Bandwidth gives no length, but advises doubling it."""

DENIALS = 3
"""How many different messages in a row must get 403 or 404 before all wait: either may concern one message only."""

FIRST_PROBE, LONGEST_PROBE = timedelta(seconds=1), timedelta(seconds=60)
"""The time between two messages that are tried while Bandwidth refuses the credentials."""

FIRST_DENIED, LONGEST_DENIED, DENIED_FOR = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
"""The time between two attempts of a message that alone gets 403 or 404, and how long it is tried."""

FIRST_BACKOFF, LONGEST_BACKOFF = timedelta(seconds=2), timedelta(minutes=10)
"""The time between two attempts to send one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The rates of sending, in units per second; None is no limit."""

    account: float | None = None
    sender: float | None = None
    """The rate of each sender number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The account or one sender number, whose messages share a rate."""

    rate: float
    """Units per second."""
    next_at: datetime
    """When it is free for the next message; far in the past after an idle time."""

    def turn(self, now: datetime) -> datetime:
        """When the next message may go; at most BURST before ``now``."""
        return max(self.next_at, now - BURST)

    def taken(self, now: datetime, *, units: int) -> datetime:
        """Returns when the lane is free again, once a turn at ``now`` is taken."""
        return self.turn(now) + self.lasts(units)

    def lasts(self, units: int) -> timedelta:
        """Returns how long this number of units occupies the lane."""
        return timedelta(seconds=units / self.rate)


def latest(now: datetime, *, rate: float) -> datetime:
    """The latest instant at which a lane becomes free, whatever was sent.

    A lane that is taken beyond it was taken at a lower rate, or by a clock that has been set back since.
    """
    return now + PATIENCE + timedelta(seconds=MOST_UNITS / rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Bandwidth has asked to slow down."""

    until: datetime
    length: timedelta
    """Without the jitter; a pause that follows at once is twice as long."""


def next_pause(last: Pause | None, *, now: datetime, retry_after: int | None, jitter: float) -> Pause:
    """Returns the pause after a 429 at ``now``: as long as Retry-After (seconds), else doubling, up to LONGEST_PAUSE.

    ``jitter`` is a random number from 0 to 1. A 429 to a request that was under way when the pause began does not
    lengthen it.
    """
    if retry_after:  # 0, or a date in the past, would only lead to another 429
        wanted = Pause(until=now + timedelta(seconds=retry_after), length=FIRST_PAUSE)
        return last if last and last.until > wanted.until else wanted
    if last and now < last.until:
        return last
    follows = last is not None and now - last.until <= last.length
    length = min(2 * last.length, LONGEST_PAUSE) if last and follows else FIRST_PAUSE
    return Pause(until=now + length * (0.75 + jitter / 2), length=length)


def next_probe(last: timedelta) -> timedelta:
    """Returns how long to wait after a refused probe; ``last`` is the wait before that probe."""
    return min(max(2 * last, FIRST_PROBE), LONGEST_PROBE)


def denied_wait(since_first: timedelta) -> timedelta | None:
    """Returns how long a message that alone gets 403 or 404 waits: 1, 2, 4 ... minutes, at most an hour; then None.

    ``since_first`` is the time since the first such response.
    """
    if since_first >= DENIED_FOR:
        return None
    return min(max(since_first, timedelta(0)) + FIRST_DENIED, LONGEST_DENIED)


def backoff(failures: int, *, jitter: float) -> timedelta:
    """Returns the wait before a message's next attempt, after ``failures`` failures. ``jitter`` is from 0 to 1."""
    doublings: int = 2 ** min(failures - 1, 20)
    return min(FIRST_BACKOFF * doublings, LONGEST_BACKOFF) * (0.75 + jitter / 2)
