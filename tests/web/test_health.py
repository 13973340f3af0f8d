from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.builders import make_element
from tests.support.log_lines import Lines
from tests.support.postgres import Server
from tests.support.service import OUTAGES, Service, execute, is_problem, outage


@pytest.fixture(params=["current", "empty", "nowhere"])
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "current":
        return str(request.getfixturevalue("shared_service").database_url)
    return f"sqlite:///{tmp_path}/receiver.sqlite3" if request.param == "empty" else "sqlite:////no/such/file.sqlite3"


def test_a_process_lives_whatever_its_database_does(any_database: str) -> None:
    with Service(any_database) as service:
        assert service.call("GET", "/health/live", key=None).get_json() == {"status": "live"}


def test_a_migrated_database_is_ready(service: Service) -> None:
    answer = service.call("GET", "/health/ready", key=None)

    assert (answer.status_code, answer.get_json()) == (200, {"status": "ready"})


def test_an_empty_database_is_not_ready(empty_database_url: str) -> None:
    with Service(empty_database_url) as service:
        answer = service.call("GET", "/health/ready", key=None)

    assert is_problem(answer, 503)
    assert "receiver migrate" in answer.text


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
    ],
)
def test_a_database_that_does_not_know_its_version_is_not_ready(service: Service, statement: str) -> None:
    execute(service.database_url, statement)

    assert is_problem(service.call("GET", "/health/ready", key=None), 503)


def test_a_standby_is_ready_because_outcomes_can_still_be_asked_for(postgres_url: str, postgres_server: Server) -> None:
    postgres_server.execute(f"ALTER DATABASE {make_url(postgres_url).database} SET default_transaction_read_only = on")

    with Service(postgres_url) as service:
        answers = [service.call("GET", path).status_code for path in ("/health/ready", "/messages")]
        assert service.callback(make_element()).status_code == 503

    assert answers == [200, 200]


def test_a_newer_database_is_ready_with_a_warning(service: Service) -> None:
    """Migrations only add, and removal waits one release: an old process may finish its work."""
    execute(service.database_url, "UPDATE alembic_version SET version_num = '9999'")

    answer = service.call("GET", "/health/ready", key=None)

    assert (answer.status_code, answer.get_json()["status"]) == (200, "ready")
    assert "newer" in answer.get_json()["warning"]
    assert service.send().status_code == 202


def test_a_migration_is_noticed_without_a_restart(service: Service) -> None:
    ready = service.call("GET", "/health/ready", key=None)
    execute(service.database_url, "DELETE FROM alembic_version")
    not_ready = service.call("GET", "/health/ready", key=None)

    assert (ready.status_code, not_ready.status_code) == (200, 503)


@OUTAGES
def test_a_database_that_cannot_be_reached_is_not_ready_until_it_can(
    database_url: str, kind: str, request: pytest.FixtureRequest
) -> None:
    with Service(database_url) as service:
        assert service.call("GET", "/health/ready", key=None).status_code == 200
        if kind == "unreachable":
            with outage(database_url, kind, request):
                assert is_problem(service.call("GET", "/health/ready", key=None), 503)
                assert service.call("GET", "/health/live", key=None).status_code == 200

        assert service.call("GET", "/health/ready", key=None).status_code == 200


@pytest.mark.parametrize("url", ["sqlite:////no/such/file.sqlite3", "postgresql+psycopg://u:hidden@127.0.0.1:9/d"])
def test_a_database_that_never_was_there_is_not_ready_and_its_password_is_not_shown(
    url: str, caplog: pytest.LogCaptureFixture, logged: Lines
) -> None:
    with Service(url) as service:
        answer = service.call("GET", "/health/ready", key=None)

    assert is_problem(answer, 503)
    assert "hidden" not in answer.text + caplog.text + str(logged)
