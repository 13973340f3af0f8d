"""The database: whether it responds, with which version, connection and schema, and whether it accepts writes."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, text
from sqlalchemy.orm import Session

from receiver.core import times
from receiver.database.database import Database
from receiver.database.models import UnreadableCallback
from receiver.database.schema import SchemaState, demand_utf8, schema_state
from receiver.errors import StorageUnavailable, WrongEncoding
from receiver.maintenance.doctor.findings import Finding, ok, warning, wrong

OLDEST_POSTGRES = 15

TRIAL = 2**16
"""Bytes of a trial write: more than a full disk has left in the existing files."""


@dataclass(frozen=True, slots=True)
class DatabaseProduct:
    """The database's product and version."""

    name: str
    """PostgreSQL or SQLite."""
    major: int
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresLink:
    """How this process reaches PostgreSQL, or the pooler in front of it."""

    host: str
    """The folder of the socket if the server is on this machine."""
    sslmode: str
    tls: str | None
    """The TLS version of the connection; None if it is not encrypted."""

    @property
    def is_local(self) -> bool:
        return self.host.startswith(("/", "@")) or self.host == "localhost" or self.host.startswith(("127.", "::1"))

    def __str__(self) -> str:
        return f"host {self.host}, sslmode {self.sslmode}, {f'encrypted ({self.tls})' if self.tls else 'not encrypted'}"


def check_connection(database: Database) -> Iterator[Finding]:
    """Checks whether the database responds, and its version, connection and schema."""
    try:
        with database.read() as session:
            demand_utf8(session.connection())
            product, state = _read_product(session), schema_state(session.connection())
            link = read_postgres_link(session) if product.name == "PostgreSQL" else None
    except WrongEncoding as error:
        yield wrong("database", error.found.removeprefix("the database "), error.remedy)
        return
    except StorageUnavailable as error:
        remedy = (
            "check DATABASE_URL, and the permissions of the file and its folder."
            if database.engine.dialect.name == "sqlite"
            else "check DATABASE_URL, that the database is running, and that this machine may connect."
        )
        yield wrong("database", f"the {database.where} cannot be used: {error.reason or error}", remedy)
        return
    yield check_version(product, database.where)
    yield check_encryption(link)
    yield _check_schema(state)


def _read_product(session: Session) -> DatabaseProduct:
    dialect = session.connection().dialect
    name = "PostgreSQL" if dialect.name == "postgresql" else "SQLite"
    numbers = dialect.server_version_info or (0,)
    return DatabaseProduct(name, major=int(numbers[0]), version=".".join(map(str, numbers)))


def read_postgres_link(session: Session) -> PostgresLink:
    """How an open connection reaches PostgreSQL."""
    driver: Any = session.connection().connection.driver_connection
    options = {each.keyword.decode(): (each.val or b"").decode() for each in driver.pgconn.info}
    # Behind a pooler the server does not know the version of our own connection.
    tls = (session.scalar(_TLS) or "TLS") if driver.pgconn.ssl_in_use else None
    return PostgresLink(host=driver.info.host, sslmode=options["sslmode"], tls=tls)


_TLS = text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


def check_version(product: DatabaseProduct, where: str) -> Finding:
    """Checks whether the version is supported."""
    if product.name == "PostgreSQL" and product.major < OLDEST_POSTGRES:
        return wrong("database", f"is {product}", f"upgrade it to PostgreSQL {OLDEST_POSTGRES} or newer.")
    return ok("database", f"the {where} responds; it is {product}")


def check_encryption(link: PostgresLink | None) -> Finding:
    """Checks whether stored data and the password are safe from eavesdroppers; None stands for an SQLite file."""
    if link is None:
        return ok("connection", "an SQLite file needs none")
    if link.tls or link.is_local:
        return ok("connection", str(link))
    remedy = "append ?sslmode=verify-full to DATABASE_URL; sslrootcert=FILE names the CA."
    return warning("connection", str(link), remedy)


def _check_schema(state: SchemaState) -> Finding:
    if state is SchemaState.CURRENT:
        return ok("schema", "matches this version")
    if state is SchemaState.NEWER:
        return warning("schema", f"is {state.value}", "upgrade this host; until then it works.")
    return wrong("schema", f"is {state.value}", "run `receiver migrate`.")


def check_writes(database: Database) -> Iterator[Finding]:
    """Checks whether events could be stored. `GET /health/ready` cannot tell: a standby still answers queries."""
    try:
        database.write(try_write)
    except StorageUnavailable as error:
        found = f"refuses writes, so every callback gets a 503: {error.reason or error}"
        remedy = "DATABASE_URL must name the primary and a role that may write; check the disk space there."
        yield wrong("writing", found, remedy)
    else:
        yield ok("writing", "the database accepts writes")


def try_write(session: Session) -> None:
    """Stores an element of a callback and deletes it in the same transaction, so that it is never visible.

    That needs all that a real write needs, disk space included.
    """
    row = {"sha256": secrets.token_hex(32), "reason": "", "payload": secrets.token_hex(TRIAL // 2), "whole_body": False}
    received = dict.fromkeys(("first_received_at", "last_received_at"), times.now())
    stored = insert(UnreadableCallback).values(**row, **received, deliveries=1).returning(UnreadableCallback.pk)
    key = session.execute(stored).scalar_one()
    session.execute(delete(UnreadableCallback).where(UnreadableCallback.pk == key))
