"""The statements of outbox.sql: each is whole, for both databases, and agrees with the tables and with the core."""

import re
from importlib.resources import files

import pytest
from sqlalchemy.dialects.postgresql import dialect as postgresql

from receiver.core.send_status import SendStatus, may_become
from receiver.core.status import NO_STANDING, unsaid
from receiver.database.json_rows import DIALECTS, ROWS
from receiver.database.models import METADATA, IdempotencyKeyRow, Message, Recipient

PARTS = [
    part.partition("\n")
    for part in files("receiver.messages").joinpath("outbox.sql").read_text("utf-8").split("-- name: ")[1:]
]
STATEMENTS = {heading: re.sub(r"^--.*$", "", rest, flags=re.MULTILINE).strip() for heading, _, rest in PARTS}
PARAMETERS = {ROWS, "credentials", "sender", "now"}


def test_every_statement_has_its_own_name_and_each_database_has_it() -> None:
    assert len(STATEMENTS) == len(PARTS)
    names: dict[str, set[str]] = {}
    for name, _, dialect in (heading.partition(", ") for heading in STATEMENTS):
        names.setdefault(name, set()).update([dialect] if dialect else DIALECTS)
    assert set(map(frozenset, names.values())) == {frozenset(DIALECTS)}


@pytest.mark.parametrize("heading", STATEMENTS)
def test_a_statement_is_one_and_has_values_in_parameters_alone(heading: str) -> None:
    sql = STATEMENTS[heading]

    assert sql.endswith(";")
    assert sql.count(";") == 1
    assert "--" not in sql
    assert not re.search(r"%|\{|\?", sql)
    assert set(re.findall(r"(?<!:):(\w+)", sql)) <= PARAMETERS


@pytest.mark.parametrize("heading", STATEMENTS)
def test_the_states_in_a_statement_are_those_of_the_core(heading: str) -> None:
    sql = STATEMENTS[heading]
    after = set(re.findall(r"SET\s+send_status = '(\w+)'", sql))
    before = set(re.findall(r"messages\.send_status = '(\w+)'", sql))

    assert before | after <= set(SendStatus)
    for status in after:
        assert before <= may_become(SendStatus(status))
    if heading.startswith("insert recipients"):
        assert unsaid(SendStatus.QUEUED) == unsaid(SendStatus.SUBMITTING) == "pending"
        assert "'pending'" in sql
        assert NO_STANDING == b""


@pytest.mark.parametrize("heading", [each for each in STATEMENTS if " AS given (" in STATEMENTS[each]])
def test_the_columns_of_rows_have_the_types_that_the_tables_have(heading: str) -> None:
    columns = [column for table in METADATA.tables.values() for column in table.columns]
    types = {(each.name, each.type.compile(postgresql()).lower().removesuffix(' collate "c"')) for each in columns}
    instants = {"at", "until"}
    [given] = re.findall(r"AS given \(\s*((?:[^()]|\(\d+\))*)\)", STATEMENTS[heading])

    for each in given.lower().replace(' collate "c"', "").split(","):
        name, _, its_type = " ".join(each.split()).partition(" ")
        its_type = its_type.replace("timestamptz", "timestamp with time zone")
        assert (name, its_type) in types or (name in instants and its_type == "timestamp with time zone")


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("insert messages", Message.__table__),
        ("insert recipients", Recipient.__table__),
        ("insert keys", IdempotencyKeyRow.__table__),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_insertion_fills_every_column_that_must_not_be_null(name: str, table: object, dialect: str) -> None:
    [inserted] = re.findall(r"^INSERT INTO \w+ \(([^)]*)\)", STATEMENTS[f"{name}, {dialect}"])
    filled = set(re.findall(r"\w+", inserted))
    columns = {column.name: column for column in table.columns}  # type: ignore[attr-defined]

    assert filled <= columns.keys()
    assert {each for each, column in columns.items() if not column.nullable} - {"pk"} <= filled
