"""The commands: what they print, how they exit, and that none of them ever prints a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from sqlalchemy import make_url, text

from receiver import VERSION
from receiver.cli.commands import COMMANDS, load, main
from receiver.cli.tables import print_rows
from receiver.database.database import Database
from receiver.settings import VARIABLES
from tests.database.test_migrations import fill
from tests.support.builders import ALICE, CLIENT_ID, store_message
from tests.support.processes import PATIENCE, environment, invoke, run
from tests.support.releases import PRESENT


def run_python(code: str, *, folder: Path, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """Runs this code in a fresh interpreter, and returns what it prints."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ) | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return ended.stdout


UNREACHABLE = "postgresql+psycopg://app:hunter2@127.0.0.1:9/receiver"


def one_sentence(result: Result) -> str:
    """The output of the command, which has to be one sentence."""
    (sentence,) = (line for line in result.output.splitlines() if line)
    return sentence


@pytest.fixture(params=["empty", "unreachable", "no such folder"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings with a database that cannot be used."""
    urls = {
        "empty": f"sqlite:///{tmp_path / 'empty.sqlite3'}",
        "unreachable": UNREACHABLE,
        "no such folder": f"sqlite:///{tmp_path / 'missing' / 'receiver.sqlite3'}",
    }
    return environment(urls[request.param])


def _make_newer(database_url: str) -> None:
    with Database(database_url) as database:
        database.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = 'the-future'")))


# config --------------------------------------------------------------------------------------------------------


def test_config_prints_every_setting_and_no_secret() -> None:
    result = invoke("config", environment=environment(UNREACHABLE))

    assert result.exit_code == 0
    about, *printed = (result.output.partition("DATABASE_URL=")[0], *result.output.splitlines()[2:])
    assert about.splitlines()[0] == f"# receiver {VERSION}"
    assert about.splitlines()[1].startswith(f"# {name_of(UNREACHABLE)}, which cannot be reached: ")
    lines = dict(line.split("=", 1) for line in printed)
    assert tuple(lines) == VARIABLES
    assert lines["DATABASE_URL"] == "postgresql+psycopg://app:***@127.0.0.1:9/receiver"
    assert (lines["BANDWIDTH_CLIENT_ID"], lines["BANDWIDTH_CLIENT_SECRET"]) == (CLIENT_ID, "(set)")
    assert "app" in lines["API_KEYS"]
    assert "support" in lines["READ_ONLY_API_KEYS"]


def test_config_warns_of_credentials_that_are_not_used_or_end_soon() -> None:
    settings = environment(UNREACHABLE, bandwidth_username="user", bandwidth_password="hunter2")
    ended = settings | {"BANDWIDTH_CLIENT_ID": "", "BANDWIDTH_CLIENT_SECRET": "", "BANDWIDTH_API_URL": ""}

    warned = [invoke("config", environment=each).stderr for each in (settings, ended)]

    assert warned[0].startswith("warning: BANDWIDTH_USERNAME and BANDWIDTH_PASSWORD are ignored")
    assert warned[1].startswith("warning: BANDWIDTH_USERNAME and BANDWIDTH_PASSWORD stop working on 2026-12-02")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://app:hunter2@host/receiver?password=hunter2",
        "postgresql+psycopg://app:p@ss:hunter2@host/receiver",
        "postgresql+psycopg://app:hunter2/x@host/receiver",
        "postgresql+psycopg://:hunter2@host/receiver",
        "postgresql+psycopg:///receiver?host=/tmp&password=hunter2",
    ],
)
def test_config_hides_the_database_password_wherever_it_stands(url: str) -> None:
    invoke("config", environment={"DATABASE_URL": url})


def test_config_shows_how_postgresql_is_reached(postgres_url: str) -> None:
    for mode in ("disable", "prefer"):
        url = make_url(postgres_url).update_query_dict({"sslmode": mode}).render_as_string(hide_password=False)
        second = invoke("config", environment=environment(url)).stdout.splitlines()[1]
        assert second.startswith(f"# {name_of(postgres_url)}, host ")
        assert second.endswith(f"sslmode {mode}, not encrypted")


def test_config_needs_no_setting_at_all() -> None:
    assert invoke("config", environment={}).exit_code == 0


# serve that cannot start ------------------------------------------------------------------------------------------


WRONG = {
    "DATABASE_URL": "mysql://app:hunter2@host/receiver",
    "BANDWIDTH_FROM": "a very long sender that nobody has",
    "BANDWIDTH_API_URL": "ftp://hunter2.example",
    "BANDWIDTH_CONNECT_TIMEOUT": "-1",
    "BANDWIDTH_READ_TIMEOUT": "soon",
    "CALLBACK_CREDENTIALS": "user:",
    "ALLOW_UNAUTHENTICATED_CALLBACKS": "perhaps",
    "API_KEYS": "name:",
    "READ_ONLY_API_KEYS": "hunter2,,",
    "OVERDUE_AFTER_HOURS": "0",
    "MAX_BODY_BYTES": "many",
}


def test_serve_lists_every_wrong_and_every_missing_setting_at_once() -> None:
    result = invoke("serve", environment=WRONG)

    assert result.exit_code == 2
    named = {line.partition(":")[0] for line in result.output.splitlines()[1:]}
    assert named == {*WRONG, "BANDWIDTH_ACCOUNT_ID", "BANDWIDTH_CLIENT_ID", "BANDWIDTH_CLIENT_SECRET"}


@pytest.mark.parametrize("blank", ["", "   "])
def test_serve_without_keys_and_callback_credentials_does_not_start(blank: str) -> None:
    settings = environment(UNREACHABLE) | {"API_KEYS": blank, "READ_ONLY_API_KEYS": "", "CALLBACK_CREDENTIALS": blank}

    result = invoke("serve", environment=settings)

    assert result.exit_code == 2
    assert {line.partition(":")[0] for line in result.output.splitlines()[1:]} == {"API_KEYS", "CALLBACK_CREDENTIALS"}


def test_serve_runs_one_process_on_sqlite(sqlite_url: str) -> None:
    result = invoke("serve", "--workers", "2", environment=environment(sqlite_url))

    assert result.exit_code == 2
    assert "SQLite" in one_sentence(result)


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("serve", 1),
        (f"send --to {ALICE} --text x", 1),
        ("show 01M803PMPZHK79K198H9DPFJ7A", 3),
        ("find x", 3),
        ("watch x", 3),
        ("cancel 01M803PMPZHK79K198H9DPFJ7A", 3),
        ("overdue", 3),
        ("recompute", 3),
        ("recompute --check", 3),
        ("unlinked", 3),
        ("unreadable --replay", 3),
    ],
)
def test_a_database_that_cannot_be_used_is_reported_in_one_sentence(
    unusable: dict[str, str], command: str, exit_code: int
) -> None:
    """The exit code of a query is then neither that of yes nor that of no."""
    result = invoke(*command.split(), environment=unusable)

    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert ("receiver migrate" in one_sentence(result)) == ("empty" in unusable["DATABASE_URL"])


# migrate ---------------------------------------------------------------------------------------------------------


def test_migrate_goes_up_and_down_and_up_again_and_keeps_every_row(empty_database_url: str) -> None:
    settings = environment(empty_database_url)
    assert invoke("migrate", environment=settings).exit_code == 0
    with Database(empty_database_url) as database:
        tag, _ = store_message(database)

    for arguments in (["--down", "--to", "base"], [], []):
        assert invoke("migrate", *arguments, environment=settings).exit_code == 0

    assert tag in invoke("show", tag, environment=settings).output


def test_a_migrated_down_database_is_not_served(empty_database_url: str) -> None:
    settings = environment(empty_database_url)
    for arguments in ([], ["--down", "--to", "base"]):
        invoke("migrate", *arguments, environment=settings)

    result = invoke("serve", environment=settings)

    assert result.exit_code == 1
    assert "receiver migrate" in one_sentence(result)


@pytest.mark.parametrize("arguments", [[], ["--down", "--to", "base"], ["--to", "nonsense"]])
def test_migrate_says_in_one_sentence_that_it_cannot(database_url: str, arguments: list[str]) -> None:
    _make_newer(database_url)

    result = invoke("migrate", *arguments, environment=environment(database_url))

    assert result.exit_code == 1
    assert "the-future" in one_sentence(result) or "nonsense" in one_sentence(result)


def test_migrate_says_in_one_sentence_that_the_database_is_unreachable() -> None:
    result = invoke("migrate", environment=environment(UNREACHABLE))

    assert result.exit_code == 1
    assert one_sentence(result)


def name_of(database_url: str) -> str:
    parts = make_url(database_url)
    if parts.get_backend_name() == "sqlite":
        return f"SQLite file {parts.database}"
    host = parts.host or parts.query["host"]
    return f"PostgreSQL database {parts.database} at {host}" + (f":{parts.port}" if parts.port else "")


def test_migrate_says_which_database_it_changed_and_whether_it_did(empty_database_url: str) -> None:
    settings, named = environment(empty_database_url), name_of(empty_database_url)

    said = [
        invoke("migrate", *arguments, environment=settings).output
        for arguments in (["--to", "0001"], [], [], ["--down", "--to", "0001"], ["--down", "--to", "base"])
    ]

    newest = PRESENT
    assert said == [
        f"The {named} was migrated to revision 0001.\n",
        f"The {named} was migrated from revision 0001 to {newest}.\n",
        f"The {named} is already at revision {newest}; its schema was not changed.\n",
        f"The {named} was migrated from revision {newest} to 0001.\n",
        f"The {named} was migrated from revision 0001 to base.\n",
    ]


@pytest.mark.parametrize("command", ["migrate", "find x", "doctor", f"send --to {ALICE} --text x", "serve", "resume"])
def test_a_database_that_cannot_be_used_is_named(unusable: dict[str, str], command: str) -> None:
    result = invoke(*command.split(), environment=unusable)

    if result.exit_code:
        assert name_of(unusable["DATABASE_URL"]) in result.output


@pytest.mark.parametrize("command", ["show", "recompute"])
def test_a_newer_database_is_a_warning_and_the_command_goes_on(database_url: str, command: str) -> None:
    with Database(database_url) as database:
        tag, _ = store_message(database)
    _make_newer(database_url)

    result = invoke(command, *([tag] if command == "show" else []), environment=environment(database_url))

    assert result.exit_code == 0
    assert "newer" in result.stderr


# the options of all commands ---------------------------------------------------------------------------------------


def test_settings_come_from_a_file_unless_the_environment_has_them(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("BANDWIDTH_FROM=+19195550111\nBANDWIDTH_ACCOUNT_ID=123\nAPI_KEYS=app:hunter2\n")
    settings = {name: value for name, value in os.environ.items() if name not in VARIABLES}

    shown = run(
        "--env-file", str(file), "config", environment=settings | {"BANDWIDTH_ACCOUNT_ID": "7"}, folder=tmp_path
    )

    assert shown.returncode == 0
    assert {"BANDWIDTH_FROM=+19195550111", "BANDWIDTH_ACCOUNT_ID=7", "API_KEYS=app:(set)"} <= set(
        shown.stdout.splitlines()
    )


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("columns", [80, 100])
def test_help_fits_and_cuts_no_word_and_no_sentence(command: str, columns: int) -> None:
    arguments = [*command.split(), "--help"]
    narrow = CliRunner().invoke(main, arguments, terminal_width=columns).output
    wide = CliRunner().invoke(main, arguments, terminal_width=10_000, max_content_width=10_000).output

    assert max(map(len, narrow.splitlines())) <= columns
    assert narrow.split() == wide.split()
    assert "..." not in narrow.replace("[ARGS]...", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_table_of_commands_has_the_first_sentence_of_their_own_help(command: str) -> None:
    _, sentence = COMMANDS[command]

    assert load(command).get_short_help_str(limit=10_000) == sentence


def test_help_has_every_command_and_imports_none_of_them(tmp_path: Path) -> None:
    code = """
import sys
from receiver.cli.commands import COMMANDS, load, main
main(["--help"], standalone_mode=False)
print(*sys.modules)
"""
    help_text, _, modules = run_python(code, folder=tmp_path).rstrip().rpartition("\n")

    assert {line.split()[0] for line in help_text.partition("Commands:")[2].splitlines() if line} >= set(COMMANDS)
    assert not {"sqlalchemy", "marshmallow", "prometheus_client", "receiver.cli.send"} & set(modules.split())


@pytest.mark.parametrize(
    ("words", "candidates"),
    [("receiver res", {"resolve", "restored", "results", "resume"}), ("receiver send-many --re", {"--reference"})],
)
def test_the_shell_completes_commands_and_their_options(tmp_path: Path, words: str, candidates: set[str]) -> None:
    completion = {"_RECEIVER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code = "from receiver.cli import main; main(prog_name='receiver')"

    completed = run_python(code, folder=tmp_path, environment=completion)

    assert {line.partition(",")[2] for line in completed.splitlines()} == candidates


def test_a_misspelt_command_is_a_sentence_that_suggests_another() -> None:
    result = invoke("resolv", environment={})

    assert result.exit_code == 2
    assert "No such command 'resolv'" in result.output
    assert "resolve" in result.output.partition("'resolv'")[2]


@pytest.mark.parametrize("command", ["find", "show", "overdue", "unlinked"])
def test_no_line_in_a_pipe_ends_in_blanks(sqlite_url: str, command: str) -> None:
    fill(sqlite_url)
    with Database(sqlite_url) as database, database.read() as session:
        tag = str(session.scalar(text("SELECT min(tag) FROM support_messages")))

    shown = invoke(command, *([tag] if command in ("find", "show") else []), environment=environment(sqlite_url))

    assert "  " in shown.stdout
    assert [line for line in shown.stdout.splitlines() if line != line.rstrip()] == []


def test_a_table_on_a_terminal_breaks_no_word_while_there_is_room(sqlite: Database, sqlite_url: str) -> None:
    words = ["summer-campaign-2026", "message-delivered"]
    console = Console(width=80, force_terminal=True, color_system=None, file=StringIO())
    print_rows(console, ("tag", "reference", "meaning"), [("T" * 26, *words), ("x", "y", "z " * 60)])

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(word in shown for word in (*words, "T" * 26))
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments", [["--env-file", "no-such-file", "config"], ["nonsense"], ["show"], ["recompute", "--after", "\udcff"]]
)
def test_a_command_line_that_is_wrong_exits_2(arguments: list[str]) -> None:
    assert invoke(*arguments, environment={}).exit_code == 2
