"""The service's own statement for one event, run by pgbench: what the database does without HTTP and without Python.

It and its rows are those of the program, so they cannot drift from it. What the program sets for each transaction,
pgbench gets for its sessions, at no cost to it.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from receiver.bandwidth import callbacks
from receiver.core import times
from receiver.database.engine import WRITE_SETTINGS
from receiver.events.store import STORE_PLAIN, store_plain
from tests.benchmarks.workload import MESSAGES, RECIPIENTS, make_body_of, make_one, message_id_of, recipient_of, tag_of
from tests.support.postgres import PostgresServer

CODE = 83719
"""An error code that occurs nowhere else in the parameters."""


@dataclass(frozen=True)
class Script:
    """A script for pgbench, and its settings in the form of libpq's PGOPTIONS."""

    text: str
    options: str


class _Recorder:
    """Runs no statement, and keeps its parameters."""

    parameters: tuple[bytes, ...] = ()

    def run(self, *parameters: bytes) -> bytes:
        self.parameters = parameters
        return b"[]"


def make_script(number: int = 1234) -> Script:
    """Returns a script that stores a new event about a message chosen at random.

    Its parameters are those of an event about message ``number``, in which everything that is that message's own is
    replaced by an expression. Only the standing stays that of the one event.
    """
    recorder = _Recorder()
    elements = callbacks.parse(make_body_of(make_one(number, 1, "failed", CODE)))
    store_plain(recorder, elements, now=times.now())  # type: ignore[arg-type]
    sql = " ".join(STORE_PLAIN.split("\n"))
    for place, value in enumerate(recorder.parameters, 1):
        sql = sql.replace(f"${place}", _expression(value.decode(), _replacements(number)))
    lines = [
        f"\\set number random(0, {MESSAGES - 1})",
        f"\\set position random(0, {RECIPIENTS - 1})",
        "\\set code random(1, 99999)",
        sql,
    ]
    return Script("\n".join(lines) + ";\n", " ".join(f"-c {name}={value}" for name, value in WRITE_SETTINGS.items()))


def _replacements(number: int) -> dict[str, str]:
    """The values that are the message's own, and the SQL that replaces each."""
    found = {
        tag_of(number): "('01M80000000000' || lpad(:number::text, 12, '0'))",
        message_id_of(number): "('1795300147488' || lpad(:number::text, 12, '0') || 'bench')",
        str(CODE): ":code::text",
    }
    for position in range(RECIPIENTS):
        shifted = f"(:number * {RECIPIENTS} + (:position + {position + RECIPIENTS - 1}) % {RECIPIENTS})"
        found[recipient_of(number, position)] = f"('+1919' || lpad({shifted}::text, 7, '0'))"
    return found


def _expression(value: str, replacements: dict[str, str]) -> str:
    pieces = re.split("(" + "|".join(map(re.escape, replacements)) + ")", value)
    return "(" + " || ".join(replacements.get(each) or _literal(each) for each in pieces if each) + ")"


def _literal(value: str) -> str:
    """Escapes colons: pgbench takes ``:null`` for a variable, even inside quotes."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''").replace(":", "\\x3a") + "'"


def measure(
    server: PostgresServer, database: str, script: Script, *, folder: Path, clients: int, warm_up: int, seconds: int
) -> tuple[float, float]:
    """Returns the transactions per second after the warm-up, and their mean latency in milliseconds.

    The warm-up is that of the same sessions, because each of them plans the statement.
    """
    bounds = ["-T", str(warm_up + seconds), "-P", "1"]
    ended = run(server, database, script, *bounds, folder=folder, clients=clients)
    reports = re.findall(r"^progress: [\d.]+ s, ([\d.]+) tps, lat ([\d.]+) ms", ended.stderr, re.MULTILINE)
    measured = [(float(tps), float(latency)) for tps, latency in reports[warm_up:]]
    total = sum(tps for tps, _ in measured)
    return total / len(measured), sum(tps * latency for tps, latency in measured) / total


def run(
    server: PostgresServer, database: str, script: Script, *bounds: str, folder: Path, clients: int
) -> subprocess.CompletedProcess[str]:
    """Runs pgbench; ``bounds`` are its options that say for how long. Raises RuntimeError if anything failed."""
    file = folder / "pgbench.sql"
    file.write_text(script.text)
    options = ["-n", "-M", "prepared", "-j", str(min(2, clients)), "-c", str(clients), *bounds]
    ended = subprocess.run(
        [server.binary("pgbench"), *options, "-f", file, server.url(database).replace("+psycopg", "")],
        env=os.environ | {"PGOPTIONS": script.options},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"pgbench ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return ended
