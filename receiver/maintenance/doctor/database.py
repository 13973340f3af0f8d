"""The database: does it answer, is it the right schema, does it take a write?"""

from collections.abc import Iterator

from receiver.database.database import Database
from receiver.database.schema import SchemaState, demand_utf8, schema_state
from receiver.errors import StorageUnavailable, WrongEncoding
from receiver.maintenance.doctor.findings import Finding, ok, warning, wrong
from receiver.reports.overview import Link, Server, link, server, try_write

OLDEST_POSTGRES = 15


def answers(database: Database) -> Iterator[Finding]:
    """Whether it answers, and what it is."""
    try:
        with database.read() as session:
            demand_utf8(session.connection())
            found, state = server(session), schema_state(session.connection())
            reached = link(session) if found.name == "PostgreSQL" else None
    except WrongEncoding as error:
        yield wrong("database", error.found.removeprefix("the database "), error.remedy)
        return
    except StorageUnavailable as error:
        remedy = "check DATABASE_URL, that the database runs, and that this machine may connect."
        yield wrong("database", f"the {database.where} cannot be used: {error.reason or error}", remedy)
        return
    yield version(found, database.where)
    yield encryption(reached)
    yield _schema(state)


def version(found: Server, where: str) -> Finding:
    if found.name == "PostgreSQL" and found.major < OLDEST_POSTGRES:
        return wrong("database", f"is {found}", f"upgrade it to PostgreSQL {OLDEST_POSTGRES} or newer.")
    return ok("database", f"the {where} answers; it is {found}")


def encryption(reached: Link | None) -> Finding:
    """Whether somebody on the way could read what is stored, or the password."""
    if reached is None:
        return ok("connection", "an SQLite file needs none")
    found = str(reached)
    if reached.tls or reached.is_local:
        return ok("connection", found)
    return warning("connection", found, "append ?sslmode=verify-full to DATABASE_URL; sslrootcert=FILE names the CA.")


def _schema(state: SchemaState) -> Finding:
    if state is SchemaState.CURRENT:
        return ok("schema", "is the one of this version")
    if state is SchemaState.NEWER:
        return warning("schema", f"is {state.value}", "upgrade this host; until then it works.")
    return wrong("schema", f"is {state.value}", "run `receiver migrate`.")


def takes_writes(database: Database) -> Iterator[Finding]:
    """Whether events could be stored. `GET /health/ready` does not tell: a standby can still be asked for outcomes."""
    try:
        database.write(try_write)
    except StorageUnavailable as error:
        found = f"takes no write, so every callback is answered 503: {error.reason or error}"
        remedy = "DATABASE_URL must name the primary, with a role that may write, and enough disk space."
        yield wrong("writing", found, remedy)
    else:
        yield ok("writing", "the database takes writes")
