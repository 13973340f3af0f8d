import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import sampled_from, text

from receiver.app import from_environment
from receiver.database.engine import where
from receiver.errors import ConfigurationError
from receiver.settings import NAMES, VARIABLES, ApiKey, Credential, describe, read_settings, warnings
from tests.support.builders import make_settings

EXAMPLE = Path(__file__).parents[2] / "config" / "example.env"
SERVING = {
    "BANDWIDTH_ACCOUNT_ID": "5000000",
    "BANDWIDTH_CLIENT_ID": "client",
    "BANDWIDTH_CLIENT_SECRET": "hush-bandwidth",
    "CALLBACK_CREDENTIALS": "bandwidth:hush-callback",
    "API_KEYS": "app:hush-key",
}
"""The least that a server needs."""
MISSING = {"BANDWIDTH_ACCOUNT_ID", "BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"}
"""What is missing of it where nothing about Bandwidth is set."""


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def problems(**kind: bool) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(**kind)
    assert str(caught.value).splitlines() == [f"{name}: {text}" for name, text in sorted(caught.value.problems.items())]
    return caught.value.problems


def test_the_settings_are_those_of_the_contract() -> None:
    assert set(VARIABLES) == {
        *("DATABASE_URL", "BANDWIDTH_ACCOUNT_ID", "BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"),
        *("BANDWIDTH_TOKEN_URL", "BANDWIDTH_USERNAME", "BANDWIDTH_PASSWORD"),
        *("BANDWIDTH_APPLICATION_ID", "BANDWIDTH_FROM", "BANDWIDTH_API_URL"),
        *("BANDWIDTH_CONNECT_TIMEOUT", "BANDWIDTH_READ_TIMEOUT", "BANDWIDTH_RATE", "BANDWIDTH_SENDER_RATE"),
        *("CALLBACK_CREDENTIALS", "API_KEYS", "READ_ONLY_API_KEYS", "ALLOW_UNAUTHENTICATED_CALLBACKS"),
        *("OVERDUE_AFTER_HOURS", "MAX_BODY_BYTES", "LOG_LEVEL"),
    }


def test_the_example_lists_exactly_the_settings_that_are_read() -> None:
    listed = re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(listed) == sorted(VARIABLES)


def test_without_any_variable_every_setting_has_its_default() -> None:
    assert dataclasses.asdict(read_settings()) == {
        "database_url": "sqlite:///receiver.sqlite3",
        "bandwidth_account_id": None,
        "bandwidth_client_id": None,
        "bandwidth_client_secret": None,
        "bandwidth_token_url": "https://api.bandwidth.com/api/v1/oauth2/token",
        "bandwidth_username": None,
        "bandwidth_password": None,
        "bandwidth_application_id": None,
        "bandwidth_from": None,
        "bandwidth_api_url": "https://messaging.bandwidth.com/api/v2",
        "bandwidth_connect_timeout": 5.0,
        "bandwidth_read_timeout": 25.0,
        "bandwidth_rate": None,
        "bandwidth_sender_rate": None,
        "callback_credentials": (),
        "allow_unauthenticated_callbacks": False,
        "api_keys": (),
        "read_only_api_keys": (),
        "overdue_after_hours": 27.0,
        "max_body_bytes": 4_194_304,
        "log_level": "info",
    }


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("DATABASE_URL", "sqlite:////var/lib/receiver.sqlite3", None),
        ("DATABASE_URL", "postgresql+psycopg://u:p@h:5432/d?sslmode=require", None),
        ("BANDWIDTH_ACCOUNT_ID", "5000000", None),
        ("BANDWIDTH_TOKEN_URL", "http://127.0.0.1:8090/api/v1/oauth2/token", None),
        ("BANDWIDTH_APPLICATION_ID", "93de2206", None),
        ("BANDWIDTH_FROM", "+19195550100", None),
        ("BANDWIDTH_FROM", "2020", None),
        ("BANDWIDTH_FROM", "ACME", None),
        ("BANDWIDTH_API_URL", "http://127.0.0.1:8080/api/v2/", "http://127.0.0.1:8080/api/v2"),
        ("BANDWIDTH_CONNECT_TIMEOUT", "0.5", 0.5),
        ("BANDWIDTH_READ_TIMEOUT", "60", 60.0),
        ("OVERDUE_AFTER_HOURS", "2.5", 2.5),
        ("MAX_BODY_BYTES", "1", 1),
        ("ALLOW_UNAUTHENTICATED_CALLBACKS", "true", True),
        ("ALLOW_UNAUTHENTICATED_CALLBACKS", "false", False),
        ("CALLBACK_CREDENTIALS", "user:pass", (Credential("user", "pass"),)),
        ("CALLBACK_CREDENTIALS", "user:pa:ss:", (Credential("user", "pa:ss:"),)),
        ("CALLBACK_CREDENTIALS", "old:1, new:2", (Credential("old", "1"), Credential("new", "2"))),
        ("API_KEYS", "app:k1", (ApiKey("app", "k1"),)),
        ("API_KEYS", "app:k:1", (ApiKey("app", "k:1"),)),
        ("API_KEYS", f"{'n' * 255}:k1", (ApiKey("n" * 255, "k1"),)),
        ("READ_ONLY_API_KEYS", "a:k1, b:k2", (ApiKey("a", "k1"), ApiKey("b", "k2"))),
    ],
)
def test_a_setting_is_what_its_variable_says(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: Any
) -> None:
    monkeypatch.setenv(variable, text)

    assert getattr(read_settings(), variable.lower()) == (text if value is None else value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_url_of_a_hoster_means_the_driver_that_is_installed(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    rest = "u:p%40ss@h:5432/postgres://d?sslmode=require"
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://{rest}")

    assert read_settings().database_url == f"postgresql+psycopg://{rest}"


@given(
    user=text("aB:/?#@%", max_size=4),
    before=text("aB:/?#@%=\n", max_size=4),
    after=text("aB:/?#@%=\n", max_size=4),
    end=sampled_from(["h/d", "h:5432/d", "/d?host=h", "h/d?options=a@b"]),
)
def test_no_part_of_a_password_ever_names_the_database(user: str, before: str, after: str, end: str) -> None:
    """Whatever it holds: the URL is either refused, or what names the database in messages has nothing of it."""
    url = f"postgresql://{user}:{before}hush{after}@{end}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        try:
            settings = read_settings()
        except ConfigurationError:  # which quotes no value
            return
    assert "hush" not in describe(settings)["DATABASE_URL"] + where(settings.database_url)


def test_a_refused_url_of_a_database_says_to_percent_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    ambiguous = "postgresql://127.0.0.1:5432/d?password=ab@cd"
    for url in (ambiguous, "postgresql://u:a@b@h/d", "postgresql://u:a/b@h/d", "postgresql://u:a%zz@h:x/d"):
        monkeypatch.setenv("DATABASE_URL", url)
        assert "%40" in problems()["DATABASE_URL"]


PAIRS = [("BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"), ("BANDWIDTH_USERNAME", "BANDWIDTH_PASSWORD")]


@pytest.mark.parametrize(("name", "secret"), PAIRS)
def test_a_name_and_its_secret_may_hold_nearly_any_character(
    monkeypatch: pytest.MonkeyPatch, name: str, secret: str
) -> None:
    set_all(monkeypatch, {name: "ü ser", secret: " p#a$s{s}\\\"'"})

    settings = read_settings()

    assert (getattr(settings, name.lower()), getattr(settings, secret.lower())) == ("ü ser", " p#a$s{s}\\\"'")


@pytest.mark.parametrize("kind", [{}, {"sending": True}, {"serving": True}])
@pytest.mark.parametrize("beside_a_whole_pair", [False, True])
@pytest.mark.parametrize("blank", [None, "", " "])
@pytest.mark.parametrize(("given", "missing"), [*PAIRS, *(pair[::-1] for pair in PAIRS)])
def test_half_a_pair_of_credentials_is_an_error_that_names_the_other_half(
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    missing: str,
    blank: str | None,
    beside_a_whole_pair: bool,
    kind: dict[str, bool],
) -> None:
    everything = SERVING | {"BANDWIDTH_USERNAME": "user", "BANDWIDTH_PASSWORD": "hush"}
    ours = next(pair for pair in PAIRS if given in pair)
    others = {name for pair in PAIRS if pair != ours for name in pair}
    set_all(monkeypatch, {name: value for name, value in everything.items() if name not in others})
    if beside_a_whole_pair:
        set_all(monkeypatch, {name: everything[name] for name in others})
    if blank is None:
        monkeypatch.delenv(missing)
    else:
        monkeypatch.setenv(missing, blank)

    assert problems(**kind) == {missing: f"is missing: {given} is set, and both are needed."}


def test_a_username_and_its_password_are_enough_while_bandwidth_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    oauth = {"BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"}
    basic = {"BANDWIDTH_USERNAME": "user", "BANDWIDTH_PASSWORD": "hush"}
    set_all(monkeypatch, {name: value for name, value in SERVING.items() if name not in oauth} | basic)

    [warning] = warnings(read_settings(serving=True))
    assert "BANDWIDTH_USERNAME" in warning
    assert "BANDWIDTH_CLIENT_ID" in warning
    assert "2026-12-02" in warning

    monkeypatch.setenv("BANDWIDTH_API_URL", "http://127.0.0.1:8090/api/v2")
    assert warnings(read_settings(serving=True)) == []


def test_both_pairs_are_a_warning_that_one_can_go(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, SERVING | {"BANDWIDTH_USERNAME": "user", "BANDWIDTH_PASSWORD": "hush"})

    [warning] = warnings(read_settings(serving=True))
    assert "BANDWIDTH_USERNAME and BANDWIDTH_PASSWORD are ignored" in warning
    assert "hush" not in warning


def test_a_server_without_any_credentials_is_asked_for_those_of_oauth(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"} < set(problems(serving=True))
    assert not {"BANDWIDTH_USERNAME", "BANDWIDTH_PASSWORD"} & set(problems(serving=True))
    assert warnings(read_settings()) == []


def test_a_key_without_a_name_is_named_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {"API_KEYS": "k1,app:k2,k3", "READ_ONLY_API_KEYS": "k4"})

    settings = read_settings()

    assert [each.key for each in settings.api_keys] == ["k1", "k2", "k3"]
    assert len({each.name for each in settings.api_keys + settings.read_only_api_keys}) == 4
    assert not {"k1", "k3", "k4"} & {each.name for each in settings.api_keys + settings.read_only_api_keys}


MALFORMED = [
    *(
        ("DATABASE_URL", text)
        for text in ("mysql://h/d", "postgresql+psycopg2://u:hush@h/d", "sqlite://", "sqlite:///:memory:")
    ),
    *(("DATABASE_URL", text) for text in ("receiver.sqlite3", "postgresql+psycopg://u:hush@h:port/d", "sqlite:///")),
    *(("DATABASE_URL", text) for text in ("postgresql+psycopg://[::1/d", "sqlite+aiosqlite:///hush.sqlite3")),
    *(
        ("DATABASE_URL", f"{scheme}://u:p{between}hush@h/d")
        for scheme in ("postgresql+psycopg", "postgresql", "postgres")
        for between in ("@", "@x/", "/y@", "@x?=", "@x?y=", "?y@", "#y@", "@x:", "@y?", "@y#", "\n@")
    ),
    *(("LOG_LEVEL", text) for text in ("hush", "INFO")),
    *(("BANDWIDTH_FROM", text) for text in ("9195550100x!", "+0", "12", "\u0661\u0662\u0663\u0664", "+19195550100\n")),
    *(
        (variable, text)
        for variable in ("BANDWIDTH_API_URL", "BANDWIDTH_TOKEN_URL")
        for text in (
            *("messaging.bandwidth.com", "ftp://h/x", "https://", "https:///x"),
            *("https://h/?hush=1", "https://h/#hush", "http://[", "//h/api/v2", "https://user:hush@h/x"),
        )
    ),
    *(
        (variable, text)
        for variable in ("BANDWIDTH_CONNECT_TIMEOUT", "BANDWIDTH_READ_TIMEOUT", "OVERDUE_AFTER_HOURS")
        for text in ("soon", "0", "-1", "nan", "inf", "1e9", "1,5")
    ),
    *(("MAX_BODY_BYTES", text) for text in ("4 MB", "0", "-1", "1.5", "1e6", "0x10")),
    *(("ALLOW_UNAUTHENTICATED_CALLBACKS", text) for text in ("maybe", "2", "hush")),
    *(
        ("CALLBACK_CREDENTIALS", text)
        for text in ("hush", ":hush", "hush:", ":", " : ", "u:hush,", ",u:hush", "a:b,,c:d")
    ),
    *(("CALLBACK_CREDENTIALS", text) for text in (" ", ",", "a:b,hush", "hush:  ")),
    *(("API_KEYS", text) for text in (" ", ",", "hush,", "hush:", ":hush", "a:hush,b:", "a,,hush", "name: ")),
    *(("READ_ONLY_API_KEYS", text) for text in (" ", "hush,", "hush:", ":hush")),
    *((name, f"{'n' * 256}:hush") for name in ("API_KEYS", "READ_ONLY_API_KEYS")),
]


@pytest.mark.parametrize(("variable", "text"), MALFORMED)
def test_a_malformed_value_is_named_by_its_variable_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)

    found = problems()

    assert list(found) == [variable]
    assert found[variable]
    assert "\n" not in found[variable]
    assert "hush" not in found[variable]


def test_every_problem_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first malformed value of each variable; the three of SERVING that any text fits are left out.
    wrong = dict(reversed(MALFORMED))
    set_all(monkeypatch, wrong)

    assert set(problems(serving=True)) == {*wrong, *MISSING}
    assert set(problems(sending=True)) == {*wrong, *MISSING}
    assert set(problems()) == set(wrong)


def test_a_server_starts_with_the_least_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, SERVING)

    assert read_settings(serving=True) == read_settings(sending=True) == read_settings()


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("missing", SERVING)
def test_a_server_does_not_start_without(monkeypatch: pytest.MonkeyPatch, missing: str, value: str | None) -> None:
    set_all(monkeypatch, SERVING | ({} if value is None else {missing: value}))
    if value is None:
        monkeypatch.delenv(missing)

    assert list(problems(serving=True)) == [missing]


def test_sending_needs_no_door_to_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {name: value for name, value in SERVING.items() if name.startswith("BANDWIDTH")})

    assert read_settings(sending=True).api_keys == ()


@pytest.mark.parametrize(("allowed", "starts"), [("true", True), ("false", False)])
def test_only_a_setting_opens_the_callback_route(monkeypatch: pytest.MonkeyPatch, allowed: str, starts: bool) -> None:
    set_all(monkeypatch, SERVING | {"CALLBACK_CREDENTIALS": "", "ALLOW_UNAUTHENTICATED_CALLBACKS": allowed})

    if starts:
        assert read_settings(serving=True).allow_unauthenticated_callbacks
    else:
        assert list(problems(serving=True)) == ["CALLBACK_CREDENTIALS"]


@pytest.mark.parametrize(
    ("api_keys", "read_only"), [("a:hush,b:hush", ""), ("a:hush", "b:hush"), ("hush,hush", ""), ("x", "hush,a:hush")]
)
def test_a_key_that_is_there_twice_is_a_problem(monkeypatch: pytest.MonkeyPatch, api_keys: str, read_only: str) -> None:
    """Otherwise nobody could say whether it may write, nor withdraw one of the two."""
    set_all(monkeypatch, SERVING | {"API_KEYS": api_keys, "READ_ONLY_API_KEYS": read_only})

    found = problems(serving=True)

    assert set(found) <= {"API_KEYS", "READ_ONLY_API_KEYS"}
    assert "hush" not in str(found)


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        SERVING
        | {
            "DATABASE_URL": "postgresql+psycopg://u:hush-database@h/d",
            "API_KEYS": "app:hush-key,hush-nameless",
            "READ_ONLY_API_KEYS": "support:hush-reader",
            "CALLBACK_CREDENTIALS": "old:hush-old,new:hush:new",
            "BANDWIDTH_USERNAME": "user",
            "BANDWIDTH_PASSWORD": "hush-password",
        },
    )
    settings = read_settings(serving=True)
    shown = describe(settings)

    assert "hush" not in repr(settings) + str(settings) + str(shown)
    assert list(shown) == list(VARIABLES)
    assert shown["DATABASE_URL"] == "postgresql+psycopg://u:***@h/d"
    for variable, names in {"API_KEYS": ["app"], "CALLBACK_CREDENTIALS": ["old", "new"]}.items():
        assert all(name in shown[variable] for name in names)


def test_what_is_not_set_is_shown_as_not_set() -> None:
    shown = describe(read_settings())

    assert shown["BANDWIDTH_FROM"] == shown["API_KEYS"] == "(not set)"
    assert shown["BANDWIDTH_CLIENT_SECRET"] == shown["BANDWIDTH_PASSWORD"] == "(not set)"
    assert all(text and "None" not in text for text in shown.values())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:hush@host/database",
        "postgresql+psycopg://user:hush@host:5432/database?sslmode=require",
        "postgresql+psycopg://user:hu@hush@host/database",
        "postgresql+psycopg://user:hush?hush@host/database",
        "postgresql+psycopg://user:hush%40hush@host/database",
        "postgresql+psycopg://user:hush/hush@host/database",
        "postgresql+psycopg://user:hush:hush@host/database",
        "postgresql+psycopg://user:hush#hush@host/database",
        "postgresql+psycopg://:hush@host/database",
        "postgresql+psycopg://user@corp:hush@host/database",
        "postgresql+psycopg:///database?user=user&password=hush&host=host",
        "postgresql+psycopg://user:hush@host/database?password=hush@hush",
        "postgresql+psycopg://host:5432/database?sslpassword=hush",
        "postgresql+psycopg://user:hush@/database?host=/var/run/postgresql",
        "postgresql+psycopg://user:hush@host1,host2/database?target_session_attrs=read-write&options=a@b",
    ],
)
def test_the_password_of_the_database_is_never_shown(url: str) -> None:
    shown = describe(make_settings(url))["DATABASE_URL"]

    assert "hush" not in shown
    assert shown.startswith("postgresql+psycopg://")


def test_a_password_in_the_address_of_the_api_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDWIDTH_API_URL", "https://user:hush@messaging.bandwidth.com/api/v2")

    with contextlib.suppress(ConfigurationError):
        settings = read_settings()
        assert "hush" not in str(describe(settings)) + repr(settings)


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = read_settings()

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.max_body_bytes = 1  # type: ignore[misc]


def test_an_application_with_wrong_settings_ends_with_all_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "hush,")

    with pytest.raises(SystemExit) as ended:
        from_environment()

    assert all(name in str(ended.value) for name in SERVING)
    assert "hush" not in str(ended.value)


@pytest.mark.parametrize("name", ["API_KEYS", "CALLBACK_CREDENTIALS", "BANDWIDTH_CLIENT_SECRET"])
def test_what_is_not_utf_8_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As a name of a key it kept every line that holds it out of the log."""
    set_all(monkeypatch, SERVING | {name: b"sh\xffop:hush-key".decode(errors="surrogateescape")})

    assert problems(serving=True) == {name: "is not UTF-8."}
