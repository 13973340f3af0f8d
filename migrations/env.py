"""Run by Alembic, for `receiver migrate` and for a developer's `alembic` alike."""

import os

from alembic import context
from sqlalchemy import Connection, inspect

from receiver.bandwidth.error_codes import ERROR_CODES
from receiver.config import DEFAULT_DATABASE_URL
from receiver.storage.migrations import migrating
from receiver.storage.models import ErrorCodeRow
from receiver.storage.rows import insert_rows, parameter
from receiver.storage.sending_models import METADATA


def write_error_codes(connection: Connection) -> None:
    """The one table of error codes is in the code; the database gets a copy for the support views to join."""
    if not inspect(connection).has_table(ErrorCodeRow.__tablename__):
        return
    insert = insert_rows(connection.dialect.name, ErrorCodeRow)
    columns = ("name", "category", "billable", "advice")
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["code"], set_={column: insert.excluded[column] for column in columns}
        ),
        parameter(
            {"code": code, **{column: getattr(row, column) for column in columns}} for code, row in ERROR_CODES.items()
        ),
    )


def is_compared(_item: object, name: str | None, *_: object) -> bool:
    """Whether `alembic check` expects it in the models; an index on an expression is spelled by each database anew."""
    return name != "recipients_failed_index"


def run() -> None:
    url = context.config.attributes.get("url") or os.environ.get("DATABASE_URL") or DEFAULT_DATABASE_URL
    with migrating(url) as connection:
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            render_as_batch=connection.dialect.name == "sqlite",
            compare_server_default=True,
            include_object=is_compared,
        )
        context.run_migrations()
        write_error_codes(connection)


run()
