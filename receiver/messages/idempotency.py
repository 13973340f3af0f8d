"""Idempotency keys: which message a caller's key stands for.

The key is stored in the transaction that stores its message, so there is never one without the other.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.orm import Session

from receiver.core.messages import IdempotencyKey
from receiver.database.json_rows import instant, parameter, rows_of
from receiver.database.models import IdempotencyKeyRow, Instant
from receiver.messages.outbox import SQL


class KeysTaken(Exception):
    """Another transaction stored one of these keys first; this one must be undone."""


def add_keys(session: Session, keys: Sequence[tuple[IdempotencyKey, int]], *, now: datetime) -> None:
    """Makes each key stand for a message that was just stored. Raises KeysTaken; a key that has expired is free.

    Some expired keys are deleted, so that they do not pile up where no worker runs.
    """
    rows = [
        {
            "api_key": key.api_key,
            "key": key.key,
            "sha256": key.sha256,
            "message_pk": message_pk,
            "expires_at": instant(key.expires_at),
        }
        for key, message_pk in sorted(keys, key=lambda each: each[0].identity)
    ]
    if len(SQL.run(session, "insert keys", rows, now=instant(now)).all()) < len(rows):
        raise KeysTaken
    SQL.run(session, "delete expired keys", [], now=instant(now))


def count_repeat(session: Session, key: IdempotencyKey, *, now: datetime) -> Row[tuple[str, int]] | None:
    """Returns the ``sha256`` and ``message_pk`` that the key stands for, if any, and counts the repeat.

    So the response to a repeat is preceded by a commit of its own, which proves that what it says is durable.
    """
    which = {"this_api_key": key.api_key, "this_key": key.key, "now": now}
    return session.connection().execute(_counting(), which).one_or_none()


@cache
def _counting() -> Any:
    row = IdempotencyKeyRow
    this = (row.api_key == bindparam("this_api_key")) & (row.key == bindparam("this_key"))
    is_kept = row.expires_at.is_(None) | (row.expires_at >= bindparam("now", type_=Instant))
    return update(row).where(this, is_kept).values(repeats=row.repeats + 1).returning(row.sha256, row.message_pk)


def rows_of_keys(
    session: Session, keys: Sequence[IdempotencyKey], *, now: datetime
) -> dict[tuple[str, str], IdempotencyKeyRow]:
    """Returns what is stored under these keys, by their identity, unless it has expired."""
    dialect = session.connection().dialect.name
    rows = parameter({"api_key": key.api_key, "key": key.key} for key in keys)
    found = session.scalars(_keys_given(dialect), rows)
    return {(each.api_key, each.key): each for each in found if each.expires_at is None or each.expires_at >= now}


@cache
def _keys_given(dialect: str) -> Any:
    """The rows of these keys, by the primary key. With a list of pairs, or OR, SQLite would scan the whole table."""
    given = rows_of(dialect, IdempotencyKeyRow.api_key, IdempotencyKeyRow.key)
    same = (IdempotencyKeyRow.api_key == given.c.api_key) & (IdempotencyKeyRow.key == given.c.key)
    return select(IdempotencyKeyRow).join(given, same)
