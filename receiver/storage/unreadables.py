"""What could not be read, to be read again; what was redacted is no longer there to read.

Everything here runs inside one write transaction of the caller.
"""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.database.models import UnreadableCallback
from receiver.storage.aging import REDACTED

_READABLE_AGAIN = UnreadableCallback.payload != REDACTED


def count_unreadable(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(UnreadableCallback).where(_READABLE_AGAIN)) or 0


def lock_unreadable(session: Session, after: str, *, limit: int) -> Sequence[UnreadableCallback]:
    """The next ones by SHA-256, which is the order of their locks; who locks them in between is waited for."""
    return session.scalars(
        select(UnreadableCallback)
        .where(UnreadableCallback.sha256 > after, _READABLE_AGAIN)
        .order_by(UnreadableCallback.sha256)
        .limit(limit)
        .with_for_update()
    ).all()
