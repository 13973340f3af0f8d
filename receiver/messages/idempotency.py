"""Idempotency keys: which message a caller's key stands for.

The key is stored in the transaction that stores its message, so there is never one without the other.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, bindparam, delete, literal_column, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from receiver.core.messages import IdempotencyKey
from receiver.database.json_rows import insert_rows, instant, parameter, rows_of
from receiver.database.models import IdempotencyKeyRow, Instant

FORGOTTEN = 2
"""How many expired keys are removed whenever one is added: more than one, so that they become fewer."""


class KeysTaken(Exception):
    """Another transaction stored one of these keys first; this one must be undone."""


def add_keys(session: Session, keys: Sequence[tuple[IdempotencyKey, int]], *, now: datetime) -> None:
    """Makes each key stand for a message that was just stored. Raises KeysTaken; a key that has expired is free.

    Some that have expired are removed, so that they do not pile up where no worker runs.
    """
    rows = [
        {
            "api_key": key.api_key,
            "key": key.key,
            "sha256": key.sha256,
            "message_pk": message_pk,
            "expires_at": instant(key.expires_at),
            "repeats": 0,
        }
        for key, message_pk in sorted(keys, key=lambda each: each[0].place)
    ]
    connection = session.connection()
    upsert = _key_upsert(connection.dialect.name)
    if len(connection.execute(upsert, parameter(rows) | {"now": now}).all()) < len(rows):
        raise KeysTaken
    connection.execute(_forgetting(), {"now": now})


@cache
def _key_upsert(dialect: str) -> Any:
    insert = insert_rows(dialect, IdempotencyKeyRow)
    return insert.on_conflict_do_update(
        index_elements=[IdempotencyKeyRow.api_key, IdempotencyKeyRow.key],
        set_={name: insert.excluded[name] for name in ("sha256", "message_pk", "expires_at", "repeats")},
        where=IdempotencyKeyRow.expires_at < bindparam("now", type_=Instant),
    ).returning(IdempotencyKeyRow.key)


def repeat(session: Session, key: IdempotencyKey, *, now: datetime) -> Row[tuple[str, int]] | None:
    """Counts that the request came again; returns the ``sha256`` and ``message_pk`` that its key stands for, or None if
    it stands for nothing. So whatever is answered to a repeat has a commit of its own."""
    which = {"this_api_key": key.api_key, "this_key": key.key, "now": now}
    return session.connection().execute(_repeating(), which).one_or_none()


@cache
def _repeating() -> Any:
    row = IdempotencyKeyRow
    this = (row.api_key == bindparam("this_api_key")) & (row.key == bindparam("this_key"))
    is_kept = row.expires_at.is_(None) | (row.expires_at >= bindparam("now", type_=Instant))
    return update(row).where(this, is_kept).values(repeats=row.repeats + 1).returning(row.sha256, row.message_pk)


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


@cache
def _forgetting() -> Any:
    """Passes over what another transaction adds or removes at this moment, so it never waits."""
    row = aliased(IdempotencyKeyRow)
    # The plan is made once for all values, so how few rows are wanted is written out.
    expired = (
        select(row.api_key, row.key)
        .where(row.expires_at < bindparam("now", type_=Instant))
        .order_by(row.expires_at)
        .limit(literal_column(str(FORGOTTEN)))
        .with_for_update(skip_locked=True)
    )
    return delete(IdempotencyKeyRow).where(tuple_(IdempotencyKeyRow.api_key, IdempotencyKeyRow.key).in_(expired))
