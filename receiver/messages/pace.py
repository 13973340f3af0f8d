"""Lanes: what shares a rate of sending, kept in the database because every worker and every server keeps to it.

Every function runs inside one write transaction of the caller, and locks lanes before messages, the account's first.
The clock is the database's, so hosts may disagree about the time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, bindparam, case, func, literal_column, select
from sqlalchemy.orm import Session

from receiver.core import pace, times
from receiver.core.pace import PATIENCE, Lane, Pause, Rates
from receiver.database.json_rows import insert_rows, instant, parameter
from receiver.database.models import CredentialPauseRow, LaneRow

ACCOUNT = ""
"""The account's lane; every other has the name of its sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """When a message may go."""

    wait: timedelta
    """How long until then; zero or less is now."""
    is_taken: bool
    """Whether the turn is the message's, once this is committed. If not, somebody else may go first."""
    is_senders: bool = False
    """Whether it is the sender's rate that makes it wait."""
    is_refused: bool = False
    """Whether it has no turn because Bandwidth refuses the credentials."""
    is_suspect: bool = False
    """Whether anything stands against the credentials, so that a message that passes must clear it."""

    @property
    def ask_again_in(self) -> float:
        """Seconds until the turn can be taken, if nobody else takes it.

        No less than half of PATIENCE: turns are taken for longer than that, so that none is missed.
        """
        return max(self.wait - PATIENCE, PATIENCE / 2).total_seconds()


def take_turn(
    session: Session, rates: Rates, *, sender: str, units: int, credentials: str, heeds_refusal: bool
) -> Turn:
    """Takes the next turn of the account and of the sender, unless it is further ahead than PATIENCE.

    ``credentials`` is their fingerprint. Whoever heeds their refusal takes no turn while workers pause because of it.
    """
    until, stands_against = session.connection().execute(_HELD, {"credentials": credentials}).one()
    is_suspect = stands_against is not None
    if heeds_refusal and stands_against == REFUSED:
        return Turn(wait=timedelta(0), is_taken=False, is_refused=True, is_suspect=True)
    limits = _limits(rates, sender)
    rows = _locked(session, limits) if limits else {}
    if limits:
        until = rows[ACCOUNT].paused_until
    elif until is None:
        return Turn(wait=timedelta(0), is_taken=True, is_suspect=is_suspect)
    now = database_now(session)
    # No turn is in a pause: those that wait for its end would all go then.
    start = max(until or now, now)
    for name, rate in limits.items():
        rows[name].next_at = min(rows[name].next_at, pace.latest(start, rate=rate))
    lanes = {name: Lane(rate=rate, next_at=rows[name].next_at) for name, rate in limits.items()}
    turns = {name: lane.turn(start) for name, lane in lanes.items()}
    at = max([start, *turns.values()])
    if at - now > PATIENCE:
        return Turn(wait=at - now, is_taken=False, is_senders=turns.get(sender) == at, is_suspect=is_suspect)
    for name, lane in lanes.items():
        rows[name].next_at = lane.taken(start, units=units)
    session.flush()
    return Turn(wait=at - now, is_taken=True, is_suspect=is_suspect)


_PAUSED_UNTIL = select(LaneRow.paused_until).where(LaneRow.sender == literal_column("''"))

SUSPECT, REFUSED = "suspect", "refused"
"""What can stand against credentials: less than three refusals in a row, or that workers pause."""

_AGAINST = select(
    case((CredentialPauseRow.paused_at.is_(None), literal_column(f"'{SUSPECT}'")), else_=literal_column(f"'{REFUSED}'"))
).where(CredentialPauseRow.credentials == bindparam("credentials"))

_HELD = select(_PAUSED_UNTIL.scalar_subquery(), _AGAINST.scalar_subquery())
"""Both things that hold up sending, in one journey."""


def is_refused(session: Session, credentials: str) -> bool:
    """Whether workers pause because Bandwidth refuses these credentials. Reads."""
    return session.connection().scalar(_AGAINST, {"credentials": credentials}) == REFUSED


def closed(session: Session, rate: float) -> Select[str]:
    """Finds the senders that get no turn now: what is queued for them is passed over, and keeps its place."""
    now = database_now(session)
    is_closed = (LaneRow.next_at > now + PATIENCE) & (LaneRow.next_at <= pace.latest(now, rate=rate))
    return select(LaneRow.sender).where(LaneRow.sender != ACCOUNT, is_closed)


def pause(session: Session, *, retry_after: int | None, jitter: float) -> None:
    """Makes everybody wait, because Bandwidth answered 429; ``retry_after`` is in seconds, ``jitter`` from 0 to 1."""
    row, last = _locked(session, ())[ACCOUNT], None
    if row.paused_until is not None and row.pause_seconds is not None:
        last = Pause(until=row.paused_until, length=timedelta(seconds=row.pause_seconds))
    following = pace.next_pause(last, now=database_now(session), retry_after=retry_after, jitter=jitter)
    row.paused_until, row.pause_seconds = following.until, following.length.total_seconds()
    session.flush()


def resume(session: Session) -> bool:
    """Ends the pause at once; False if there was none."""
    row = _locked(session, ())[ACCOUNT]
    was_paused = row.paused_until is not None and row.paused_until > database_now(session)
    row.paused_until = row.pause_seconds = None
    session.flush()
    return was_paused


def paused_until(session: Session) -> datetime | None:
    """Until when nothing is sent; None if nothing holds it up. Reads."""
    until = session.connection().scalar(_PAUSED_UNTIL)
    return until if until is not None and until > database_now(session) else None


def _limits(rates: Rates, sender: str) -> dict[str, float]:
    limits = {ACCOUNT: rates.account, sender: rates.sender}
    return {name: rate for name, rate in limits.items() if rate is not None}


def _locked(session: Session, names: Iterable[str]) -> dict[str, LaneRow]:
    """The lanes of these names and the account's, all of them there and locked."""
    wanted = sorted({ACCOUNT, *names})
    rows = _lock(session, wanted)
    if len(rows) < len(wanted):
        _add(session, wanted)
        rows = _lock(session, wanted)
    return rows


def _lock(session: Session, names: Sequence[str]) -> dict[str, LaneRow]:
    """Those that are there."""
    query = select(LaneRow).where(LaneRow.sender.in_(names)).order_by(LaneRow.sender).with_for_update()
    return {row.sender: row for row in session.scalars(query)}


def _add(session: Session, names: Sequence[str]) -> None:
    connection = session.connection()
    now = database_now(session)
    insert = insert_rows(connection.dialect.name, LaneRow).on_conflict_do_nothing()
    rest = dict.fromkeys(("paused_until", "pause_seconds"))
    connection.execute(insert, parameter({"sender": name, "next_at": instant(now)} | rest for name in names))


def database_now(session: Session) -> datetime:
    """The database's clock; not the transaction's time, which stands still while it waits for a lock."""
    if session.connection().dialect.name == "sqlite":
        return times.now()
    now: datetime = session.scalar(select(func.clock_timestamp())) or times.now()
    return now
