"""SQL takes values through bound parameters only: a text of SQL is written out in the code, or is reviewed below.

ruff's S608 looks for statements that are put together; this looks at every place where text becomes SQL.
"""

import ast
import re
from pathlib import Path

import pytest
from sqlalchemy.dialects.postgresql import dialect as postgresql

from receiver.core.events import INBOUND_TYPES
from receiver.core.send_status import SendStatus, may_become
from receiver.core.status import unsaid
from receiver.database.json_rows import DIALECTS, ROWS
from receiver.database.models import METADATA, StoredEvent

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
    "receiver/database/json_rows.py: sql": "statements of files of ours, which the tests below read",
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


STORE = (ROOT / "receiver/events/store.sql").read_text(encoding="utf-8")
PARTS = [part.partition("\n") for part in STORE.split("-- name: ")[1:]]
STATEMENTS = {heading: re.sub(r"^--.*$", "", rest, flags=re.MULTILINE) for heading, _, rest in PARTS}
PARAMETERS = {ROWS, "anyway", "pk", "message_pk"}


def test_every_statement_of_the_file_has_its_own_name_and_each_database_has_it() -> None:
    assert len(STATEMENTS) == len(PARTS)
    names = {tuple(heading.split(", ")) for heading in STATEMENTS}
    dialects = {name: {each[1] for each in names if each[0] == name and len(each) == 2} for name, *_ in names}
    assert set(map(frozenset, dialects.values())) == {frozenset(DIALECTS), frozenset()}


@pytest.mark.parametrize("heading", STATEMENTS)
def test_a_statement_of_the_file_is_one_and_has_values_in_parameters_alone(heading: str) -> None:
    sql = STATEMENTS[heading].strip()

    assert sql.endswith(";")
    assert sql.count(";") == 1
    assert "--" not in sql
    assert not re.search(r"%|\{|\?", sql)
    assert set(re.findall(r"(?<!:):(\w+)", sql)) <= PARAMETERS


@pytest.mark.parametrize("heading", STATEMENTS)
def test_the_words_in_a_statement_of_the_file_are_those_of_the_core(heading: str) -> None:
    sql = STATEMENTS[heading]

    for words in re.findall(r"\btype (?:NOT )?IN \(([^)]*)\)", sql):
        assert set(re.findall("'([^']*)'", words)) == INBOUND_TYPES
    for words in re.findall(r"\bsend_status IN \(([^)]*)\)", sql):
        assert set(re.findall("'([^']*)'", words)) == may_become(SendStatus.ACCEPTED)
    assert set(re.findall(r"\bsend_status = '(\w+)'", sql)) <= {SendStatus.ACCEPTED}
    statuses = {unsaid(SendStatus.ACCEPTED), unsaid(SendStatus.REFUSED)}
    assert set(re.findall(r"\bstatus = '(\w+)'", sql)) <= statuses
    assert set(re.findall(r"THEN '(\w+)'|linked_by = '(\w+)'", sql)) <= {
        ("tag", ""),
        ("messageId", ""),
        ("", "messageId"),
    }


@pytest.mark.parametrize("heading", [each for each in STATEMENTS if each.endswith("postgresql")])
def test_the_columns_of_rows_have_the_types_that_the_tables_have(heading: str) -> None:
    columns = [column for table in METADATA.tables.values() for column in table.columns]
    types = {(each.name, each.type.compile(postgresql()).lower()) for each in columns}
    types |= {("claim", "varchar")}
    [given] = re.findall(r"AS given \(\s*((?:[^()]|\(\d+\))*)\)", STATEMENTS[heading])

    for each in given.replace("timestamptz", "timestamp with time zone").split(","):
        name, _, its_type = " ".join(each.split()).partition(" ")
        assert (name, its_type.lower()) in types


def test_a_statement_that_stores_events_stores_every_column() -> None:
    generated = {"pk"}
    for heading in ("store events, postgresql", "store events, sqlite"):
        [inserted] = re.findall(r"INSERT INTO events \(([^)]*)\)", STATEMENTS[heading])
        assert (
            set(re.findall(r"\w+", inserted)) == {column.name for column in StoredEvent.__table__.columns} - generated
        )


@pytest.mark.parametrize("heading", [each for each in STATEMENTS if each.endswith("postgresql")])
def test_rows_are_locked_in_an_order_that_the_statement_says(heading: str) -> None:
    """The array is sorted already, so a plan that changes the order would come as a surprise, and as a deadlock."""
    sql = " ".join(STATEMENTS[heading].split())

    assert len(re.findall("FOR NO KEY UPDATE OF", sql)) == len(re.findall(r"ORDER BY [^()]* FOR NO KEY UPDATE OF", sql))
    if "INSERT INTO events" in sql:
        assert "ORDER BY message_id, recipient, type, error_code ON CONFLICT" in sql
