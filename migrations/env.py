"""The environment that Alembic runs, both for `receiver migrate` and for a developer's `alembic`."""

from dataclasses import asdict
from typing import Any

from alembic import context
from sqlalchemy import Connection, inspect

from receiver.bandwidth.error_codes import ERROR_CODES, RANGES, unlisted
from receiver.database.json_rows import insert_rows, parameter
from receiver.database.models import METADATA, Base, ErrorCodeRow, ErrorRangeRow
from receiver.database.schema import migrating
from receiver.settings import read_settings


def write_error_codes(connection: Connection) -> None:
    """Copies the meanings of error codes, which the code defines, to the tables that the support views join."""
    if not inspect(connection).has_table(ErrorCodeRow.__tablename__):
        return
    _write(connection, ErrorCodeRow, [asdict(each) for each in ERROR_CODES.values()])
    ranges = []
    for codes, *_ in RANGES:
        meaning = unlisted(codes.start)
        ranges.append(
            {
                "first_code": codes.start,
                "last_code": codes.stop - 1,
                "category": meaning.category,
                "reason": meaning.reason,
                "advice": meaning.advice,
            }
        )
    _write(connection, ErrorRangeRow, ranges)


def _write(connection: Connection, model: type[Base], rows: list[dict[str, Any]]) -> None:
    insert = insert_rows(connection.dialect.name, model)
    key, *columns = rows[0]
    on_conflict = {column: insert.excluded[column] for column in columns}
    connection.execute(insert.on_conflict_do_update(index_elements=[key], set_=on_conflict), parameter(rows))


def is_compared(_item: object, name: str | None, *_: object) -> bool:
    """Whether `alembic check` compares it with the models. Each database rewrites an index on an expression."""
    return name != "recipients_failed_index"


def run() -> None:
    attributes = context.config.attributes
    url = attributes.get("url") or read_settings().database_url
    with migrating(url) as connection:
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            render_as_batch=connection.dialect.name == "sqlite",
            compare_server_default=True,
            include_object=is_compared,
        )
        attributes["before"] = context.get_context().get_current_revision()
        context.run_migrations()
        attributes["after"] = context.get_context().get_current_revision()
        write_error_codes(connection)


run()
