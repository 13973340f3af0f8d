"""The service and the simulator as the documents start them, with config/development.env."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from receiver.database.schema import upgrade
from receiver.settings import NAMES
from receiver.settings_file import assignments
from tests.support import pages
from tests.support.curl import Terminal
from tests.support.postgres import free_port
from tests.support.processes import serving, simulating


@pytest.fixture(scope="module")
def development() -> dict[str, str]:
    """The environment of config/development.env."""
    values = {each.name: each.value or "" for each in assignments(_development())}
    return {name: value for name, value in os.environ.items() if name not in NAMES} | values


def _development() -> str:
    return (pages.ROOT / "config" / "development.env").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, development: dict[str, str]) -> Iterator[Terminal]:
    """The tests of a module share it, because it takes seconds to start."""
    folder = tmp_path_factory.mktemp("terminal")
    server_port, simulator_port = free_port(), free_port()
    settings = development | {"DATABASE_URL": f"sqlite:///{folder / 'development.sqlite3'}"}
    for name in ("BANDWIDTH_API_URL", "BANDWIDTH_TOKEN_URL"):
        settings[name] = settings[name].replace(":8090", f":{simulator_port}")
    upgrade(settings["DATABASE_URL"])
    callback_url = f"http://127.0.0.1:{server_port}/callbacks/bandwidth"
    user, password = settings["CALLBACK_CREDENTIALS"].split(":")
    credentials = ("--callback-user", user, "--callback-password", password)
    with ExitStack() as stack:
        stack.enter_context(simulating(folder, *credentials, callback_url=callback_url, port=simulator_port))
        stack.enter_context(serving(folder, settings, port=server_port))
        yield Terminal({"8080": str(server_port), "8090": str(simulator_port)}, settings)
