"""What README.md says is true: its tables are complete."""

import pytest
from sqlalchemy import inspect

from receiver.cli import main
from receiver.core.send_status import SendStatus
from receiver.core.status import Disposition, RecipientStatus
from receiver.database.database import Database
from receiver.simulator import MAGIC_NUMBERS, Point
from receiver.simulator.switches import SWITCHES
from tests.support import readme


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


def test_every_view_is_in_the_readme(database: Database) -> None:
    assert set(readme.first_column("View")) == set(inspect(database.engine).get_view_names())
