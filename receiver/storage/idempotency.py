"""Idempotency keys: which message a caller's key stands for.

The key is stored in the transaction that stores its message, so there is never one without the other.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.orm import Session

from receiver.core.messages import IdempotencyKey
from receiver.storage.rows import insert_rows, instant, parameter, rows_of
from receiver.storage.sending_models import IdempotencyKeyRow
from receiver.storage.types import Instant

MANY = 1000
"""How many keys are forgotten at a time."""


class KeysTaken(Exception):
    """Another transaction stored one of these keys first; this one must be undone."""


def add_keys(session: Session, keys: Sequence[tuple[IdempotencyKey, int]], *, now: datetime) -> None:
    """Makes each key stand for a message that was just stored. Raises KeysTaken; a key that has expired is free."""
    rows = [
        {
            "api_key": key.api_key,
            "key": key.key,
            "sha256": key.sha256,
            "message_pk": message_pk,
            "expires_at": instant(key.expires_at),
        }
        for key, message_pk in sorted(keys, key=lambda each: each[0].place)
    ]
    connection = session.connection()
    upsert = _key_upsert(connection.dialect.name)
    if len(connection.execute(upsert, parameter(rows) | {"now": now}).all()) < len(rows):
        raise KeysTaken


@cache
def _key_upsert(dialect: str) -> Any:
    insert = insert_rows(dialect, IdempotencyKeyRow)
    return insert.on_conflict_do_update(
        index_elements=[IdempotencyKeyRow.api_key, IdempotencyKeyRow.key],
        set_={name: insert.excluded[name] for name in ("sha256", "message_pk", "expires_at")},
        where=IdempotencyKeyRow.expires_at < bindparam("now", type_=Instant),
    ).returning(IdempotencyKeyRow.key)


def rows_of_keys(
    session: Session, keys: Sequence[IdempotencyKey], *, now: datetime
) -> dict[tuple[str, str], IdempotencyKeyRow]:
    """What is stored under these keys, by their place, unless it has expired."""
    dialect = session.connection().dialect.name
    rows = parameter({"api_key": key.api_key, "key": key.key} for key in keys)
    found = session.scalars(_keys_given(dialect), rows)
    return {(each.api_key, each.key): each for each in found if each.expires_at is None or each.expires_at >= now}


@cache
def _keys_given(dialect: str) -> Any:
    """By the primary key. From a list of pairs SQLite would read all keys, and so it would with OR in the question."""
    given = rows_of(dialect, IdempotencyKeyRow.api_key, IdempotencyKeyRow.key)
    same = (IdempotencyKeyRow.api_key == given.c.api_key) & (IdempotencyKeyRow.key == given.c.key)
    return select(IdempotencyKeyRow).join(given, same)


def forget_keys(session: Session, *, now: datetime) -> int:
    """Removes keys that have expired, at most MANY; returns how many."""
    row = IdempotencyKeyRow
    expired = select(row.api_key, row.key).where(row.expires_at < now).limit(MANY).with_for_update(skip_locked=True)
    gone = session.execute(expired).all()
    if gone:
        session.execute(delete(row).where(tuple_(row.api_key, row.key).in_(gone), row.expires_at < now))
    return len(gone)
