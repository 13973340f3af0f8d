"""Run by Alembic, for `receiver migrate` and for a developer's `alembic` alike."""

import os
from dataclasses import asdict
from typing import Any

from alembic import context
from sqlalchemy import Connection, inspect

from receiver.bandwidth.error_codes import ERROR_CODES, RANGES, unlisted
from receiver.database.json_rows import insert_rows, parameter
from receiver.database.models import METADATA, Base, ErrorCodeRow, ErrorRangeRow
from receiver.database.schema import migrating
from receiver.settings import DEFAULT_DATABASE_URL, with_driver


def write_error_codes(connection: Connection) -> None:
    """What error codes mean is said in the code; the database gets a copy for the support views to join."""
    if inspect(connection).has_table(ErrorCodeRow.__tablename__):
        _write(connection, ErrorCodeRow, [asdict(row) for row in ERROR_CODES.values()])
        _write(connection, ErrorRangeRow, [_range_row(codes) for codes, *_ in RANGES])


def _range_row(codes: range) -> dict[str, Any]:
    said = unlisted(codes.start)
    return {
        "first_code": codes.start,
        "last_code": codes.stop - 1,
        "category": said.category,
        "reason": said.reason,
        "advice": said.advice,
    }


def _write(connection: Connection, model: type[Base], rows: list[dict[str, Any]]) -> None:
    insert = insert_rows(connection.dialect.name, model)
    key, *columns = rows[0]
    on_conflict = {column: insert.excluded[column] for column in columns}
    connection.execute(insert.on_conflict_do_update(index_elements=[key], set_=on_conflict), parameter(rows))


def is_compared(_item: object, name: str | None, *_: object) -> bool:
    """Whether `alembic check` expects it in the models; an index on an expression is spelled by each database anew."""
    return name != "recipients_failed_index"


def run() -> None:
    attributes = context.config.attributes
    url = attributes.get("url") or with_driver(os.environ.get("DATABASE_URL") or DEFAULT_DATABASE_URL)
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
