"""Every curl example of README.md does what it says, against config/development.env and the simulator.

curl itself is not needed: its five options that the README uses are read here and carried out.
"""

import argparse
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from receiver.database.schema import upgrade
from receiver.settings import VARIABLES
from receiver.settings_file import assignments
from tests.support import readme
from tests.support.postgres import free_port
from tests.support.processes import PATIENCE, Child, run, serving, simulating, wait_for

CURL = argparse.ArgumentParser("curl")
CURL.add_argument("url")
CURL.add_argument("-s", action="store_true")
CURL.add_argument("-X", default=None)
CURL.add_argument("-H", action="append", default=[])
CURL.add_argument("-d")
CURL.add_argument("-u")


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
"""The Content-Type that curl sends with -d by default."""


@dataclass
class Terminal:
    """Runs curl examples; the ports of the README stand for those of this test."""

    ports: dict[str, str]
    settings: dict[str, str]
    tag: str = ""
    token: str = ""
    answers: list[requests.Response] = field(default_factory=list)

    def run(self, example: str) -> requests.Response:
        text = example.replace("$TAG", self.tag).replace("$TOKEN", self.token)
        for written, real in self.ports.items():
            text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{real}")
        program, *arguments = shlex.split(text.replace("\\\n", " "))
        assert program == "curl"
        given = CURL.parse_args(arguments)
        answer = requests.request(
            given.X or ("GET" if given.d is None else "POST"),
            given.url,
            headers=FORM | dict(header.split(": ", 1) for header in given.H),
            data=given.d,
            auth=tuple(given.u.split(":", 1)) if given.u else None,
            timeout=PATIENCE,
        )
        self.answers.append(answer)
        return answer


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    server_port, simulator_port = free_port(), free_port()
    values = {each.name: each.value for each in assignments((readme.ROOT / "config" / "development.env").read_text())}
    settings = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    settings |= {name: value or "" for name, value in values.items()}
    settings["DATABASE_URL"] = f"sqlite:///{tmp_path / 'development.sqlite3'}"
    for name in ("BANDWIDTH_API_URL", "BANDWIDTH_TOKEN_URL"):
        settings[name] = settings[name].replace(":8090", f":{simulator_port}")
    upgrade(settings["DATABASE_URL"])
    callback_url = f"http://127.0.0.1:{server_port}/callbacks/bandwidth"
    user, password = settings["CALLBACK_CREDENTIALS"].split(":")
    credentials = ("--callback-user", user, "--callback-password", password)
    with ExitStack() as stack:
        stack.enter_context(simulating(tmp_path, *credentials, callback_url=callback_url, port=simulator_port))
        stack.enter_context(serving(tmp_path, settings, port=server_port))
        yield Terminal({"8080": str(server_port), "8090": str(simulator_port)}, settings)


def test_every_curl_example_of_the_readme_does_what_it_says(terminal: Terminal) -> None:
    examples = [example for example in readme.examples("sh") if example.startswith("curl")]
    send, show, *others = examples
    sent = terminal.run(send)
    assert sent.status_code == 202, sent.text
    terminal.tag = sent.json()["tag"]
    wait_for(lambda: terminal.run(show).json()["complete"], "the outcome of the README's message")
    statuses = {each["to"]: each["status"] for each in terminal.answers[-1].json()["recipients"]}
    assert statuses == {"+19195550101": "delivered", "+12005564404": "failed", "+12005610002": "delivered"}
    for example in others:
        answer = terminal.run(example)
        assert answer.status_code == (202 if "respond-async" in example else 200), f"{example}\n{answer.text}"
        if "/metrics" in example:
            assert "receiver_messages" in answer.text
            continue
        assert answer.json() not in ({}, [], {"events": []}, {"messages": [], "nextCursor": None})
        terminal.tag = answer.json().get("tag", terminal.tag)
        terminal.token = answer.json().get("access_token", terminal.token)


def test_the_files_of_the_readme_are_queued_sent_and_watched_to_the_end(terminal: Terminal, tmp_path: Path) -> None:
    for name, content in zip(("lunch.csv", "guests.csv"), readme.examples("csv"), strict=True):
        (tmp_path / name).write_text(content)
    lines = [line for example in readme.examples("sh") for line in example.splitlines()]
    commands = [shlex.split(line)[3:] for line in lines if {"send-many", "watch"} & set(line.split())]
    assert [command[0] for command in commands] == ["send-many", "watch"] * 2

    with Child("worker", environment=terminal.settings, folder=tmp_path):
        ended = [run(*command, environment=terminal.settings, folder=tmp_path) for command in commands]

    assert [each.returncode for each in ended] == [0] * 4
    assert "messages: 2 accepted; recipients: 3 delivered, 1 failed; complete: 4 of 4" in ended[1].stdout


def test_the_doctor_of_the_readme_looks_at_all_that_is_listed_and_finds_nothing_wrong(
    terminal: Terminal, tmp_path: Path
) -> None:
    lines = [line for example in readme.examples("sh") for line in example.splitlines() if " doctor " in line]
    [arguments] = [shlex.split(line)[3:-1] for line in lines]

    url = f"http://127.0.0.1:{terminal.ports['8080']}/callbacks/bandwidth"
    ended = run(*arguments, url, "--json", environment=terminal.settings, folder=tmp_path)

    assert ended.returncode == 0, ended.stdout
    looked_at = {each["check"] for each in json.loads(ended.stdout)["findings"]}
    assert looked_at - set(VARIABLES) == set(readme.first_column("Looked at"))
    assert {"API_KEYS", "BANDWIDTH_API_URL"} <= looked_at  # those of config/development.env are for development


def test_the_other_shell_examples_of_the_readme_name_what_exists() -> None:
    lines = [line for example in readme.examples("sh") for line in example.splitlines()]
    commands = [line for line in lines if not line.startswith((" ", "curl", "jq"))]
    targets = {line.split()[1] for line in commands if line.startswith("make ")}
    assert targets <= set((readme.ROOT / "Makefile").read_text().split(".PHONY: ")[1].splitlines()[0].split())
    assert {"demo", "test", "install"} <= targets
    assert all(line.startswith(("make ", ".venv/bin/receiver --env-file config/my.env ")) for line in commands)
