"""Queues messages, and takes the steps that a worker takes with them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from receiver.core import times
from receiver.core.messages import OutboundMessage, Refused
from receiver.core.send_status import RefusedBecause
from receiver.core.tags import new_tag
from receiver.database.database import Database, Session
from receiver.messages import outbox, queue
from receiver.messages.outbox import Attempt
from receiver.messages.queue import Claimed
from tests.support.builders import make_message

LEASE = timedelta(seconds=30)
UNREACHABLE = Refused(because=RefusedBecause.UNREACHABLE, description="Connection refused.")


def enqueue(database: Database, *to: str, now: datetime | None = None, **changes: object) -> tuple[str, int]:
    """Queues a message; returns its tag and key."""
    now = times.whole_millisecond(now or times.now())
    tag = new_tag(now)
    [pk] = database.write(lambda session: outbox.add_queued(session, [(tag, make_message(*to, **changes))], now=now))
    return tag, pk


def enqueue_all(database: Database, new: Iterable[OutboundMessage]) -> list[str]:
    """Queues messages in one transaction; returns their tags."""
    now = times.now()
    tagged = [(new_tag(now), message) for message in new]
    database.write(lambda session: outbox.add_queued(session, tagged, now=now))
    return [tag for tag, _ in tagged]


def claiming(
    *, now: datetime | None = None, limit: int = 9, lease: timedelta = LEASE
) -> Callable[[Session], list[Claimed]]:
    return lambda session: queue.claim(session, now=now or times.now(), lease=lease, limit=limit)


def claim(database: Database, *, now: datetime | None = None, limit: int = 9) -> list[Claimed]:
    return database.write(claiming(now=now, limit=limit))


def attempt(claimed: Claimed) -> Attempt:
    """The one that follows the claim."""
    now, number = times.now(), claimed.attempts + 1
    return Attempt(at=now, deadline=now + timedelta(minutes=1), overdue_at=now + timedelta(hours=27), number=number)


def submit(database: Database, claimed: Claimed) -> bool:
    return database.write(lambda session: queue.submit(session, claimed, attempt(claimed)))


def put_back(database: Database, claimed: Claimed, *, after: timedelta = timedelta(0)) -> bool:
    now = times.now()
    return database.write(
        lambda session: queue.requeue_after_failure(
            session, claimed, UNREACHABLE, failures=1, denied_at=None, claimable_at=now + after, now=now
        )
    )


def cancel(database: Database, pk: int) -> bool:
    return database.write(lambda session: queue.cancel(session, pk, now=times.now()))


def pks(claimed: Sequence[Claimed]) -> list[int]:
    return [each.pk for each in claimed]
