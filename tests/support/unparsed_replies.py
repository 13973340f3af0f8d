"""Stores replies as the previous release does: without the columns that this release reads from the payload later."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from receiver.core import times
from receiver.database.database import Database
from receiver.database.models import StoredEvent
from tests.support.builders import ALICE, SENDER

COLUMNS = (
    *("message_id", "recipient", "type", "error_code", "occurred_at", "first_received_at", "last_received_at"),
    *("deliveries", "source", "payload"),
)


def store_reply(
    database: Database, text: str | None, message_id: str = "inbound", *, at: datetime | None = None, **message: Any
) -> None:
    """Stores one reply from Alice."""
    message = {"id": message_id, "from": ALICE, "to": [SENDER], "text": text, **message}
    payload = json.dumps({"type": "message-received", "to": SENDER, "message": message})
    store_payload(database, payload, message_id, at=at)


def store_payload(database: Database, payload: str, message_id: str, *, at: datetime | None = None) -> None:
    now = at or times.now()
    values = (message_id, SENDER, "message-received", 0, now, now, now, 1, "callback", payload)
    row = dict(zip(COLUMNS, values, strict=True))
    database.write(lambda session: session.execute(insert(StoredEvent.__table__).values(row)))  # type: ignore[arg-type]
