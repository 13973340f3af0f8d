"""`receiver doctor` in a whole installation: server, simulator, database, all of them real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from receiver.core.messages import Refused
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database
from receiver.maintenance.doctor.findings import Mark
from receiver.messages import credentials, pace
from receiver.simulator import Simulator, SimulatorOptions
from tests.support.builders import CLIENT_ID, CLIENT_SECRET
from tests.support.loop import SILENT, Loop
from tests.support.postgres import PostgresServer, free_port
from tests.support.processes import SECRETS, environment, run, serving
from tests.support.queue_steps import claim, enqueue
from tests.support.stored import HOUR, change

COUNT = """SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM unreadable_callbacks),
    (SELECT count(*) FROM messages), (SELECT count(*) FROM lanes)"""


def doctor(folder: Path, settings: dict[str, str], *arguments: str, exit_code: int) -> dict[str, list[dict[str, Any]]]:
    """The findings of `receiver doctor --json` by check."""
    ended = run("doctor", "--json", *arguments, environment=settings, folder=folder)
    assert ended.returncode == exit_code, ended.stdout + ended.stderr
    assert not any(secret in ended.stdout + ended.stderr for secret in SECRETS)
    found: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(ended.stdout)["findings"]:
        assert set(each) == {"mark", "check", "found", "remedy"}
        assert bool(each["remedy"]) == (each["mark"] in (Mark.WARNING, Mark.WRONG))
        found.setdefault(each["check"], []).append(each)
    return found


def marks(found: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    return {check: each["mark"] for check, [each] in found.items()}


def test_nothing_is_wrong_with_a_sound_installation_and_nothing_is_changed(loop: Loop) -> None:
    before = loop.sql(COUNT)

    found = doctor(loop.folder, loop.environment, "--callback-url", f"{loop.api.url}/callbacks/bandwidth", exit_code=0)

    right = {"settings", "database", "schema", "writing", "token", "Bandwidth", "clock", "queue", "pause"}
    right |= {"challenge", "callback credentials", "wrong credentials"}
    assert {found[check][0]["mark"] for check in right} == {"ok"}
    assert loop.sql(COUNT) == before


def test_people_read_one_line_for_each_finding(loop: Loop) -> None:
    ended = run("doctor", environment=loop.environment, folder=loop.folder)

    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {mark.value for mark in Mark}
    assert any(line.startswith("ok       Bandwidth: accepts the credentials") for line in lines)
    assert not any(secret in ended.stdout for secret in SECRETS)


def test_a_wrong_secret_and_a_wrong_account_are_reported(sqlite_url: str, tmp_path: Path) -> None:
    options = SimulatorOptions(
        account_id="5000000", client_id=CLIENT_ID, client_secret=CLIENT_SECRET, token_seconds=900
    )
    with Simulator(options) as simulator:
        settings = environment(sqlite_url, bandwidth_api_url=simulator.url)
        right = doctor(tmp_path, settings, exit_code=0)
        secret = doctor(tmp_path, settings | {"BANDWIDTH_CLIENT_SECRET": "1"}, exit_code=1)
        account = doctor(tmp_path, settings | {"BANDWIDTH_ACCOUNT_ID": "1"}, exit_code=1)
        basic = {"BANDWIDTH_CLIENT_ID": "", "BANDWIDTH_CLIENT_SECRET": ""}
        basic |= {"BANDWIDTH_USERNAME": "user", "BANDWIDTH_PASSWORD": "password"}
        password = doctor(tmp_path, settings | basic, exit_code=1)

    assert (marks(right)["token"], marks(right)["Bandwidth"]) == ("ok", "ok")
    assert "valid for 900 s" in right["token"][0]["found"]
    assert (marks(secret)["token"], marks(secret)["Bandwidth"]) == ("wrong", "skipped")
    assert "BANDWIDTH_CLIENT_SECRET" in secret["token"][0]["found"]
    assert (marks(account)["token"], marks(account)["Bandwidth"]) == ("ok", "wrong")
    assert "BANDWIDTH_ACCOUNT_ID" in account["Bandwidth"][0]["remedy"]
    assert (marks(password)["token"], marks(password)["Bandwidth"]) == ("skipped", "wrong")


def test_a_bandwidth_that_is_down_and_a_callback_password_that_differs_are_reported(loop: Loop) -> None:
    settings = loop.environment | {
        "BANDWIDTH_API_URL": f"http://127.0.0.1:{free_port()}/api/v2",
        "CALLBACK_CREDENTIALS": "bandwidth:another-password",
    }

    found = doctor(loop.folder, settings, "--callback-url", f"{loop.api.url}/callbacks/bandwidth", exit_code=1)

    assert (marks(found)["Bandwidth"], marks(found)["clock"]) == ("wrong", "skipped")
    assert marks(found)["callback credentials"] == "wrong"
    assert marks(found)["challenge"] == marks(found)["wrong credentials"] == "ok"


def test_a_path_that_is_not_the_callback_route_is_reported(loop: Loop) -> None:
    found = doctor(loop.folder, loop.environment, "--callback-url", f"{loop.api.url}/callbacks", exit_code=1)

    assert marks(found)["challenge"] == "wrong"
    assert "/callbacks/bandwidth" in found["challenge"][0]["remedy"]


def test_silence_after_acceptance_is_reported_until_an_event_comes(loop: Loop) -> None:
    sender = "+19195550177"
    tag = loop.api.send(SILENT, **{"from": sender}).json()["tag"]
    with Database(loop.environment["DATABASE_URL"]) as database:
        for column in ("created_at", "submitted_at"):
            earlier = "datetime" if loop.environment["DATABASE_URL"].startswith("sqlite") else ""
            hour_ago = f"{earlier}({column}, '-1 hour')" if earlier else f"{column} - interval '1 hour'"
            change(database, f"UPDATE messages SET {column} = {hour_ago} WHERE tag = :tag", tag=tag)

    found = doctor(loop.folder, loop.environment, exit_code=1)
    [silent] = (each for each in found["events"] if each["mark"] == "wrong")
    assert "sender ...0177" in silent["found"]
    assert "location" in silent["remedy"]

    loop.api.callback({"type": "message-delivered", "to": SILENT, "message": {"id": "late", "tag": tag}})
    assert {each["mark"] for each in doctor(loop.folder, loop.environment, exit_code=0)["events"]} == {"ok"}


def test_a_database_that_was_never_migrated_is_reported(empty_database_url: str, tmp_path: Path) -> None:
    found = doctor(tmp_path, environment(empty_database_url), exit_code=1)

    assert marks(found)["schema"] == "wrong"
    assert "receiver migrate" in found["schema"][0]["remedy"]
    assert marks(found)["traffic"] == marks(found)["writing"] == "skipped"


def test_a_database_that_is_stopped_or_frozen_does_not_keep_the_other_checks_from_ending(
    tmp_path: Path,
) -> None:
    with PostgresServer(fsync=False) as server, Simulator(SimulatorOptions()) as simulator:
        settings = environment(server.url(), bandwidth_api_url=simulator.url)
        server.pause()
        frozen = doctor(tmp_path, settings, exit_code=1)
        server.resume()
        server.stop()
        stopped = doctor(tmp_path, settings, exit_code=1)

    for found in (frozen, stopped):
        assert marks(found)["database"] == "wrong"
        assert marks(found)["traffic"] == "skipped"
        assert marks(found)["Bandwidth"] == "ok"


def test_settings_that_are_no_settings_are_reported_by_name_and_the_rest_is_skipped(tmp_path: Path) -> None:
    settings = environment("mysql://app:hunter2@host/x") | {"BANDWIDTH_READ_TIMEOUT": "soon"}

    found = doctor(tmp_path, settings, "--callback-url", "http://127.0.0.1:9/", exit_code=1)

    assert marks(found) == {
        "version": "ok",
        "BANDWIDTH_READ_TIMEOUT": "wrong",
        "DATABASE_URL": "wrong",
        **dict.fromkeys(("database", "traffic", "Bandwidth", "callback URL"), "skipped"),
    }


@pytest.mark.parametrize("url", ["receiver.example/callbacks/bandwidth", "https://user:hunter2@receiver.example/"])
def test_a_callback_url_that_is_none_is_a_wrong_command_line(tmp_path: Path, url: str) -> None:
    ended = run("doctor", "--callback-url", url, environment=environment("sqlite:///x"), folder=tmp_path)

    assert ended.returncode == 2
    assert "hunter2" not in ended.stderr


def test_a_server_with_read_only_keys_alone_answers_and_the_doctor_warns(sqlite_url: str, tmp_path: Path) -> None:
    settings = environment(sqlite_url, api_keys=())
    with serving(tmp_path, settings) as (_, api):
        key = {"Authorization": "Bearer a-read-only-key"}
        answers = [
            api.call("GET", "/messages", headers=key, auth=None).status_code,
            api.call("POST", "/messages", headers=key, auth=None, json={}).status_code,
        ]

    assert answers == [200, 403]
    assert marks(doctor(tmp_path, settings, exit_code=1))["API_KEYS"] == "warning"


@pytest.mark.parametrize("because_of", ["429", "credentials"])
def test_resume_ends_a_pause(sqlite_url: str, tmp_path: Path, because_of: str) -> None:
    with Database(sqlite_url) as database:
        if because_of == "429":
            database.write(lambda session: pace.pause(session, retry_after=HOUR.seconds, jitter=0.5))
        else:
            enqueue(database)
            [claimed] = claim(database)
            refused = Refused(because=RefusedBecause.BANDWIDTH, status=401)
            database.write(lambda session: credentials.deny(session, "0" * 64, claimed, refused))

    said = [run("resume", environment=environment(sqlite_url), folder=tmp_path).stdout for _ in range(2)]

    assert said == ["Sending was resumed.\n", "Sending was not paused.\n"]
