"""Lanes, whose messages share a rate of sending. They are in the database because all workers and servers keep to it.

Every function runs inside one write transaction of the caller, and locks lanes before messages, the account's first.
The clock is the database's, so hosts may disagree about the time. The SQL of a turn is in outbox.sql.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, literal_column, select
from sqlalchemy.orm import Session

from receiver.core import pace, times
from receiver.core.pace import PATIENCE, Lane, Pause, Rates
from receiver.database.json_rows import insert_rows, instant, parameter
from receiver.database.models import LaneRow
from receiver.messages.outbox import SQL

ACCOUNT = ""
"""The account's lane; every other has the name of its sender."""

REFUSED = "refused"
"""What "read holds" returns if workers pause because Bandwidth refuses the credentials. The other suspicion is
``suspect``: fewer than three refusals in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A message's turn to go out, or how long to wait for one."""

    wait: timedelta
    """How long until then; zero or less is now."""
    is_taken: bool
    """Whether the turn belongs to the message, once this is committed. If not, another message may go first."""
    is_senders: bool = False
    """Whether the rate of the sender makes it wait, not that of the account."""
    is_refused: bool = False
    """Whether it has no turn because Bandwidth refuses the credentials."""
    is_suspect: bool = False
    """Whether anything stands against the credentials, so that a message that passes must clear it."""

    @property
    def ask_again_in(self) -> float:
        """Seconds until the turn can be taken, if no other message takes it.

        No less than half of PATIENCE: turns are taken for longer than that, so that none is missed.
        """
        return max(self.wait - PATIENCE, PATIENCE / 2).total_seconds()


def take_turn(
    session: Session, rates: Rates, *, sender: str, units: int, credentials: str, heeds_refusal: bool
) -> Turn:
    """Takes the next turn of the account and of the sender, unless it is further ahead than PATIENCE.

    ``credentials`` is their fingerprint. With ``heeds_refusal`` no turn is taken while workers pause because Bandwidth
    refuses them. Without a rate only pauses are read, and nothing is locked.
    """
    holds = SQL.run(session, "read holds", [], credentials=credentials).one()
    until, suspicion = holds.paused_until, holds.suspicion
    is_suspect = suspicion is not None
    if heeds_refusal and suspicion == REFUSED:
        return Turn(wait=timedelta(0), is_taken=False, is_refused=True, is_suspect=True)
    limits = {name: rate for name, rate in ((ACCOUNT, rates.account), (sender, rates.sender)) if rate is not None}
    free_at: dict[str, datetime] = {}
    if limits:
        free_at, until = _lock_lanes(session, sender if rates.sender is not None else ACCOUNT)
    elif until is None:
        return Turn(wait=timedelta(0), is_taken=True, is_suspect=is_suspect)
    now = database_now(session)
    # No turn is in a pause: all those that wait for its end would go then.
    start = max(until or now, now)
    lanes = {
        name: Lane(rate=rate, next_at=min(free_at[name], pace.latest(start, rate=rate)))
        for name, rate in limits.items()
    }
    turns = {name: lane.turn(start) for name, lane in lanes.items()}
    at = max([start, *turns.values()])
    is_taken = at - now <= PATIENCE
    next_at = {name: lane.taken(start, units=units) if is_taken else lane.next_at for name, lane in lanes.items()}
    if moved := [name for name in lanes if next_at[name] != free_at[name]]:
        SQL.run(session, "move lanes", [{"sender": name, "next_at": instant(next_at[name])} for name in moved])
    is_senders = not is_taken and turns.get(sender) == at
    return Turn(wait=at - now, is_taken=is_taken, is_senders=is_senders, is_suspect=is_suspect)


def is_refused(session: Session, credentials: str) -> bool:
    """Whether workers pause because Bandwidth refuses these credentials. Reads."""
    return bool(SQL.run(session, "read holds", [], credentials=credentials).one().suspicion == REFUSED)


def closed_senders(session: Session, rate: float) -> Select[str]:
    """Returns a query of the senders that get no turn now: their queued messages are passed over and keep their place.

    ``rate`` is that of each sender, in units per second.
    """
    now = database_now(session)
    is_closed = (LaneRow.next_at > now + PATIENCE) & (LaneRow.next_at <= pace.latest(now, rate=rate))
    return select(LaneRow.sender).where(LaneRow.sender != ACCOUNT, is_closed)


def pause(session: Session, *, retry_after: int | None, jitter: float) -> None:
    """Pauses all sending after a 429 from Bandwidth; ``retry_after`` is in seconds, ``jitter`` from 0 to 1."""
    row, last = _lock_account(session), None
    if row.paused_until is not None and row.pause_seconds is not None:
        last = Pause(until=row.paused_until, length=timedelta(seconds=row.pause_seconds))
    following = pace.next_pause(last, now=database_now(session), retry_after=retry_after, jitter=jitter)
    row.paused_until, row.pause_seconds = following.until, following.length.total_seconds()
    session.flush()


def resume(session: Session) -> bool:
    """Ends the pause after a 429 at once; returns False if there was none."""
    row = _lock_account(session)
    was_paused = row.paused_until is not None and row.paused_until > database_now(session)
    row.paused_until = row.pause_seconds = None
    session.flush()
    return was_paused


_PAUSED_UNTIL = select(LaneRow.paused_until).where(LaneRow.sender == literal_column("''"))


def paused_until(session: Session) -> datetime | None:
    """Returns the end of the pause after a 429; None if there is no pause. Reads."""
    until = session.scalar(_PAUSED_UNTIL)
    return until if until is not None and until > database_now(session) else None


def _lock_lanes(session: Session, sender: str) -> tuple[dict[str, datetime], datetime | None]:
    """Locks the lanes of the account and the sender, which are created if need be.

    Returns when each is free, by name, and the end of the account's pause, if there was any.
    """
    names = sorted({ACCOUNT, sender})
    rows = SQL.run(session, "lock lanes", [], sender=sender).all()
    if len(rows) < len(names):
        _add_lanes(session, names)
        rows = SQL.run(session, "lock lanes", [], sender=sender).all()
    return {row.sender: row.next_at for row in rows}, rows[0].paused_until


def _lock_account(session: Session) -> LaneRow:
    """Locks the account's lane, which is created if need be."""
    query = select(LaneRow).where(LaneRow.sender == ACCOUNT).with_for_update()
    row = session.scalars(query).one_or_none()
    if row is None:
        _add_lanes(session, [ACCOUNT])
        row = session.scalars(query).one()
    return row


def _add_lanes(session: Session, names: Sequence[str]) -> None:
    connection = session.connection()
    now = database_now(session)
    insert = insert_rows(connection.dialect.name, LaneRow).on_conflict_do_nothing()
    rest = dict.fromkeys(("paused_until", "pause_seconds"))
    connection.execute(insert, parameter({"sender": name, "next_at": instant(now)} | rest for name in names))


def database_now(session: Session) -> datetime:
    """Returns the time of the database's clock. That of the transaction stands still while it waits for a lock."""
    if session.connection().dialect.name == "sqlite":
        return times.now()
    now: datetime = session.scalar(select(func.clock_timestamp())) or times.now()
    return now
