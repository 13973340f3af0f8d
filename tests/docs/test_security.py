"""docs/security.md is right: who may do what, what a leak gives away, and where the limits are."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import MetaData, select

from receiver.database.database import Database
from receiver.database.engine import BUSY_SECONDS
from receiver.events.committer import WAIT_SECONDS, WAITING_BYTES, WAITING_CALLBACKS
from receiver.settings import ApiKey
from receiver.web.authentication import Access, declared_access
from receiver.web.server import LONGEST_HEAD
from tests.support import pages
from tests.support.builders import ALICE, API_KEY, CALLBACK_AUTH, READ_ONLY_KEY, make_element, make_settings
from tests.support.processes import SECRETS
from tests.support.service import Service


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    with Service(database_url) as service:
        yield service


def paths(service: Service, tag: str, access: Access) -> list[tuple[str, str]]:
    """The method and path of every route that requires this access."""
    declared = declared_access(service.app)
    rules = [rule for rule in service.app.url_map.iter_rules() if declared[rule.endpoint] is access]
    methods = {(method, re.sub("<.*?>", tag, rule.rule)) for rule in rules for method in rule.methods or ()}
    return sorted(each for each in methods if each[0] not in ("HEAD", "OPTIONS"))


def test_the_callback_password_neither_reads_nor_sends(service: Service) -> None:
    tag = service.send().get_json()["tag"]

    for access in (Access.READ, Access.WRITE):
        for method, path in paths(service, tag, access):
            assert service.call(method, path, key=None, auth=CALLBACK_AUTH, data="{}").status_code == 401, path


def test_a_tag_alone_tells_nothing(service: Service) -> None:
    tag = service.send().get_json()["tag"]

    reading = [path for _, path in paths(service, tag, Access.READ) if tag in path]
    assert len(reading) >= 2
    assert {service.call("GET", path, key=None).status_code for path in reading} == {401}


@pytest.mark.parametrize("key", [API_KEY, READ_ONLY_KEY])
def test_no_api_key_posts_events(service: Service, key: str) -> None:
    answer = service.call("POST", "/callbacks/bandwidth", key=key, json=[make_element()])

    assert answer.status_code == 401
    assert service.get("/messages")["messages"] == []


def test_a_read_only_key_reads_everything_and_changes_nothing(service: Service) -> None:
    tag = service.send().get_json()["tag"]

    assert {
        service.call("GET", path, key=READ_ONLY_KEY).status_code for _, path in paths(service, tag, Access.READ)
    } == {200}
    writing = paths(service, tag, Access.WRITE)
    assert {method for method, _ in writing} == {"POST", "DELETE"}
    assert {service.call(*each, key=READ_ONLY_KEY, data="{}").status_code for each in writing} == {403}


def test_anybody_may_ask_for_health_and_for_no_message(service: Service) -> None:
    public = {path for _, path in paths(service, "x", Access.PUBLIC)}

    assert {"/health/live", "/health/ready"} <= public
    assert not any("message" in path or "queue" in path or "metrics" in path for path in public)


def test_a_new_key_under_the_same_name_goes_on_with_its_idempotency_keys(database_url: str) -> None:
    once = {"Idempotency-Key": "once"}
    tags = []
    for secret in ("an-old-key-0123456789", "a-new-key-0123456789"):
        with Service(database_url, api_keys=(ApiKey("app", secret),)) as service:
            tags.append(service.send(key=secret, headers=once).get_json()["tag"])

    assert tags[0] == tags[1]


def test_the_database_holds_no_key_and_no_password(service: Service) -> None:
    service.send(headers={"Idempotency-Key": "once"})
    service.callback(make_element("received"), make_element(), 42)

    stored = everything(service.database)

    assert ALICE in stored
    assert "Lunch is at noon." in stored
    settings = make_settings("")
    secrets = {*SECRETS, settings.bandwidth_client_secret, *(each.password for each in settings.callback_credentials)}
    assert not any(secret in stored for secret in secrets if secret)


def everything(database: Database) -> str:
    """All rows of all tables."""
    tables = MetaData()
    tables.reflect(database.engine)
    with database.read() as session:
        return str([session.execute(select(table)).all() for table in tables.sorted_tables])


def test_the_limits_are_those_of_the_code() -> None:
    table = pages.SECURITY.table("Limit")

    for written in (
        f"{LONGEST_HEAD // 1024} KiB",
        f"{WAITING_CALLBACKS:,}, or {WAITING_BYTES // 2**20} MiB",
        f"| {WAIT_SECONDS} seconds",
        f"| {BUSY_SECONDS} seconds",
        f"`MAX_BODY_BYTES`, {make_settings('').max_body_bytes // 2**20} MiB",
    ):
        assert written in table
