"""docs/operations.md describes the log as a server writes it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import pages
from tests.support.builders import ALICE, BOB, make_element
from tests.support.debian import program
from tests.support.processes import environment, serving

EVERY = ["timestamp", "level", "logger", "event"]
ROW = re.compile(r"^\| `(?P<event>[a-z' ]+)` \| [^|]+ \| (?P<fields>[^|]+) \|$", re.MULTILINE)
LOGS = pages.OPERATIONS.section("Logs")
FIELDS = {row["event"]: set(re.findall(r"`(\w+)`", row["fields"])) for row in ROW.finditer(LOGS.text)}
FIELDS["late event"] |= FIELDS["event repeated"]  # "the same"


@pytest.fixture(scope="module")
def lines(sqlite_template: str, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The log of a server that meets repeats, contradictions, refusals and an outage."""
    folder = tmp_path_factory.mktemp("logs")
    file = folder / "receiver.sqlite3"
    file.write_bytes(Path(sqlite_template).read_bytes())
    with serving(folder, environment(f"sqlite:///{file}")) as (child, api):
        tag = api.send(ALICE, BOB, headers={"Prefer": "respond-async"}).json()["tag"]
        api.send(ALICE)
        for element in (
            make_element("failed", ALICE, tag=tag, errorCode=4720),
            make_element("delivered", ALICE, tag=tag),
            make_element("delivered", ALICE, tag=tag),
        ):
            assert api.callback(element).status_code == 200
        api.call("POST", "/callbacks/bandwidth", data=b"[]", auth=("bandwidth", "wrong"))
        away = file.rename(folder / "away")
        assert api.callback(make_element()).status_code == 503
        away.rename(file)
        child.end()
    return [json.loads(line) for line in child.output.splitlines() if line.startswith("{")]


def test_every_line_has_the_fields_that_the_page_names(lines: list[Any]) -> None:
    ours = [line for line in lines if line["event"] in FIELDS]

    assert {"callback", "event repeated", "late event", "send", "request"} <= {line["event"] for line in ours}
    assert "database unavailable" in {line["event"] for line in ours}
    for line in ours:
        assert list(line)[:4] == EVERY
        assert set(line) - set(EVERY) <= FIELDS[line["event"]], line


def test_the_jq_example_finds_the_contradictions(lines: list[Any], tmp_path: Path) -> None:
    [example] = LOGS.examples("sh")
    (tmp_path / "receiver.log").write_text("\n".join(map(json.dumps, lines)))

    _, *arguments = shlex.split(example)
    found = subprocess.run([program("jq"), *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)

    (line,) = map(json.loads, found.stdout.splitlines())
    assert (line["recipient"], line["old_status"], line["new_status"]) == ("…0101", "failed", "delivered")
