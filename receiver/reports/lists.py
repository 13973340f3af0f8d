"""Lists of rows of the support views, newest first, as support staff see them in SQL (docs/support.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Date, Integer, String, TableClause, column, select, table
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from receiver.core import times
from receiver.core.send_status import SendStatus
from receiver.database.lookup import shows
from receiver.database.models import Instant, Message
from receiver.reports.support import may_read_tables


@dataclass(frozen=True, slots=True)
class View:
    """A view, and those of its columns that are read."""

    table: TableClause
    newest_first: tuple[ColumnElement[Any], ...]
    """The order; it begins with the columns of an index, so that the newest rows are found at once."""
    send_status: SendStatus | None = None
    """The shown send status of all its messages; None for any."""

    @property
    def columns(self) -> list[str]:
        return self.table.c.keys()


def _view(
    name: str,
    columns: dict[str, type[TypeEngine[Any]]],
    *,
    newest: str,
    then: Sequence[str] = (),
    is_keyed: bool = True,
    send_status: SendStatus | None = None,
) -> View:
    return View(
        table(name, *(column(each, kind()) for each, kind in columns.items())),
        (column(newest).desc(), *([column("key").desc()] if is_keyed else []), *(column(each) for each in then)),
        send_status,
    )


OVERDUE = _view(
    "support_overdue",
    {
        "tag": String,
        "reference": String,
        "message_id": String,
        "sender": String,
        "recipient": String,
        "status": String,
        "overdue_at": Instant,
        "created_at": Instant,
        "updated_at": Instant,
    },
    newest="created_at",
    then=("position",),
)
UNLINKED = _view(
    "support_unlinked",
    {
        "message_id": String,
        "event_tag": String,
        "type": String,
        "recipient": String,
        "error_code": Integer,
        "error_name": String,
        "description": String,
        "occurred_at": Instant,
        "first_received_at": Instant,
        "last_received_at": Instant,
        "deliveries": Integer,
        "source": String,
        "payload": String,
    },
    newest="first_received_at",
)
UNREADABLE = _view(
    "support_unreadable",
    {
        "reason": String,
        "first_received_at": Instant,
        "last_received_at": Instant,
        "deliveries": Integer,
        "payload": String,
        "sha256": String,
    },
    newest="first_received_at",
)


_OF_MESSAGE: dict[str, type[TypeEngine[Any]]] = {
    "tag": String,
    "reference": String,
    "message_id": String,
    "sender": String,
    "send_status": String,
    "refused_because": String,
    "reason": String,
    "error_status": Integer,
    "error_type": String,
    "error_description": String,
    "asked_by": String,
    "total": Integer,
    "created_at": Instant,
    "updated_at": Instant,
}
REFUSED, UNKNOWN = (
    _view("support_messages", _OF_MESSAGE, newest="created_at", send_status=each)
    for each in (SendStatus.REFUSED, SendStatus.UNKNOWN)
)
REPLIES = _view(
    "support_inbound",
    {
        "message_id": String,
        "type": String,
        "sender": String,
        "recipient": String,
        "text": String,
        "media": String,
        "group_members": String,
        "opt_out": Boolean,
        "opt_in": Boolean,
        "occurred_at": Instant,
        "first_received_at": Instant,
    },
    newest="first_received_at",
)
OPT_OUTS = _view(
    "support_opt_outs",
    {"sender": String, "recipient": String, "keyword": String, "opted_out_at": Instant},
    newest="opted_out_at",
    then=("sender", "recipient"),
    is_keyed=False,
)
FAILURES = _view(
    "support_failures",
    {
        "day": Date,
        "error_code": Integer,
        "error_name": String,
        "category": String,
        "billable": Boolean,
        "reason": String,
        "advice": String,
        "remove_number": Boolean,
        "recipients": Integer,
    },
    newest="day",
    then=("error_code",),
    is_keyed=False,
)
CONVERSATIONS = _view(
    "support_conversations",
    {
        "said_at": Instant,
        "stored_at": Instant,
        "our_number": String,
        "their_number": String,
        "direction": String,
        "text": String,
        "media": String,
        "group_members": String,
        "tag": String,
        "reference": String,
        "status": String,
        "error_code": Integer,
    },
    newest="said_at",
    then=("direction",),
)


def newest(session: Session, view: View, *, limit: int) -> list[dict[str, Any]]:
    """Returns the newest rows of the view, at most ``limit``, each keyed by the view's columns."""
    query = select(*view.table.c).order_by(*view.newest_first).limit(limit)
    if (status := view.send_status) is not None:
        query = query.where(view.table.c.send_status == status)
        if may_read_tables(session):  # an index of the table serves, but not for the view's own column
            shown = select(Message.tag).where(shows(status, now=times.now()))
            if status is not SendStatus.UNKNOWN:  # these are few, and no index sorts their two conditions by time
                shown = shown.order_by(Message.created_at.desc(), Message.pk.desc()).limit(limit)
            query = query.where(view.table.c.tag.in_(shown))
    return [dict(row) for row in session.execute(query).mappings()]


def conversation(
    session: Session, theirs: Sequence[str], ours: Sequence[str] | None, *, limit: int
) -> list[dict[str, Any]]:
    """The last messages in both directions between their numbers and ours, newest first, at most ``limit``.

    ``ours`` None stands for all of our numbers; keys are the columns of CONVERSATIONS.
    """
    of = CONVERSATIONS.table.c
    both = [of.their_number.in_(theirs), *([] if ours is None else [of.our_number.in_(ours)])]
    rows = session.execute(select(*of).where(*both).order_by(*CONVERSATIONS.newest_first).limit(limit))
    return [dict(row) for row in rows.mappings()]
