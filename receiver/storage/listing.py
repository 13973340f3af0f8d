"""Rows of the support views, newest first: what support staff see in SQL (README, "Support by SQL")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, String, TableClause, column, select, table
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from receiver.storage.types import Instant


@dataclass(frozen=True, slots=True)
class View:
    """A view, with the columns of it that are read."""

    table: TableClause
    newest_first: tuple[ColumnElement[Any], ...]
    """Begins as an index does, so that the newest are found at once."""

    @property
    def columns(self) -> list[str]:
        return self.table.c.keys()


def _view(name: str, columns: dict[str, type[TypeEngine[Any]]], *, newest: str, then: Sequence[str] = ()) -> View:
    return View(
        table(name, *(column(each, kind()) for each, kind in columns.items())),
        (column(newest).desc(), column("key").desc(), *(column(each) for each in then)),
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


def newest(session: Session, view: View, *, limit: int) -> list[dict[str, Any]]:
    """The newest rows, at most ``limit``."""
    rows = session.execute(select(*view.table.c).order_by(*view.newest_first).limit(limit))
    return [dict(row) for row in rows.mappings()]
