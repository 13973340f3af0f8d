"""The doctor's findings about settings: named after the variable, with the remedy, and never with a secret."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from receiver.maintenance.doctor.findings import Finding, Mark
from receiver.maintenance.doctor.settings import check_doubtful, check_required
from receiver.settings import ApiKey, Credential, is_bandwidths
from tests.support.builders import make_settings
from tests.support.processes import environment

LONG = "0123456789abcdef"
SOUND: dict[str, Any] = {
    "bandwidth_api_url": "https://messaging.bandwidth.com/api/v2",
    "bandwidth_token_url": "https://api.bandwidth.com/api/v1/oauth2/token",
    "bandwidth_read_timeout": 25.0,
    "callback_credentials": (Credential("bandwidth", LONG),),
    "api_keys": (ApiKey("app", LONG + "1"),),
    "read_only_api_keys": (ApiKey("support", LONG + "2"),),
}
URL = "postgresql+psycopg://app:hunter2@host/receiver"


def doubts(database_url: str = URL, **changes: Any) -> list[Finding]:
    if not is_bandwidths(changes.get("bandwidth_api_url", SOUND["bandwidth_api_url"])):
        changes = {"bandwidth_token_url": "https://127.0.0.1/token"} | changes
    return list(check_doubtful(make_settings(database_url, **SOUND | changes)))


def only(findings: list[Finding]) -> Finding:
    [finding] = findings
    return finding


def test_there_is_no_doubt_about_sound_settings() -> None:
    assert doubts() == []
    assert doubts(f"sqlite:////{'var/lib'}/receiver.sqlite3") == []


@pytest.mark.parametrize(
    ("changes", "variable", "mark", "says"),
    [
        ({"bandwidth_account_id": "my-account"}, "BANDWIDTH_ACCOUNT_ID", Mark.WARNING, "not a number"),
        ({"bandwidth_connect_timeout": 0.2}, "BANDWIDTH_CONNECT_TIMEOUT", Mark.WARNING, "0.2 s"),
        ({"bandwidth_read_timeout": 2.0}, "BANDWIDTH_READ_TIMEOUT", Mark.WARNING, "2 s"),
        ({"bandwidth_api_url": "http://messaging.bandwidth.com/api/v2"}, "BANDWIDTH_API_URL", Mark.WRONG, "http"),
        ({"bandwidth_api_url": "http://10.0.0.7/api/v2"}, "BANDWIDTH_API_URL", Mark.WRONG, "unencrypted"),
        ({"bandwidth_api_url": "http://127.0.0.1:8090/api/v2"}, "BANDWIDTH_API_URL", Mark.WARNING, "127.0.0.1"),
        ({"bandwidth_api_url": "http://[::1]:8090/api/v2"}, "BANDWIDTH_API_URL", Mark.WARNING, "::1"),
        ({"bandwidth_api_url": "https://notbandwidth.com/api/v2"}, "BANDWIDTH_API_URL", Mark.WARNING, "phone"),
        ({"bandwidth_token_url": "http://api.bandwidth.com/x"}, "BANDWIDTH_TOKEN_URL", Mark.WRONG, "unencrypted"),
        ({"bandwidth_token_url": "https://127.0.0.1/x"}, "BANDWIDTH_TOKEN_URL", Mark.WARNING, "does not belong to"),
        ({"bandwidth_username": "user"}, "BANDWIDTH_USERNAME", Mark.WARNING, "is ignored"),
        ({"api_keys": ()}, "API_KEYS", Mark.WARNING, "nobody can send"),
        ({"api_keys": (ApiKey("app", "short"),)}, "API_KEYS", Mark.WARNING, "entry 1"),
        ({"api_keys": (ApiKey("key 1", LONG, is_named=False),)}, "API_KEYS", Mark.WARNING, "no name"),
        ({"read_only_api_keys": (ApiKey("a", LONG), ApiKey("b", "x"))}, "READ_ONLY_API_KEYS", Mark.WARNING, "entry 2"),
        ({"callback_credentials": (Credential("u", "hunter2"),)}, "CALLBACK_CREDENTIALS", Mark.WARNING, "entry 1"),
        (
            {"callback_credentials": (), "allow_unauthenticated_callbacks": True},
            *("ALLOW_UNAUTHENTICATED_CALLBACKS", Mark.WARNING, "forged"),
        ),
        ({"allow_unauthenticated_callbacks": True}, "ALLOW_UNAUTHENTICATED_CALLBACKS", Mark.WARNING, "no effect"),
    ],
)
def test_a_doubtful_setting_is_reported_with_its_remedy(
    changes: dict[str, Any], variable: str, mark: Mark, says: str
) -> None:
    finding = only(doubts(**changes))

    assert (finding.check, finding.mark) == (variable, mark)
    assert says in finding.found
    assert finding.remedy


BASIC: dict[str, Any] = {
    "bandwidth_client_id": None,
    "bandwidth_client_secret": None,
    "bandwidth_username": "user",
    "bandwidth_password": "hunter2",
}


@pytest.mark.parametrize(
    ("now", "mark", "says"),
    [
        (datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC), Mark.WARNING, "stops working on 2026-12-02"),
        (datetime(2026, 12, 2, tzinfo=UTC), Mark.WRONG, "stopped working on 2026-12-02"),
        (datetime(2027, 6, 1, tzinfo=UTC), Mark.WRONG, "stopped working on 2026-12-02"),
    ],
)
def test_a_username_for_bandwidth_itself_is_a_warning_until_it_ends_and_wrong_from_then_on(
    monkeypatch: pytest.MonkeyPatch, now: datetime, mark: Mark, says: str
) -> None:
    monkeypatch.setattr("receiver.core.times.now", lambda: now)

    finding = only(doubts(**BASIC))

    assert (finding.check, finding.mark) == ("BANDWIDTH_USERNAME", mark)
    assert says in finding.found
    assert "BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET" in finding.remedy


def test_a_username_for_the_simulator_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = only(doubts(**BASIC, bandwidth_api_url="http://127.0.0.1:8090/api/v2"))

    assert finding.check == "BANDWIDTH_API_URL"


def test_a_relative_sqlite_file_is_doubtful() -> None:
    finding = only(doubts("sqlite:///receiver.sqlite3"))

    assert (finding.check, finding.mark) == ("DATABASE_URL", Mark.WARNING)


def test_no_secret_is_ever_shown() -> None:
    secrets = {"api_keys": (ApiKey("key 1", "hush", is_named=False),), "bandwidth_password": "hush"}
    told = doubts(**secrets, callback_credentials=(Credential("u", "hush"),), bandwidth_account_id="hush-id")

    assert len(told) == 4
    assert "hush" not in str(told)


def test_what_keeps_the_service_from_starting_is_reported_by_each_variables_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment(f"sqlite:///{tmp_path}/x", api_keys=(), read_only_api_keys=()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BANDWIDTH_READ_TIMEOUT", "soon")
    monkeypatch.delenv("BANDWIDTH_ACCOUNT_ID")

    told = check_required()

    assert [each.check for each in told] == ["API_KEYS", "BANDWIDTH_ACCOUNT_ID", "BANDWIDTH_READ_TIMEOUT"]
    assert {each.mark for each in told} == {Mark.WRONG}


def test_settings_that_serve_are_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(URL).items():
        monkeypatch.setenv(name, value)

    assert [(each.check, each.mark) for each in check_required()] == [("settings", Mark.OK)]


def test_a_misspelt_name_in_the_environment_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABSE_URL", "hunter2")

    [found] = [each for each in check_doubtful(make_settings("sqlite:////x/y")) if each.check == "DATABSE_URL"]

    assert found.mark is Mark.WARNING
    assert "DATABASE_URL" in found.remedy
    assert "hunter2" not in str(found)
