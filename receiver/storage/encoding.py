"""A database of PostgreSQL that cannot hold every character is refused before it has taken anything.

One curly quote would be answered 500, and one stored reply that cannot be converted would break a whole view.
"""

from sqlalchemy import Connection, text

from receiver.errors import WrongEncoding

ENCODING = "UTF8"


def demand_utf8(connection: Connection) -> None:
    """Raises WrongEncoding for a database of PostgreSQL with another encoding; SQLite has none other."""
    if connection.dialect.name == "postgresql":
        database, encoding, locale = connection.execute(FOUND).one()
        if encoding != ENCODING:
            raise WrongEncoding(database, encoding, remedy=_remedy(f"{database}_utf8", locale))


FOUND = text("""
    SELECT current_database(), current_setting('server_encoding'),
        (SELECT datctype FROM pg_database WHERE datname = 'template0')
""")


def _remedy(database: str, locale: str | None) -> str:
    """The statement that makes a right one. A locale of another encoding would make PostgreSQL refuse it."""
    name = database.replace('"', '""')
    suits = locale in (None, "C", "POSIX") or str(locale).lower().replace("-", "").endswith("utf8")
    return f"CREATE DATABASE \"{name}\" ENCODING '{ENCODING}' TEMPLATE template0" + ("" if suits else " LOCALE 'C'")
