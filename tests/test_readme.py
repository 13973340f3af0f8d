"""What README.md says is true: its queries and curl examples run, its tables are complete."""

import pytest
from sqlalchemy import text

from receiver import resolving
from receiver.cli import main
from receiver.core import times
from receiver.core.events import Unreadable
from receiver.core.messages import Unknown
from receiver.core.send_status import SendStatus
from receiver.core.status import Disposition, RecipientStatus
from receiver.simulator import MAGIC_NUMBERS, Point
from receiver.simulator.switches import SWITCHES
from receiver.storage.database import Database
from receiver.storage.recording import record
from tests import readme
from tests.builders import ALICE, make_event, store_message

INVALID = "+12005564404"
TWICE = ("14762070468292kw2fuqty55yp2b2", "1795300147488bssu9wfcphe9qiaz")
"""The message ids of a message that was sent twice."""

EXPECTED_ROWS = {
    "FROM support_recipients WHERE tag": [(ALICE, "delivered"), (INVALID, "failed")],
    "FROM support_events WHERE tag": [("message-failed",), ("message-delivered",), ("message-delivered",)],
    "FROM support_messages WHERE reference": [("accepted",)],
    "WHERE recipient = '+12005564404'": [("failed",)],
    "WHERE invalid_recipient": [(INVALID,)],
    "FROM support_failures": [(4404, "rejected-forbidden-to-number", 1)],
    "FROM support_overdue": [("+19195550199",)],
    "WHERE send_status = 'unknown'": [("timed-out",)],
    "FROM support_resolutions": [("refused", "Nobody got it.", "jane")],
    "WHERE sent_twice": [("twice-1", " ".join(TWICE))],
    "FROM support_extraneous": [(1,)],
}
"""For each query, by a part of it: the values each of its rows must hold, in the order of the rows."""


@pytest.fixture
def filled(database_url: str) -> tuple[Database, str]:
    """A database in which every question of the README has an answer; with the tag of its lunch-1."""
    with Database(database_url) as database:
        tag, _ = store_message(database, ALICE, INVALID, reference="lunch-1")
        store_message(database, "+19195550198", answer=Unknown(type="timed-out", description="Too slow."))
        store_message(database, "+19195550199", answer=None)
        undecided, _ = store_message(database, "+19195550197", answer=Unknown())
        resolving.resolve(database, undecided, SendStatus.REFUSED, reason="Nobody got it.", by="jane")
        twice, _ = store_message(database, "+19195550196", answer=Unknown(), reference="twice-1")
        events = [
            make_event("failed", INVALID, error_code=4404),
            make_event("delivered", INVALID),
            make_event("delivered", ALICE),
            make_event("delivered", ALICE, message_id="of-nobody"),
            make_event("received", ALICE, message_id="inbound"),
            *(make_event("unheard-of", message_id=each, tag=twice) for each in TWICE),
            Unreadable(payload="42", reason="The element is not an object."),
        ]
        database.write(lambda session: record(session, events, now=times.now()))
        database.write(lambda session: session.execute(text(OVERDUE)))
        yield database, tag


OVERDUE = """UPDATE messages SET send_status = 'accepted', overdue_at = '2026-01-01 00:00:00.000000'
WHERE pk = (SELECT message_pk FROM recipients WHERE recipient = '+19195550199')"""


@pytest.mark.parametrize("query", readme.examples("sql"), ids=lambda query: query.split("FROM ")[1].split("\n")[0][:40])
def test_every_query_of_the_readme_answers_its_question(filled: tuple[Database, str], query: str) -> None:
    database, tag = filled
    expected = next(rows for part, rows in EXPECTED_ROWS.items() if part in query)
    with database.read() as session:
        rows = session.execute(text(query.replace(readme.TAG, tag).rstrip(";"))).all()
    assert len(rows) == len(expected)
    for row, values in zip(rows, expected, strict=True):
        assert set(values) <= set(row)


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("status", [status.value for status in RecipientStatus]),
        ("disposition", [disposition.value for disposition in Disposition]),
        ("send status", [status.value for status in SendStatus]),
        ("Number", [each.number for each in MAGIC_NUMBERS]),
        ("Switch", list(SWITCHES)),
        ("Point", [point.value for point in Point]),
    ],
)
def test_every_table_of_the_readme_is_complete(header: str, names: list[str]) -> None:
    assert readme.first_column(header) == names


def test_every_command_is_in_the_readme() -> None:
    assert {name.split()[1] for name in readme.first_column("Command")} == set(main.commands)


def test_every_view_is_in_the_readme(filled: tuple[Database, str]) -> None:
    database, _ = filled
    from sqlalchemy import inspect

    assert set(readme.first_column("View")) == set(inspect(database.engine).get_view_names())
