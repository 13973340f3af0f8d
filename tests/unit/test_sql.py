"""SQL takes values through bound parameters only: a text of SQL is written out in the code, or is reviewed below.

ruff's S608 looks for statements that are put together; this looks at every place where text becomes SQL.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "receiver").rglob("*.py"), *(ROOT / "migrations").rglob("*.py")])

MAKES_SQL = {"text", "literal_column", "exec_driver_sql", "DDL"}
"""Functions of SQLAlchemy whose first argument is SQL."""

RUNS_SQL = {"execute", "executemany", "executescript"}
"""Methods of a driver too: there, only what is put together is suspicious."""

REVIEWED = {
    "receiver/database/engine.py: begin": "one of two constants of that module",
    "receiver/database/engine.py: f'PRAGMA {pragma}'": "one of the constants in the line above",
    "receiver/database/schema.py: f\"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'\"": "a constant of that module",
    "receiver/database/schema.py: f\"SET LOCAL lock_timeout = '{TURN_TIMEOUT}'\"": "a constant of that module",
    "receiver/messages/queue.py: str(limit)": "a number, that of a worker's threads",
    "receiver/database/json_rows.py: sql": "statements of files of ours, which test_statements.py reads",
    "receiver/database/views.py: statement": "files of migrations/views, names of views, roles quoted by PostgreSQL",
    "migrations/versions/0001_messages.py: where": "constants of that file",
    "migrations/versions/0001_messages.py: day": "constants of that file",
    "migrations/versions/0003_replies.py: where": "constants of that file",
}
"""What is not written out where it becomes SQL, and why no caller's value can be in it."""


def is_written_out(argument: ast.expr) -> bool:
    if isinstance(argument, ast.IfExp):
        return is_written_out(argument.body) and is_written_out(argument.orelse)
    return isinstance(argument, ast.Constant)


def is_put_together(argument: ast.expr) -> bool:
    is_format = (
        isinstance(argument, ast.Call)
        and isinstance(argument.func, ast.Attribute)
        and argument.func.attr in ("format", "join", "replace")
    )
    return is_format or isinstance(argument, ast.JoinedStr | ast.BinOp)


def suspicious(source: str) -> list[str]:
    """The arguments that become SQL and are not written out."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        argument = node.args[0]
        if (name in MAKES_SQL and not is_written_out(argument)) or (name in RUNS_SQL and is_put_together(argument)):
            found.append(ast.unparse(argument))
    return found


def test_every_text_of_sql_is_written_out_or_reviewed() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {argument}"
        for path in SOURCES
        for argument in suspicious(path.read_text(encoding="utf-8"))
    }

    assert found == set(REVIEWED)


@pytest.mark.parametrize(
    "source",
    [
        "session.execute(text(f'DELETE FROM events WHERE tag = {tag}'))",
        "session.execute(text('DELETE FROM events WHERE tag = ' + tag))",
        "session.execute(sqlalchemy.text('DELETE FROM %s' % table))",
        "connection.exec_driver_sql('DELETE FROM {}'.format(table))",
        "connection.exec_driver_sql(query)",
        "cursor.execute(f'SELECT {column}')",
        "cursor.executemany('SELECT ' + column, rows)",
        "select(literal_column(name))",
        "text('SELECT 1' if fine else query)",
    ],
)
def test_a_statement_with_a_value_in_its_text_is_found(source: str) -> None:
    assert suspicious(source)


@pytest.mark.parametrize(
    "source",
    ["session.execute(text('SELECT :tag'), {'tag': tag})", "session.execute(select(Message))", "text('a' 'b')"],
)
def test_a_statement_with_bound_parameters_is_not(source: str) -> None:
    assert not suspicious(source)
