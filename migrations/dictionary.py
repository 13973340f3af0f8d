"""Writes data-dictionary.md, which describes every view, table and column, from the comments that PostgreSQL keeps.

    python -m migrations.dictionary

starts a PostgreSQL server of its own and migrates its database.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from sqlalchemy import Connection, text

from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, Disposition, RecipientStatus
from receiver.core.text import Word
from receiver.database.database import Database
from receiver.database.schema import upgrade
from tests.support.postgres import PostgresServer

PAGE = Path(__file__).parent / "data-dictionary.md"

INTRODUCTION = """\
# Data dictionary

Written by `make dictionary` from the comments in the schema, which any PostgreSQL client shows too (`\\d+` in psql).
The views are a contract; the tables are not, and change with the program. Types are those of PostgreSQL. On SQLite
times are text in UTC without a zone, flags are 0 and 1, and everything else is the same.
"""

WORDS: dict[str, type[Word]] = {
    "send_status": SendStatus,
    "refused_because": RefusedBecause,
    "status, recipient_status": RecipientStatus,
    "confirmed_by": ConfirmedBy,
    "disposition": Disposition,
}
"""By column name: the words that it may hold."""


COLUMNS = text("""
    SELECT relation.relname, obj_description(relation.oid, 'pg_class'), attname,
        format_type(atttypid, atttypmod), col_description(relation.oid, attnum)
    FROM pg_class relation JOIN pg_attribute ON attrelid = relation.oid
    WHERE relation.relnamespace = current_schema()::regnamespace AND relation.relkind = :kind
        AND relation.relname <> 'alembic_version' AND attnum > 0 AND NOT attisdropped
    ORDER BY relation.relname, attnum
""")


def page(connection: Connection) -> str:
    """The page, from the comments of a migrated PostgreSQL database."""
    return "\n".join(
        [INTRODUCTION, *_words(), *_relations(connection, "v", "Views"), *_relations(connection, "r", "Tables")]
    )


def _words() -> Iterator[str]:
    yield "## Words\n"
    for columns, words in WORDS.items():
        yield from (f"### {columns}\n", "| Word | Meaning |", "|---|---|")
        yield from (f"| `{word}` | {word.meaning} |" for word in words)
        yield ""


def _relations(connection: Connection, kind: str, title: str) -> Iterator[str]:
    yield f"## {title}\n"
    for (name, meaning), columns in groupby(connection.execute(COLUMNS, {"kind": kind}), key=lambda row: row[:2]):
        yield from (f"### {name}\n", f"{meaning}\n", "| Column | Type | Meaning |", "|---|---|---|")
        yield from (f"| `{column}` | {type_} | {comment} |" for *_, column, type_, comment in columns)
        yield ""


def main() -> None:
    with PostgresServer(fsync=False) as server:
        url = server.create_database("dictionary")
        upgrade(url)
        with Database(url) as database, database.read() as session:
            PAGE.write_text(page(session.connection()), encoding="utf-8")


if __name__ == "__main__":
    main()
