"""The state of the credentials: when Bandwidth refuses them, workers pause and try one message after another.

The row of a set of credentials has their fingerprint as its key, so it binds only processes that hold the same ones. A
process that was restarted with others ignores it. Every function runs inside a transaction of the caller; those that
write lock the row after lanes and before messages. The clock is the database's.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import cache
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from receiver.core import pace
from receiver.core.messages import Refused
from receiver.core.send_status import DENIED
from receiver.database.json_rows import insert_rows, instant, parameter
from receiver.database.models import CredentialPauseRow
from receiver.messages.pace import database_now
from receiver.messages.queue import Claimed, QueuePlace

IN_USE = timedelta(minutes=3)
"""Within this time a worker tries the credentials that it holds, if there is anything to send."""

KEPT = timedelta(days=1)
"""How long an unchanged row is kept: its credentials are out of use, or nothing is to be sent."""


class Denial(Enum):
    """The effect of a refusal on the state of the credentials."""

    ALONE = auto()  # nothing: it may be about that message alone
    BEGINS = auto()  # workers pause from now on
    GOES_ON = auto()  # nothing: workers are pausing already


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The right to try one message while workers pause."""

    after: QueuePlace | None
    """The place in the queue of the message that was tried last; None if none was."""
    may_be_theirs: bool
    """Whether the tried messages may be to blame, not the credentials, because the last one met a 403 or 404."""


def claim_probe(session: Session, credentials: str, *, lease: timedelta) -> Probe | None:
    """Reserves the next probe for the caller, for ``lease``; returns None if it is not due, or the pause has ended.

    A caller that finds no message for it calls note_probe() with None, which makes the next probe due.
    """
    row, now = _lock(session, credentials), database_now(session)
    if row is None or row.paused_at is None:
        return None
    # No probe is later than this, unless it was written by a clock that was ahead, or was set back since.
    latest = now + max(pace.LONGEST_PROBE, lease)
    if row.probe_at is not None and now < row.probe_at <= latest:
        return None
    row.probe_at, row.updated_at = now + lease, now
    session.flush()
    may_be_theirs = row.error_status in DENIED
    if row.probed_urgency is None or row.probed_pk is None:
        return Probe(after=None, may_be_theirs=may_be_theirs)
    return Probe(after=(row.probed_urgency, row.probed_pk), may_be_theirs=may_be_theirs)


def note_probe(session: Session, credentials: str, claimed: Claimed | None) -> None:
    """Stores which message is tried, so that the next probe takes another; None means none, and the next is due."""
    if (row := _lock(session, credentials)) is not None:
        if claimed is None:
            row.probe_at = database_now(session)
        else:
            row.probed_urgency, row.probed_pk = claimed.place
        session.flush()


def end_probe(session: Session, credentials: str) -> None:
    """Ends a probe whose result says nothing about the credentials; the next is due after the same time."""
    if (row := _lock(session, credentials)) is not None and row.paused_at is not None:
        row.probe_at = database_now(session) + timedelta(seconds=row.probe_seconds or 0)
        session.flush()


def deny(session: Session, credentials: str, claimed: Claimed, refused: Refused) -> Denial:
    """Stores that a message met a refusal of the credentials, or one that may be about the message alone.

    Workers pause after the first refusal of the former kind, or after one of the latter kind for each of three
    different messages in a row. A message that was denied alone before does not count. Only a probe makes the time
    until the next one longer.
    """
    row = _lock(session, credentials) or _add(session, credentials)
    now = database_now(session)
    row.error_status, row.error_type, row.updated_at = refused.status, refused.type, now
    denial = Denial.ALONE if row.paused_at is None else Denial.GOES_ON
    if denial is Denial.ALONE and (refused.is_about_credentials or claimed.denied_at is None):
        denied = [*dict.fromkeys([*json.loads(row.denied), claimed.pk])]
        row.denied = json.dumps(denied)
        if refused.is_about_credentials or len(denied) >= pace.DENIALS:
            row.paused_at, row.probe_seconds = now, pace.FIRST_PROBE.total_seconds()
            row.probe_at = now + pace.FIRST_PROBE
            row.probed_urgency, row.probed_pk = claimed.place
            denial = Denial.BEGINS
    elif denial is Denial.GOES_ON and claimed.is_probe:
        following = pace.next_probe(timedelta(seconds=row.probe_seconds or 0))
        row.probe_seconds, row.probe_at = following.total_seconds(), now + following
    session.flush()
    return denial


def clear(session: Session, credentials: str) -> bool:
    """Ends the pause and forgets the refusals in a row, because a message passed; returns whether there was a pause."""
    ended = delete(CredentialPauseRow).where(CredentialPauseRow.credentials == credentials)
    return any(each.paused_at is not None for each in session.execute(ended.returning(CredentialPauseRow.paused_at)))


def refused_since(session: Session, credentials: str) -> datetime | None:
    """Returns since when workers pause because Bandwidth refuses these credentials, or others in use; None if it does
    not. Of several refused ones those count that were tried last. Reads.
    """
    row = CredentialPauseRow
    concerns = (row.credentials == credentials) | (row.updated_at > database_now(session) - IN_USE)
    paused = select(row.paused_at).where(row.paused_at.is_not(None), concerns)
    since: datetime | None = session.scalar(paused.order_by(row.updated_at.desc(), row.credentials).limit(1))
    return since


def delete_unused(session: Session) -> None:
    """Deletes the rows of credentials that are out of use."""
    session.execute(delete(CredentialPauseRow).where(CredentialPauseRow.updated_at < database_now(session) - KEPT))


def resume(session: Session) -> bool:
    """Ends every pause of credentials at once; returns whether there was one."""
    found = session.execute(delete(CredentialPauseRow).returning(CredentialPauseRow.paused_at))
    return any(each.paused_at is not None for each in found)


def _lock(session: Session, credentials: str) -> CredentialPauseRow | None:
    return session.scalar(
        select(CredentialPauseRow).where(CredentialPauseRow.credentials == credentials).with_for_update()
    )


def _add(session: Session, credentials: str) -> CredentialPauseRow:
    connection = session.connection()
    given = {"credentials": credentials, "denied": "[]", "updated_at": instant(database_now(session))}
    connection.execute(_insert(connection.dialect.name), parameter([dict.fromkeys(_COLUMNS) | given]))
    row = _lock(session, credentials)
    if row is None:  # another transaction has cleared it in between; this refusal is newer
        return _add(session, credentials)
    return row


_COLUMNS = tuple(CredentialPauseRow.__table__.c.keys())


@cache
def _insert(dialect: str) -> Any:
    return insert_rows(dialect, CredentialPauseRow).on_conflict_do_nothing()
