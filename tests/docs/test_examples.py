"""The examples of the API, sending, the simulator and the doctor do what the documents say."""

import json
import shlex
from pathlib import Path
from typing import Any

from receiver.settings import VARIABLES
from tests.support import pages
from tests.support.curl import Terminal
from tests.support.processes import Child, run, wait_for


def test_every_curl_example_does_what_its_page_says(terminal: Terminal) -> None:
    send, show, *others = [*pages.API.examples("sh"), *pages.SIMULATOR.examples("sh")]
    sent = terminal.run(send)
    assert sent.status_code == 202, sent.text
    terminal.tag = sent.json()["tag"]
    wait_for(lambda: terminal.run(show).json()["complete"], "the outcome of the first message")
    [fields] = pages.API.examples("json")
    assert _some_of(terminal.responses[-1].json(), json.loads(fields)) == json.loads(fields)
    for example in others:
        response = terminal.run(example)
        assert response.status_code == (202 if "respond-async" in example else 200), f"{example}\n{response.text}"
        if "/metrics" in example:
            assert "receiver_messages" in response.text
            continue
        assert response.json() not in ({}, [], {"events": []}, {"messages": [], "nextCursor": None})
        terminal.tag = response.json().get("tag", terminal.tag)
        terminal.token = response.json().get("access_token", terminal.token)


def _some_of(whole: Any, wanted: Any) -> Any:
    """The fields of ``whole`` that ``wanted`` has, too."""
    if isinstance(wanted, dict):
        return {name: _some_of(whole[name], value) for name, value in wanted.items()}
    if isinstance(wanted, list):
        return [_some_of(each, part) for each, part in zip(whole, wanted, strict=True)]
    return whole


def test_the_files_of_the_page_are_queued_sent_and_watched_to_the_end(terminal: Terminal, tmp_path: Path) -> None:
    for name, content in zip(("lunch.csv", "guests.csv"), pages.SENDING.examples("csv"), strict=True):
        (tmp_path / name).write_text(content)
    worker, *others = [shlex.split(line)[1:] for line in pages.SENDING.commands("receiver")]
    sequence = ["worker", "send-many", "worker", "watch", "send-many", "watch"]
    assert [command[0] for command in (worker, *others)] == sequence

    with Child(*worker, environment=terminal.settings, folder=tmp_path):
        commands = [command for command in others if command != ["worker"]]
        ended = [run(*command, environment=terminal.settings, folder=tmp_path) for command in commands]

    assert [each.returncode for each in ended] == [0] * 4
    assert "messages: 2 accepted; recipients: 3 delivered, 1 failed; complete: 4 of 4" in ended[1].stdout


def test_the_doctor_checks_all_that_is_listed_and_finds_nothing_wrong(terminal: Terminal, tmp_path: Path) -> None:
    section = pages.OPERATIONS.section("Check an installation")
    [command] = section.commands("receiver")
    url = f"http://127.0.0.1:{terminal.ports['8080']}/callbacks/bandwidth"
    arguments = shlex.split(command.replace("https://your-host/callbacks/bandwidth", url))[1:]

    ended = run(*arguments, "--json", environment=terminal.settings, folder=tmp_path)

    assert ended.returncode == 0, ended.stdout
    checks = {each["check"] for each in json.loads(ended.stdout)["findings"]}
    assert checks - set(VARIABLES) == set(section.first_column("Check"))
    assert {"API_KEYS", "BANDWIDTH_API_URL"} <= checks  # those of config/development.env are for development
