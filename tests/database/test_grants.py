"""A support role can read every view and do nothing else; its grants outlive a migration."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from receiver.core import times
from receiver.database import schema
from receiver.database.database import Database
from receiver.database.engine import where
from receiver.database.models import METADATA
from receiver.reports.results import summary, viewed_summary
from tests.database.test_migrations import VIEWS, fill
from tests.support import pages
from tests.support.builders import ALICE, MESSAGE_ID, SENDER
from tests.support.postgres import Server
from tests.support.processes import environment, invoke


@dataclass(frozen=True)
class Role:
    """A role that may log in, and the database that it reads."""

    name: str
    url: str

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        address = self.url.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(address, user=self.name, password="open-sesame") as connection:
            return connection.execute(statement.encode()).fetchall()

    def is_refused(self, statement: str) -> bool:
        try:
            self.ask(statement)
        except psycopg.errors.InsufficientPrivilege:
            return True
        except psycopg.Error as error:
            pytest.fail(f"{statement}: {error}")
        return False

    def readable(self) -> set[object]:
        query = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace"
        return {name for (name,) in self.ask(f"{query} AND has_table_privilege(oid, 'SELECT')")}


@pytest.fixture(params=["support", 'Ann "the" Support; 100 %s :name'], ids=["plain", "to be quoted"])
def role(request: pytest.FixtureRequest, postgres_url: str, postgres_server: Server) -> Iterator[Role]:
    """A new role, with a name that no other test run uses."""
    name = f"{request.param} {uuid.uuid4().hex[:12]}"
    postgres_server.execute(f"CREATE ROLE {sql.Identifier(name).as_string()} LOGIN PASSWORD 'open-sesame'")
    with role_of(name, postgres_url, postgres_server) as made:
        yield made


@contextmanager
def role_of(name: str, url: str, server: Server) -> Iterator[Role]:
    """An existing role, which is dropped at the end."""
    try:
        yield Role(name, url)
    finally:
        server.execute(f"DROP OWNED BY {sql.Identifier(name).as_string()}", make_url(url).database or "")
        server.execute(f"DROP ROLE {sql.Identifier(name).as_string()}")


READABLE = {*VIEWS, "alembic_version"}


def grant(url: str, role: str) -> tuple[int, str]:
    result = invoke("grant-support", role, environment=environment(url))
    return result.exit_code, result.output


def test_the_role_reads_every_view_and_no_table_and_writes_nothing(role: Role) -> None:
    fill(role.url)
    assert role.readable() == set()

    code, said = grant(role.url, role.name)

    assert (code, said) == (0, f"{role.name} can read the support views of the {where(role.url)}.\n")
    assert role.readable() == READABLE
    for view in VIEWS:
        assert role.ask(f"SELECT * FROM {view}"), view
    for table in (*METADATA.tables, "alembic_version"):
        assert table == "alembic_version" or role.is_refused(f"SELECT count(*) FROM {table}"), table
        assert role.is_refused(f"DELETE FROM {table} RETURNING 1"), table
    assert role.is_refused("UPDATE support_error_codes SET advice = '' RETURNING 1")
    assert role.is_refused("CREATE TABLE mine (number INTEGER)")
    assert role.is_refused("CREATE VIEW mine AS SELECT 1")


def as_support(role: Role) -> dict[str, str]:
    url = make_url(role.url).set(username=role.name, password="open-sesame").render_as_string(hide_password=False)
    return {"DATABASE_URL": url}


LISTS = ["overdue", "unlinked", "unreadable", "refused", "unknown", "replies", "opt-outs", "failures"]


def every_reading_command(tags: list[str]) -> list[list[str]]:
    words = [*tags, "r", "overdue", ALICE, ALICE[-4:], SENDER, MESSAGE_ID, "nobody"]
    asked = [*(["find", word] for word in words), *(["show", tag] for tag in tags), ["conversation", ALICE]]
    asked += [["results", "r"], ["results", "nobody"], *([each] for each in LISTS)]
    return [["watch", "nobody"], *([*each, *form] for each in asked for form in ([], ["--json"], ["--csv"]))]


@pytest.mark.parametrize("role", ["support"], ids=["plain"], indirect=True)
def test_the_role_uses_every_reading_command_and_hears_what_the_owner_hears(role: Role) -> None:
    fill(role.url)
    assert grant(role.url, role.name)[0] == 0
    tags = [str(tag) for (tag,) in role.ask("SELECT tag FROM support_messages")]
    assert tags

    for command in every_reading_command(tags):
        ours, theirs = (invoke(*command, environment=own) for own in (environment(role.url), as_support(role)))
        assert theirs.output == ours.output, (command, theirs.output, theirs.exit_code)
        assert theirs.exit_code == ours.exit_code


def test_the_role_counts_what_the_owner_counts(role: Role) -> None:
    fill(role.url)
    grant(role.url, role.name)
    with (
        Database(role.url) as ours,
        Database(as_support(role)["DATABASE_URL"]) as theirs,
        ours.read() as session,
        theirs.read() as their_session,
    ):
        counted = summary(session, "r", now=times.now())
        assert counted.total
        assert viewed_summary(their_session, "r") == counted


def test_a_role_that_was_let_in_before_hears_what_to_do(role: Role, postgres_server: Server) -> None:
    grant(role.url, role.name)
    name = sql.Identifier(role.name).as_string()
    postgres_server.execute(f"REVOKE ALL ON alembic_version FROM {name}", make_url(role.url).database or "")

    found = invoke("find", ALICE, environment=as_support(role))

    assert found.exit_code == 3
    assert "receiver grant-support" in found.output
    assert "does not answer" not in found.output


def test_what_the_role_may_not_do_is_reported_in_a_sentence(role: Role) -> None:
    fill(role.url)
    grant(role.url, role.name)

    replayed = invoke("unreadable", "--replay", environment=as_support(role))

    assert replayed.exit_code == 3
    assert "permission denied" in replayed.output


def test_temporary_tables_which_postgresql_lets_everybody_make_can_be_refused_too(
    role: Role, postgres_server: Server
) -> None:
    grant(role.url, role.name)

    postgres_server.execute(f"REVOKE TEMPORARY ON DATABASE {make_url(role.url).database} FROM PUBLIC")

    assert role.is_refused("CREATE TEMPORARY TABLE mine (number INTEGER)")
    assert role.readable() == READABLE


def test_the_statements_for_support_make_a_role_that_reads_the_views_in_utc(
    postgres_url: str, postgres_server: Server
) -> None:
    section = pages.SUPPORT.section("Access")
    [statements] = section.examples("postgresql")
    assert section.examples("sh") == ["receiver grant-support support"]  # which is what `grant` runs
    name = f"support_{uuid.uuid4().hex[:12]}"
    for statement in statements.replace("ROLE support", f"ROLE {name}").split("\n"):
        postgres_server.execute(statement)
    with role_of(name, postgres_url, postgres_server) as role:
        said = f"{name} can read the support views of the {where(role.url)}.\n"
        assert grant(role.url, role.name) == (0, said)
        assert role.readable() == READABLE
        assert role.ask("SHOW timezone") == [("UTC",)]


def test_granting_twice_is_granting_once(role: Role) -> None:
    assert grant(role.url, role.name) == grant(role.url, role.name)
    assert role.readable() == READABLE


def test_what_was_granted_outlives_a_migration(role: Role, postgres_server: Server) -> None:
    """A role that could read all views can read the new ones, too; one that could read some can read only those."""
    grant(role.url, role.name)
    database = make_url(role.url).database or ""
    postgres_server.execute("DROP VIEW support_error_codes", database)
    postgres_server.execute("GRANT SELECT ON support_failures TO PUBLIC", database)

    schema.upgrade(role.url)

    assert role.readable() == READABLE
    postgres_server.execute(f"DROP OWNED BY {sql.Identifier(role.name).as_string()}", database)
    assert role.readable() == {"support_failures"}


def test_what_was_granted_is_lost_with_the_views_at_base_and_can_be_granted_again(role: Role) -> None:
    grant(role.url, role.name)
    schema.downgrade(role.url, "base")
    schema.upgrade(role.url)
    assert role.readable() == {"alembic_version"}

    assert grant(role.url, role.name)[0] == 0
    assert role.readable() == READABLE


def test_a_role_that_may_do_more_is_reported(role: Role, postgres_server: Server) -> None:
    database = make_url(role.url).database or ""
    postgres_server.execute(f"GRANT INSERT ON messages TO {sql.Identifier(role.name).as_string()}", database)

    code, said = grant(role.url, role.name)

    assert code == 1
    assert said.endswith("can do more than that: use the table messages. Use a separate role.\n")


@pytest.mark.parametrize(
    ("statements", "more"),
    [
        (["GRANT SELECT (text) ON messages TO {}"], "use the table messages"),
        (["ALTER ROLE {} NOINHERIT", "GRANT pg_read_all_data TO {}"], "use the table credential_pauses, use the table"),
        (["ALTER ROLE {} CREATEROLE"], "create roles"),
    ],
    ids=["a column", "a role that it may become", "roles that it may become once it made them"],
)
def test_what_a_role_may_do_in_a_roundabout_way_is_reported_too(
    role: Role, postgres_server: Server, statements: list[str], more: str
) -> None:
    for statement in statements:
        name = sql.Identifier(role.name).as_string()
        postgres_server.execute(statement.format(name), make_url(role.url).database or "")

    code, said = grant(role.url, role.name)

    assert code == 1
    assert f"can do more than that: {more}" in said


def test_a_schema_that_not_everybody_may_use_is_opened_too(role: Role, postgres_server: Server) -> None:
    postgres_server.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC", make_url(role.url).database or "")

    assert grant(role.url, role.name)[0] == 0
    assert role.ask("SELECT count(*) FROM support_messages") == [(0,)]


def test_who_does_not_own_the_views_lets_nobody_in(role: Role, postgres_server: Server) -> None:
    database = make_url(role.url).database or ""
    postgres_server.execute(f"GRANT SELECT ON alembic_version TO {sql.Identifier(role.name).as_string()}", database)
    url = make_url(role.url).set(username=role.name, password="open-sesame").render_as_string(hide_password=False)

    code, said = grant(url, role.name)

    assert code == 1
    assert said.startswith(f"{role.name} was granted nothing: permission denied for ")
    assert said.count("\n") == 1


def test_an_unknown_role_is_a_sentence_with_the_remedy(postgres_url: str) -> None:
    assert grant(postgres_url, "nobody'; DROP VIEW support_events; --") == (
        1,
        'PostgreSQL has no role "nobody\'; DROP VIEW support_events; --"; create it first: CREATE ROLE ... LOGIN.\n',
    )


def test_sqlite_has_no_roles(sqlite_url: str) -> None:
    code, said = grant(sqlite_url, "support")

    assert code == 2
    assert said.startswith("SQLite has no roles: ")
