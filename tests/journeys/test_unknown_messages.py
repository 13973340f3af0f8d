"""Unknown messages in the whole loop: callbacks without a tag, Bandwidth's own record, and a command that is killed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.support.loop import Loop
from tests.support.processes import Child, run, wait_for

INVALID = "+12005554408"
SILENT = [f"+1200566{number:04d}" for number in range(8100, 8106)]
"""Recipients whose messages are accepted, without any event."""


def test_events_without_a_tag_find_their_message_by_bandwidth_s_record(loop: Loop) -> None:
    numbers = ["+19195558101", INVALID]
    loop.simulator.switch(request="drop-after", callbacks="tag-missing")
    answer = loop.api.send(*numbers)
    tag = answer.json()["tag"]
    record = loop.simulator.settle(tag)
    assert (answer.status_code, loop.api.message(tag)["sendStatus"]) == (504, "unknown")
    assert loop.sql("SELECT count(*) FROM support_unlinked WHERE message_id = ?", record["id"]) == [(2,)]

    ended = run("reconcile", environment=loop.environment, folder=loop.folder)

    assert ended.returncode == 0
    message = loop.api.message(tag)
    assert (message["sendStatus"], message["messageIds"], message["complete"]) == ("accepted", [record["id"]], True)
    assert {each["to"]: each["status"] for each in message["recipients"]} == {
        "+19195558101": "delivered",
        INVALID: "failed",
    }
    assert loop.sql("SELECT count(*) FROM support_unlinked WHERE message_id = ?", record["id"]) == [(0,)]
    assert run("recompute", "--check", environment=loop.environment, folder=loop.folder).returncode == 0


def test_a_reconcile_that_is_killed_half_way_is_run_again(loop: Loop) -> None:
    loop.simulator.switch(request="drop-after")
    tags = [loop.api.send(number).json()["tag"] for number in SILENT]
    assert _send_statuses(loop, tags) == {"unknown": len(tags)}

    with Child("reconcile", environment=loop.environment, folder=loop.folder) as child:
        child.wait_until(lambda: _send_statuses(loop, tags)["accepted"], "the first of them to be found")
        child.kill()
    assert _send_statuses(loop, tags)["unknown"]

    assert run("reconcile", environment=loop.environment, folder=loop.folder).returncode == 0

    for tag in tags:
        [record] = loop.simulator.accepted(tag)
        assert loop.api.message(tag)["messageIds"] == [record["id"]]
        assert {each["source"] for each in loop.api.events(tag)} == {"reconcile"}
    assert _send_statuses(loop, tags) == {"accepted": len(tags)}


def test_a_message_that_bandwidth_knows_late_is_found_by_the_next_run(loop: Loop) -> None:
    loop.simulator.switch(request="drop-after", indexSeconds=2)
    tag = loop.api.send("+12005668107").json()["tag"]

    def found() -> Any:
        assert run("reconcile", environment=loop.environment, folder=loop.folder).returncode == 0
        return loop.api.message(tag)["sendStatus"] == "accepted"

    wait_for(found, "Bandwidth's record to have the message")


def _send_statuses(loop: Loop, tags: list[str]) -> Counter[str]:
    return Counter(loop.api.message(tag)["sendStatus"] for tag in tags)
