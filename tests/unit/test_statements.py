"""The statements of store.sql and outbox.sql: each is whole, for both databases, and agrees with tables and core."""

import re
from importlib.resources import files
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql import dialect as postgresql

from receiver.core.events import INBOUND_TYPES
from receiver.core.send_status import SendStatus, may_become
from receiver.core.status import NO_STANDING, default_status
from receiver.database.json_rows import DIALECTS, ROWS
from receiver.database.models import METADATA, IdempotencyKeyRow, Message, MessageId, Recipient, StoredEvent


def read_statements(package: str, file: str) -> dict[str, str]:
    """The statements by the line that names them, without comments."""
    parts = files(package).joinpath(file).read_text("utf-8").split("-- name: ")[1:]
    found = {
        heading: re.sub(r"^--.*$", "", rest, flags=re.MULTILINE).strip()
        for heading, _, rest in (part.partition("\n") for part in parts)
    }
    assert len(found) == len(parts)
    return found


STORE = read_statements("receiver.events", "store.sql")
OUTBOX = read_statements("receiver.messages", "outbox.sql")
STATEMENTS = [
    *(pytest.param(sql, {ROWS, "anyway", "pk", "message_pk"}, id=heading) for heading, sql in STORE.items()),
    *(pytest.param(sql, {ROWS, "credentials", "sender", "now"}, id=heading) for heading, sql in OUTBOX.items()),
]
"""Each statement, and the parameters that it may have."""


@pytest.mark.parametrize("statements", [STORE, OUTBOX], ids=["store", "outbox"])
def test_each_database_has_every_statement(statements: dict[str, str]) -> None:
    names: dict[str, set[str]] = {}
    for name, _, dialect in (heading.partition(", ") for heading in statements):
        names.setdefault(name, set()).update([dialect] if dialect else DIALECTS)
    pipelined = {heading.partition(", ")[0] for heading, sql in statements.items() if "$1" in sql}
    for name, dialects in names.items():
        assert dialects == ({"postgresql"} if name in pipelined else set(DIALECTS))


@pytest.mark.parametrize(("sql", "parameters"), STATEMENTS)
def test_a_statement_is_one_and_has_values_in_parameters_alone(sql: str, parameters: set[str]) -> None:
    assert sql.endswith(";")
    assert sql.count(";") == 1
    assert "--" not in sql
    assert not re.search(r"%|\{|\?", sql)
    assert set(re.findall(r"(?<!:):(\w+)", sql)) <= parameters


@pytest.mark.parametrize("heading", STORE)
def test_the_words_in_a_statement_of_the_store_are_those_of_the_core(heading: str) -> None:
    sql = STORE[heading]

    for words in re.findall(r"\btype (?:NOT )?IN \(([^)]*)\)", sql):
        assert set(re.findall("'([^']*)'", words)) == INBOUND_TYPES
    for words in re.findall(r"\bsend_status IN \(([^)]*)\)", sql):
        assert set(re.findall("'([^']*)'", words)) == may_become(SendStatus.ACCEPTED)
    assert set(re.findall(r"\bsend_status = '(\w+)'", sql)) <= {SendStatus.ACCEPTED}
    statuses = {default_status(SendStatus.ACCEPTED), default_status(SendStatus.REFUSED)}
    assert set(re.findall(r"\bstatus = '(\w+)'", sql)) <= statuses
    assert set(re.findall(r"THEN '(\w+)'|linked_by = '(\w+)'", sql)) <= {
        ("tag", ""),
        ("messageId", ""),
        ("", "messageId"),
    }


@pytest.mark.parametrize("heading", [each for each in STORE if each.endswith("postgresql")])
def test_the_columns_of_the_stores_rows_have_the_types_that_the_tables_have(heading: str) -> None:
    columns = [column for table in METADATA.tables.values() for column in table.columns]
    types = {(each.name, each.type.compile(postgresql()).lower()) for each in columns}
    types |= {("claim", "varchar"), ("place", "integer"), ("is_inbound", "boolean"), ("is_receipt", "boolean")}
    [given] = re.findall(r"AS given \(\s*((?:[^()]|\(\d+\))*)\)", STORE[heading])

    for each in given.replace("timestamptz", "timestamp with time zone").split(","):
        name, _, its_type = " ".join(each.split()).partition(" ")
        assert (name, its_type.lower()) in types


def test_a_statement_that_stores_events_stores_every_column() -> None:
    generated = {"pk"}
    for heading in ("store events, postgresql", "store events, sqlite", "store plain events, postgresql"):
        [inserted] = re.findall(r"INSERT INTO events \(([^)]*)\)", STORE[heading])
        assert (
            set(re.findall(r"\w+", inserted)) == {column.name for column in StoredEvent.__table__.columns} - generated
        )


@pytest.mark.parametrize("heading", [each for each in STORE if each.endswith("postgresql")])
def test_rows_are_locked_in_an_order_that_the_statement_says(heading: str) -> None:
    """The array is sorted already, so a plan that changes the order would come as a surprise, and as a deadlock."""
    sql = " ".join(STORE[heading].split())

    for lock in ("FOR NO KEY UPDATE OF", "FOR KEY SHARE OF"):
        assert len(re.findall(lock, sql)) == len(re.findall(rf"ORDER BY [^()]* {lock}", sql))
    if "INSERT INTO events" in sql:
        assert "ORDER BY message_id, recipient, type, error_code ON CONFLICT" in sql


@pytest.mark.parametrize("heading", OUTBOX)
def test_the_states_in_a_statement_of_the_outbox_are_those_of_the_core(heading: str) -> None:
    sql = OUTBOX[heading]
    after = set(re.findall(r"SET\s+send_status = '(\w+)'", sql))
    before = set(re.findall(r"messages\.send_status = '(\w+)'", sql))

    assert before | after <= set(SendStatus)
    for status in after:
        assert before <= may_become(SendStatus(status))
    if heading.startswith("insert recipients"):
        assert default_status(SendStatus.QUEUED) == default_status(SendStatus.SUBMITTING) == "pending"
        assert "'pending'" in sql
        assert NO_STANDING == b""


@pytest.mark.parametrize("heading", [each for each in OUTBOX if " AS given (" in OUTBOX[each]])
def test_the_columns_of_the_outboxs_rows_have_the_types_that_the_tables_have(heading: str) -> None:
    columns = [column for table in METADATA.tables.values() for column in table.columns]
    types = {(each.name, each.type.compile(postgresql()).lower().removesuffix(' collate "c"')) for each in columns}
    types |= {(name, "double precision") for name in ("account_seconds", "sender_seconds", "burst")}
    types |= {("recipients", "jsonb")}
    instants = {"until"}
    [given] = re.findall(r"AS given \(\s*((?:[^()]|\(\d+\))*)\)", OUTBOX[heading])

    for each in given.lower().replace(' collate "c"', "").split(","):
        name, _, its_type = " ".join(each.split()).partition(" ")
        its_type = its_type.replace("timestamptz", "timestamp with time zone")
        assert (name, its_type) in types or (name in instants and its_type == "timestamp with time zone")


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        *(
            (f"{name}, {dialect}", table)
            for name, table in (
                ("insert messages", Message.__table__),
                ("insert recipients", Recipient.__table__),
                ("insert keys", IdempotencyKeyRow.__table__),
            )
            for dialect in DIALECTS
        ),
        ("submit new message, postgresql", Message.__table__),
        ("submit new message, postgresql", Recipient.__table__),
        ("submit new message, postgresql", IdempotencyKeyRow.__table__),
        ("store acceptance, postgresql", MessageId.__table__),
    ],
)
def test_an_insertion_fills_every_column_that_must_not_be_null(heading: str, table: Any) -> None:
    [inserted] = re.findall(rf"INSERT INTO {table.name} \(([^)]*)\)", OUTBOX[heading])
    filled = set(re.findall(r"\w+", inserted))
    columns = {column.name: column for column in table.columns}

    assert filled <= columns.keys()
    assert {each for each, column in columns.items() if not column.nullable} - {"pk"} <= filled
