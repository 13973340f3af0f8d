"""The tables of the documents list everything that they are about."""

import pytest
from sqlalchemy import inspect

from receiver.cli import main
from receiver.cli.serve import serve
from receiver.core.send_status import SendStatus
from receiver.core.status import Disposition, RecipientStatus
from receiver.database.database import Database
from receiver.simulator import MAGIC_NUMBERS, Point
from receiver.simulator.switches import SWITCHES
from tests.support import pages


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("status", [status.value for status in RecipientStatus]),
        ("disposition", [disposition.value for disposition in Disposition]),
        ("send status", [status.value for status in SendStatus]),
    ],
)
def test_the_readme_lists_every_status_in_the_order_of_the_code(header: str, names: list[str]) -> None:
    assert pages.README.first_column(header) == names


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("Number", [each.number for each in MAGIC_NUMBERS]),
        ("Switch", list(SWITCHES)),
        ("Point", [point.value for point in Point]),
    ],
)
def test_every_number_switch_and_point_of_the_simulator_is_listed(header: str, names: list[str]) -> None:
    assert pages.SIMULATOR.first_column(header) == names


def test_every_command_is_listed() -> None:
    assert {name.split()[1] for name in pages.OPERATIONS.first_column("Command")} == set(main.commands)


def test_every_option_of_serve_is_listed() -> None:
    options = {option for each in serve.params for option in each.opts}
    assert set(pages.OPERATIONS.first_column("Option of `serve`")) == options - {"--host", "--port", "--env-file"}


def test_the_defaults_of_serve_are_those_of_the_command() -> None:
    rows = [line.split("|") for line in pages.OPERATIONS.table("Option of `serve`").splitlines()]
    written = {cells[1].strip(" `"): cells[2].strip() for cells in rows}
    defaults = {each.opts[0]: each.default for each in serve.params if isinstance(each.default, int)}
    numbers = {name: str(default) for name, default in defaults.items() if not isinstance(default, bool)}
    numbers.pop("--port")

    assert len(numbers) == 5
    assert {name: written[name] for name in numbers} == numbers


def test_every_view_is_listed(database: Database) -> None:
    assert set(pages.SUPPORT.first_column("View")) == set(inspect(database.engine).get_view_names())


def test_every_page_of_docs_is_in_the_readme_s_table_and_every_row_is_a_page() -> None:
    rows = pages.README.table("Page")
    named = {page.name for page in pages.ALL if page.name != "README.md"}
    assert {name for name in named if f"[{name}]({name})" in rows} == named
    assert {f"docs/{path.name}" for path in (pages.ROOT / "docs").glob("*.md")} <= named
