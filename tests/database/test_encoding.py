"""A database that cannot store every character is refused, with the command that creates one that can."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from receiver.database import schema
from receiver.database.database import Database
from receiver.database.schema import create_database_statement
from receiver.errors import WrongEncoding
from receiver.maintenance.doctor import database as checking
from receiver.maintenance.doctor.findings import Mark
from tests.support.postgres import Server, free_port
from tests.support.processes import environment, run
from tests.support.stored import change

NAMES = {"LATIN1": "in_latin1", "SQL_ASCII": "in_sql_ascii", "WIN1252": "in_win1252"}


@pytest.fixture(params=NAMES)
def wrong(request: pytest.FixtureRequest, postgres_server: Server) -> Iterator[tuple[str, str]]:
    """The URL of an empty database with that encoding, and the encoding."""
    name = NAMES[request.param]
    locale = "LOCALE_PROVIDER libc LOCALE 'C'"
    postgres_server.execute(f"CREATE DATABASE {name} ENCODING '{request.param}' TEMPLATE template0 {locale}")
    try:
        yield postgres_server.url(name), request.param
    finally:
        postgres_server.drop_database(name)


def assert_says_so(sentence: str, encoding: str) -> None:
    assert "\n" not in sentence.strip()
    assert f"The database {NAMES[encoding]} is encoded in {encoding}" in sentence
    assert f"CREATE DATABASE \"{NAMES[encoding]}_utf8\" ENCODING 'UTF8' TEMPLATE template0" in sentence
    assert "DATABASE_URL" in sentence


def test_migrating_refuses_it_and_changes_nothing(wrong: tuple[str, str]) -> None:
    url, encoding = wrong

    for step in (schema.upgrade, lambda url: schema.downgrade(url, "base")):
        with pytest.raises(WrongEncoding) as raised:
            step(url)
        assert_says_so(str(raised.value), encoding)

    with Database(url) as database, database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")) == 0


@pytest.mark.parametrize("wrong", ["LATIN1"], indirect=True)
@pytest.mark.parametrize("command", ["migrate", "serve", "worker", "overdue"])
def test_every_command_refuses_it_in_one_sentence(tmp_path: Path, wrong: tuple[str, str], command: str) -> None:
    url, encoding = wrong
    options = ["--port", str(free_port())] if command == "serve" else []

    ended = run(command, *options, environment=environment(url), folder=tmp_path)

    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert_says_so(ended.stderr.splitlines()[-1], encoding)


def test_the_doctor_says_so_and_looks_no_further(wrong: tuple[str, str]) -> None:
    url, encoding = wrong
    with Database(url) as database:
        [finding] = checking.check_connection(database)

    assert (finding.mark, finding.check) == (Mark.WRONG, "database")
    assert encoding in finding.found
    assert "ENCODING 'UTF8'" in finding.remedy


@pytest.mark.parametrize("wrong", ["LATIN1"], indirect=True)
def test_the_command_it_names_makes_a_database_that_is_taken(wrong: tuple[str, str], postgres_server: Server) -> None:
    url, encoding = wrong
    with pytest.raises(WrongEncoding) as raised:
        schema.upgrade(url)
    [statement] = re.findall(r"CREATE DATABASE .* TEMPLATE template0[^;]*", str(raised.value))

    postgres_server.execute(statement)
    try:
        schema.upgrade(postgres_server.url(f"{NAMES[encoding]}_utf8"))
    finally:
        postgres_server.drop_database(f"{NAMES[encoding]}_utf8")


@pytest.mark.parametrize(
    ("locale", "added"),
    [
        *((each, "") for each in (None, "C", "POSIX", "C.UTF-8", "en_US.utf8", "de_DE.UTF-8")),
        *((each, " LOCALE 'C'") for each in ("en_US", "en_US.ISO-8859-1", "de_DE@euro")),
    ],
)
def test_the_command_names_a_locale_where_that_of_the_server_would_be_refused(locale: str | None, added: str) -> None:
    assert create_database_statement("x", locale) == f"CREATE DATABASE \"x\" ENCODING 'UTF8' TEMPLATE template0{added}"


def test_whatever_encoding_the_environment_or_the_role_asks_for_is_not_used(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with Database(postgres_url) as database:
        change(database, "UPDATE error_codes SET advice = :curly", curly="\u201cSTOP\u201d \U0001f6d1")
        with database.read() as session:
            assert session.scalar(text("SELECT max(advice) FROM error_codes")) == "\u201cSTOP\u201d \U0001f6d1"
