"""An outage of the database is logged once, however many transactions fail."""

import pytest

from receiver.database import database
from tests.support.log_lines import Lines


def test_an_outage_is_one_line_and_its_end_another(logged: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SETTLED_SECONDS", 0)
    gate = database.Outage()
    gate.note_success()
    for _ in range(1000):
        gate.note_failure("OperationalError", "the server is gone")
    gate.note_success()
    gate.note_success()

    assert [(line["log_level"], line["event"]) for line in logged] == [
        ("error", "database unavailable"),
        ("warning", "database available again"),
    ]
    assert logged[1]["failed"] == 1000


def test_a_database_that_answers_every_other_time_does_not_fill_the_log(logged: Lines) -> None:
    gate = database.Outage()
    for _ in range(1000):
        gate.note_failure("OperationalError", "database is locked")
        gate.note_success()

    assert [line["event"] for line in logged][:1] == ["database unavailable"]
    assert len(logged) <= 3
