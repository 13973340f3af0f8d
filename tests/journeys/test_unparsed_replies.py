"""The service and a worker, each alone, read what the previous version stored, before they started and beside them."""

from pathlib import Path
from typing import Any

import pytest

from receiver.database.database import Database
from receiver.events import replies
from tests.support.builders import ALICE
from tests.support.processes import environment, serving, wait_for, working
from tests.support.stored import columns, view
from tests.support.unparsed_replies import store_reply


def is_read(database: Database) -> bool:
    with database.read() as session:
        return replies.count_unparsed(session) == 0


@pytest.mark.parametrize("process", [serving, working], ids=["serve", "worker"])
def test_either_process_parses_what_it_finds(
    tmp_path: Path, database: Database, database_url: str, process: Any
) -> None:
    for number in range(3):
        store_reply(database, "STOP", f"before-{number}")

    with process(tmp_path, environment(database_url)):
        wait_for(lambda: is_read(database), "the first to be read")

    rows = view(database, "support_inbound", order="key")
    assert [columns(row, "sender", "opt_out", "opt_in") for row in rows] == [(ALICE, True, False)] * 3


@pytest.mark.soak  # ten seconds may pass between two readings
@pytest.mark.parametrize("process", [serving, working], ids=["serve", "worker"])
def test_either_process_parses_what_comes_later(
    tmp_path: Path, database: Database, database_url: str, process: Any
) -> None:
    store_reply(database, "STOP", "before")
    with process(tmp_path, environment(database_url)):
        wait_for(lambda: is_read(database), "the first to be read")
        store_reply(database, "START", "beside")
        wait_for(lambda: is_read(database), "the last to be read")
