"""Passes many rows in one parameter: a JSON text that the database takes apart.

So a statement has the same text for one row and for a thousand, and is prepared once. JSON is also the quickest way in:
PostgreSQL parses it with one function, while the driver adapts lists of values one by one.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, cast

import msgspec
from sqlalchemy import (
    ColumnElement,
    CursorResult,
    FromClause,
    LargeBinary,
    Table,
    Text,
    TextClause,
    TextualSelect,
    bindparam,
    column,
    func,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute, Session

from receiver.database.models import Base, Instant

AnyColumn = ColumnElement[Any] | InstrumentedAttribute[Any]

ROWS = "rows"
"""The parameter's name."""

DIALECTS = ("postgresql", "sqlite")


def rows_of(dialect: str, *columns: AnyColumn) -> FromClause:
    """A FROM clause ``given`` with those columns, which yields the parameter's rows in their order."""
    if dialect == "sqlite":
        element = func.json_each(bindparam(ROWS, type_=Text)).table_valued("value")
        return select(*(_from_json(element.c.value, each).label(each.name) for each in columns)).subquery("given")
    function = func.jsonb_to_recordset(bindparam(ROWS, type_=Text).cast(JSONB))
    return function.table_valued(*(column(each.name, each.type) for each in columns)).render_derived(
        name="given", with_types=True
    )


def _from_json(element: Any, wanted: AnyColumn) -> Any:
    """The column's value in a JSON object on SQLite, which parses neither instants nor bytes."""
    value = func.json_extract(element, f"$.{wanted.name}")
    if isinstance(wanted.type, Instant):
        return func.substr(value, 1, len("2026-11-21 21:53:14.123456"))
    return func.unhex(func.substr(value, 3)) if isinstance(wanted.type, LargeBinary) else value


def insert_rows(dialect: str, model: type[Base]) -> Any:
    """An INSERT of the parameter's rows, in their order, that supports ON CONFLICT. A generated key is left out."""
    table = cast("Table", model.__table__)
    given = rows_of(dialect, *(column for column in table.columns if column is not table.autoincrement_column))
    # Without a WHERE before it, SQLite parses the ON of ON CONFLICT as that of a join (sqlite.org/lang_upsert.html).
    query = select(*given.c).where(true())
    # Both dialects write ON CONFLICT alike, but SQLAlchemy offers it only per dialect.
    insert = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    return insert.from_select(list(query.selected_columns.keys()), query)


def parameter(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The parameter that holds these rows.

    No text may hold NUL or a lone surrogate. Instants are written by instant(), bytes by octets().
    """
    return {ROWS: msgspec.json.encode(list(rows)).decode()}


def is_one_of(column: AnyColumn, values: Set[str]) -> ColumnElement[bool]:
    """Replaces IN, whose list SQLAlchemy renders again at every execution, which took longer than the execution."""
    return or_(*(column == each for each in sorted(values)))


def instant(value: datetime | None) -> str | None:
    """Formats an instant in UTC, as both databases parse it."""
    return None if value is None else value.isoformat(" ", "microseconds")


def in_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its instants formatted by instant()."""
    return {name: instant(value) if isinstance(value, datetime) else value for name, value in row.items()}


def octets(value: bytes) -> str:
    """Formats bytes as PostgreSQL parses them, and SQLite through _from_json()."""
    return "\\x" + value.hex()


class Statements:
    """The named statements of an SQL file, each of which takes its rows from the parameter ``:rows``.

    A statement begins with a line ``-- name: what it does, dialect``, or without the dialect if one text serves both
    databases, and ends with a semicolon. Comments are cut off: they would be sent with every execution.
    """

    def __init__(self, package: str, file: str) -> None:
        self._texts: dict[tuple[str, str], TextClause | TextualSelect] = {}
        self.pipelined: dict[str, str] = {}
        """By name, the statements for a Pipeline, whose parameters are $1 and so on."""
        instants = _instants()
        for part in files(package).joinpath(file).read_text("utf-8").split("-- name: ")[1:]:
            heading, *lines = part.splitlines()
            name, _, dialect = heading.partition(", ")
            sql = "\n".join(line for line in lines if not line.startswith("--")).strip().removesuffix(";")
            if "$1" in sql:
                self.pipelined[name] = sql
                continue
            for each in [dialect] if dialect else DIALECTS:
                # Where SQLite has the text of an instant, Python needs the instant.
                self._texts[name, each] = text(sql).columns(**instants) if each == "sqlite" else text(sql)

    def run(
        self, session: Session, name: str, rows: Iterable[Mapping[str, Any]], **parameters: Any
    ) -> CursorResult[Any]:
        """Executes the statement once, with all these rows."""
        connection = session.connection()
        return connection.execute(self._texts[name, connection.dialect.name], parameter(rows) | parameters)

    def run_for_each(self, session: Session, name: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Executes a statement that takes no rows once for each of these parameters, in their order."""
        connection = session.connection()
        connection.execute(self._texts[name, connection.dialect.name], parameters)


@cache
def statements(package: str, file: str) -> Statements:
    """The statements of a file, which is read once."""
    return Statements(package, file)


def _instants() -> dict[str, Any]:
    """The type of every column, of whatever table, that holds an instant."""
    columns = (column for table in Base.metadata.tables.values() for column in table.columns)
    return {column.name: column.type for column in columns if isinstance(column.type, Instant)}
