"""The support views: every migration creates them anew, and `receiver grant-support` lets a PostgreSQL role read them.

They come from the newest file of migrations/views that fits the schema. Beside ``<revision>.sql`` stands
``<revision>.toml``, which describes every view and column: PostgreSQL keeps that as comments, and the data dictionary
is made from those. alembic-utils would replace none of this: its views are PostgreSQL's only, without their comments
and without their readers.
"""

import tomllib
from collections.abc import Mapping, Set
from pathlib import Path
from string import Template

from sqlalchemy import Connection, inspect, text

from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, RecipientStatus
from receiver.core.text import Word
from receiver.database.database import Database, Session
from receiver.errors import StorageUnavailable, UnknownRole

PREFIX = "support_"

Readers = Mapping[str, frozenset[str] | None]
"""The views that each role could read, by the role's name, quoted as in a statement; None is all views."""


def names(connection: Connection) -> list[str]:
    return sorted(name for name in inspect(connection).get_view_names() if name.startswith(PREFIX))


def drop(connection: Connection) -> Readers:
    """Drops the views and returns their readers, because privileges are lost with a view."""
    views = names(connection)
    readers = _readers(connection, views) if connection.dialect.name == "postgresql" else {}
    # PostgreSQL drops views that depend on each other only together; SQLite drops only one at a time.
    dropped_at_once = [", ".join(views)] if connection.dialect.name == "postgresql" and views else views
    for each in dropped_at_once:
        run(connection, f"DROP VIEW {each}")
    return readers


def create(connection: Connection, path: Path, readers: Readers) -> None:
    """Creates the views of a file for their readers. A role that could read all views can read new ones, too."""
    for statement in render(path, connection.dialect.name):
        run(connection, statement)
    if connection.dialect.name == "postgresql":
        _comment(connection, path.with_suffix(".toml"))
        for role, could_read in readers.items():
            grant(connection, role, could_read)


def grant(connection: Connection, role: str, views: Set[str] | None = None) -> None:
    """Lets the role, quoted as in a statement, read these views; None is all of them."""
    for view in names(connection):
        if views is None or view in views:
            run(connection, f"GRANT SELECT ON {view} TO {role}")


def run(connection: Connection, statement: str) -> None:
    """Runs the statement verbatim: percent signs and colons in it mark no parameters."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _readers(connection: Connection, views: list[str]) -> Readers:
    found = connection.execute(_READERS, {"prefix": PREFIX}).all()
    return {role: None if set(readable) == set(views) else frozenset(readable) for role, readable in found}


_READERS = text("""
    SELECT CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END,
        array_agg(view.relname::text)
    FROM pg_class view, aclexplode(view.relacl) given
    WHERE view.relkind = 'v' AND view.relnamespace = current_schema()::regnamespace
        AND starts_with(view.relname, :prefix) AND given.privilege_type = 'SELECT' AND given.grantee <> view.relowner
    GROUP BY 1
""")


def _comment(connection: Connection, path: Path) -> None:
    meanings = tomllib.loads(path.read_text(encoding="utf-8"))
    for view in names(connection):
        run(connection, f"COMMENT ON VIEW {view} IS {_literal(meanings['views'][view])}")
        own = meanings.get(view, {})
        for column in (each["name"] for each in inspect(connection).get_columns(view)):
            meaning = own.get(column) or meanings["columns"][column]
            run(connection, f"COMMENT ON COLUMN {view}.{column} IS {_literal(meaning)}")


def render(path: Path, dialect: str) -> list[str]:
    """The CREATE VIEW statements of a file in the dialect of the database."""
    statements = Template(path.read_text(encoding="utf-8")).substitute(DIALECTS[dialect] | _sentences()).split(";\n")
    return [statement.strip() for statement in statements if statement.strip()]


DIALECTS = {
    "postgresql": {
        "join_text": "string_agg",
        "white_space": r"E'\t\n\r\u00a0'",
        "latest": "greatest",
        "utc_day_of_occurred_at": "CAST(occurred_at AT TIME ZONE 'UTC' AS date)",
        "utc": "to_char(",
        "as_text": """ AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
        "readable_json": r"""CAST(CASE
            WHEN strpos(payload, '\u0000') > 0 OR strpos(lower(payload), '\ud') > 0 THEN regexp_replace(
                payload, '\\u0000|\\ud[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..)\\ud[c-f]..', '\\ufffd', 'gi'
            )
            ELSE payload
        END AS json)""",
        "json_type": "json_typeof",
        "elements_of": "json_array_elements_text",
        "as_json": "::json",
        "a_minute_ago": "CURRENT_TIMESTAMP - INTERVAL '1 minute'",
        "minutes_ago": "CURRENT_TIMESTAMP - INTERVAL '3 minutes'",
    },
    "sqlite": {
        "join_text": "group_concat",
        "white_space": "char(9, 10, 13, 160)",
        "latest": "max",
        "utc_day_of_occurred_at": "date(occurred_at)",
        "utc": "replace(",
        "as_text": ", ' ', 'T') || 'Z'",
        "readable_json": """CASE
            WHEN NOT json_valid(payload) THEN '{}'
            WHEN EXISTS (SELECT 1 FROM json_tree(payload) WHERE atom GLOB '*' || char(65533) || '*') THEN '{}'
            ELSE payload
        END""",
        "json_type": "json_type",
        "elements_of": "json_each",
        "as_json": "",
        "a_minute_ago": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 minute')",
        "minutes_ago": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-3 minutes')",
    },
}
"""The SQL that differs between the two databases in the views.

A lone surrogate in the JSON of one row would fail the whole query. PostgreSQL refuses it as text, as it does NUL, so it
becomes U+FFFD there. SQLite would return text that is not UTF-8, which it reads itself as U+FFFD, so the payload
becomes an empty object there. The search for them is slow, so it runs only where there may be one."""


def _sentences() -> dict[str, str]:
    """The expressions that turn a word into a sentence, made of the words' own meanings."""
    return {
        "send_status_in_words": _in_words("m.send_status", SendStatus),
        "refused_because_in_words": _in_words("m.refused_because", RefusedBecause, before="Not sent: "),
        "status_in_words": _in_words("r.status", RecipientStatus),
        "confirmed_by_in_words": _in_words("CASE WHEN m.receipts THEN 'carrier' ELSE 'bandwidth' END", ConfirmedBy),
        "unknown_in_words": _literal(_sentence(SendStatus.UNKNOWN.meaning)),
    }


def _in_words(column: str, words: type[Word], *, before: str = "") -> str:
    sentences = (f"WHEN '{word}' THEN {_literal(before + _sentence(word.meaning, first=not before))}" for word in words)
    return f"CASE {column} {' '.join(sentences)} END"


def _sentence(meaning: str, *, first: bool = True) -> str:
    return f"{meaning[0].upper() if first else meaning[0]}{meaning[1:]}."


def _literal(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def grant_support(database: Database, role: str) -> list[str]:
    """Lets the role read every support view and the schema's revision.

    Returns its other privileges in this schema, one phrase each; there should be none. Raises UnknownRole, and
    StorageUnavailable also if this program's role does not own the views.
    """
    try:
        return database.write(lambda session: _grant(session, role))
    except StorageUnavailable as error:
        raise StorageUnavailable(f"{role} was granted nothing: {error.reason or error}") from error


def _grant(session: Session, role: str) -> list[str]:
    found = session.execute(_QUOTED_NAMES, {"role": role}).one_or_none()
    if found is None:
        raise UnknownRole(role)
    connection = session.connection()
    if not found.has_usage:  # every role has it in the schema public
        run(connection, f"GRANT USAGE ON SCHEMA {found.schema} TO {found.role}")
    grant(connection, found.role)
    run(connection, f"GRANT SELECT ON alembic_version TO {found.role}")  # `receiver find` asks for the revision
    return list(session.scalars(_OTHER_PRIVILEGES, {"role": role}))


_QUOTED_NAMES = text("""
    SELECT quote_ident(rolname) AS role, quote_ident(current_schema()) AS schema,
        has_schema_privilege(rolname, current_schema(), 'USAGE') AS has_usage
    FROM pg_roles WHERE rolname = :role
""")

_OTHER_PRIVILEGES = text("""
    SELECT 'create in the schema' WHERE has_schema_privilege(:role, current_schema(), 'CREATE')
    UNION ALL
    SELECT 'create roles' FROM pg_roles WHERE rolname = :role AND rolcreaterole
    UNION ALL
    (
        -- A role that does not inherit from those it is a member of can still become them.
        SELECT 'use the table ' || relname FROM pg_class c
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND EXISTS (
            SELECT 1 FROM pg_roles r
            WHERE pg_has_role(:role, r.oid, 'MEMBER') AND (
                has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE')
                OR has_any_column_privilege(
                    r.oid, c.oid, CASE relname WHEN 'alembic_version' THEN '' ELSE 'SELECT, ' END || 'INSERT, UPDATE'
                )
            )
        )
        ORDER BY relname
    )
    UNION ALL
    (
        SELECT 'write through the view ' || relname FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'v'
            AND has_table_privilege(:role, oid, 'INSERT, UPDATE, DELETE')
        ORDER BY relname
    )
""")
