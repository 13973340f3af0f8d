"""schemathesis requests whatever /openapi.json allows and forbids, and finds no contradiction."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builders import API_KEY, CALLBACK_AUTH, READ_ONLY_KEY
from tests.support.processes import PATIENCE, environment, serving, simulating

pytestmark = pytest.mark.outside

HERE = Path(__file__).parent
EXAMPLES = 10
"""The number of examples for each operation in each phase, and of sequences of requests."""


def test_the_service_is_as_its_description_says(database_url: str, tmp_path: Path) -> None:
    with simulating(tmp_path) as simulator:
        settings = environment(database_url, bandwidth_api_url=simulator.api_url)
        with serving(tmp_path, settings) as (child, api):
            # From a file: of an address it would leave out the route that it read the description from.
            description = tmp_path / "openapi.json"
            description.write_text(json.dumps(api.get("/openapi.json")))
            ended = schemathesis(description, api.url)
            assert ended.returncode == 0, ended.stdout
            routes = sum(len(methods) for methods in json.loads(description.read_text())["paths"].values())
            assert f"Tested: {routes}" in ended.stdout, ended.stdout
            assert simulator.answers().get("202"), "nothing was ever sent"
            assert "Traceback" not in child.output


def schemathesis(description: Path, url: str) -> subprocess.CompletedProcess[str]:
    user, password = CALLBACK_AUTH
    secrets = {"API_KEY": API_KEY, "READ_ONLY_KEY": READ_ONLY_KEY, "CALLBACK_USER": user, "CALLBACK_PASSWORD": password}
    options = ["--url", url, "--max-examples", str(EXAMPLES), "--continue-on-failure", "--no-color"]
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
            *("run", str(description), *options),
        ],
        env=os.environ | secrets | {"PYTHONPATH": str(HERE.parents[1]), "HOOKS": str(HERE / "schemathesis_hooks.py")},
        cwd=description.parent,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
