"""Lets a role of PostgreSQL read the support views."""

from sqlalchemy import text

from receiver.errors import StorageUnavailable, UnknownRole
from receiver.storage import views
from receiver.storage.database import Database, Session


def grant_support(database: Database, role: str) -> list[str]:
    """Lets the role read every support view, and the schema's revision.

    Returns what else it may do here, which should be nothing.

    Raises UnknownRole, and StorageUnavailable also when these views are not ours to grant.
    """
    try:
        return database.write(lambda session: _grant(session, role))
    except StorageUnavailable as error:
        raise StorageUnavailable(f"{role} was not let in: {error.reason or error}") from error


def _grant(session: Session, role: str) -> list[str]:
    found = session.execute(_NAMES, {"role": role}).one_or_none()
    if found is None:
        raise UnknownRole(role)
    connection = session.connection()
    if not found.may_look:  # which everybody may in public, whoever owns it
        views.run(connection, f"GRANT USAGE ON SCHEMA {found.schema} TO {found.role}")
    views.grant(connection, found.role)
    views.run(connection, f"GRANT SELECT ON alembic_version TO {found.role}")  # `receiver find` asks for the revision
    return list(session.scalars(_ELSE, {"role": role}))


_NAMES = text("""
    SELECT quote_ident(rolname) AS role, quote_ident(current_schema()) AS schema,
        has_schema_privilege(rolname, current_schema(), 'USAGE') AS may_look
    FROM pg_roles WHERE rolname = :role
""")

_ELSE = text("""
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
