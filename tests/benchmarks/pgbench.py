"""The service's own statements for one event, run by pgbench: what the database does without HTTP and without Python.

They are captured from the program while it records one event, so they cannot drift from it. What the program sets for
each transaction as it begins it, in one journey to the server, pgbench gets for its sessions, at no cost to it.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event, text

from receiver.bandwidth import callbacks
from receiver.core import times
from receiver.database.database import Database
from receiver.events.store import record
from tests.benchmarks.workload import (
    MESSAGES,
    PK,
    RECIPIENTS,
    make_body_of,
    make_one,
    message_id_of,
    recipient_of,
    tag_of,
)
from tests.support.postgres import PostgresServer

CODE, EVENT_PK = 83719, 910_273_645
"""An error code and a key that occur nowhere else in the captured statements."""


@dataclass(frozen=True)
class Script:
    """A script for pgbench, and its settings in the form of libpq's PGOPTIONS."""

    text: str
    options: str


def capture(database: Database, number: int = 1234) -> Script:
    """Captures what the program executes for one new event about that message, which must exist."""
    executed: list[tuple[str, dict[str, Any]]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: dict[str, Any], *_: Any) -> None:
        executed.append((statement, dict(parameters)))

    sequence = "SELECT setval(pg_get_serial_sequence('events', 'pk'), :pk, false)"
    database.write(lambda session: session.execute(text(sequence), {"pk": EVENT_PK}))
    elements = callbacks.parse(make_body_of(make_one(number, 1, code=CODE)))
    event.listen(database.engine, "before_cursor_execute", note)
    try:
        database.write(lambda session: record(session, elements, now=times.now()))
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    (begin, _), *statements = executed
    settings = re.findall(r"SET LOCAL (\w+) = '?([\w.]+)", begin)
    return Script(_script(statements, _sentinels(number)), " ".join(f"-c {name}={value}" for name, value in settings))


def _sentinels(number: int) -> dict[str, str]:
    """The captured values, and the SQL that replaces each."""
    found = {
        tag_of(number): "('01M80000000000' || lpad(:number::text, 12, '0'))",
        message_id_of(number): "('1795300147488' || lpad(:number::text, 12, '0') || 'bench')",
        str(PK + number): ":stored_message_pk::text",
        str(EVENT_PK): ":stored_pk::text",
        str(CODE): ":code::text",
    }
    for position in range(RECIPIENTS):
        shifted = f"(:number * {RECIPIENTS} + (:position + {position + RECIPIENTS - 1}) % {RECIPIENTS})"
        found[recipient_of(number, position)] = f"('+1919' || lpad({shifted}::text, 7, '0'))"
    return found


def _script(executed: list[tuple[str, dict[str, Any]]], sentinels: dict[str, str]) -> str:
    lines = [f"\\set number random(0, {MESSAGES - 1})", f"\\set position random(0, {RECIPIENTS - 1})"]
    lines += ["\\set code random(1, 99999)", "BEGIN;"]
    for statement, parameters in executed:

        def expression(match: re.Match[str], parameters: dict[str, Any] = parameters) -> str:
            return _expression(str(parameters[match[1]]), sentinels)

        written = re.sub(r"%\((\w+)\)s", expression, statement.replace("%%", "%"))
        ending = ";"
        if statement.startswith("INSERT INTO events"):
            ending = " \\gset stored_"
        lines.append(" ".join(written.split("\n")) + ending)
    return "\n".join([*lines, "COMMIT;", ""])


def _expression(value: str, sentinels: dict[str, str]) -> str:
    pieces = re.split("(" + "|".join(map(re.escape, sentinels)) + ")", value)
    return "(" + " || ".join(sentinels.get(each) or _literal(each) for each in pieces if each) + ")"


def _literal(value: str) -> str:
    """Escapes colons: pgbench takes ``:null`` for a variable, even inside quotes."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''").replace(":", "\\x3a") + "'"


def run(
    server: PostgresServer,
    database: str,
    script: Script,
    *,
    folder: Path,
    clients: int,
    seconds: int | None = None,
    count: int = 1,
) -> tuple[float, float]:
    """Runs it; returns transactions per second and their mean latency in milliseconds. Raises if any failed."""
    file = folder / "pgbench.sql"
    file.write_text(script.text)
    bound = ["-T", str(seconds)] if seconds else ["-t", str(count)]
    command = [server.binary("pgbench"), "-n", "-M", "prepared", "-j", str(min(2, clients)), "-c", str(clients), *bound]
    ended = subprocess.run(
        [*command, "-f", file, server.url(database).replace("+psycopg", "")],
        env=os.environ | {"PGOPTIONS": script.options},
        capture_output=True,
        text=True,
        timeout=(seconds or 0) + 60,
        check=False,
    )
    tps = re.search(r"tps = ([\d.]+)", ended.stdout)
    latency = re.search(r"latency average = ([\d.]+) ms", ended.stdout)
    if ended.returncode or not tps or not latency:
        raise RuntimeError(f"pgbench ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return float(tps[1]), float(latency[1])
