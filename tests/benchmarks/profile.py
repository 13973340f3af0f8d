"""Where the service's processor time goes: samples of one of its processes under load, taken by py-spy."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmarks.contestants import cpu_seconds

HERTZ = 250
"""Samples per second."""

WARM_UP = 1.0
"""Seconds under load before the first sample."""

AREAS = {
    "receiver/log.py": "log",
    "structlog/": "log",
    "receiver/metrics.py": "metrics",
    "prometheus_client/": "metrics",
    "receiver/events/notes.py": "notes for log and metrics",
    "receiver/bandwidth/": "parsing",
    "receiver/core/": "rules",
    "psycopg/": "driver",
    "psycopg_binary/": "driver",
    "sqlalchemy/": "SQLAlchemy",
    "receiver/database/": "transactions",
    "receiver/events/": "committer and store",
    "receiver/web/": "view",
    "receiver/": "the rest of the service",
    "granian/": "server",
    "uvloop/": "event loop",
    "asyncio/": "event loop",
}
"""What a file belongs to, by a part of its path; the first that fits. Other files belong to their callers."""

OUTSIDE = "HTTP server, libpq and kernel"
"""What runs without the lock of Python."""


@dataclass(frozen=True)
class Profile:
    """Shares of the processor time of one process."""

    connections: int
    areas: dict[str, float]
    """By what the code is for; the greatest first."""
    lines: dict[str, float]
    """By function and line; the ten greatest."""


def take(
    server: psutil.Process, load: Callable[[], object], *, connections: int, seconds: float, folder: Path
) -> Profile:
    """Takes a profile of the busiest process of a server, and draws a flame graph of it.

    Meanwhile ``load`` runs, which must last three times as long.
    """
    stacks, graph = folder / f"profile-{connections}.raw", folder / f"flame-{connections}.svg"
    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(WARM_UP)
    worker = max(server.children(recursive=True), key=cpu_seconds)
    record = [Path(sys.executable).with_name("py-spy"), "record", "--pid", str(worker.pid), "--rate", str(HERTZ)]
    # Only the holder of the lock of Python runs Python. Without this, a thread that waits for its turn counts, too.
    record += ["--gil", "--duration", str(round(seconds))]
    started = cpu_seconds(worker)
    subprocess.run([*record, "--format", "raw", "--output", stacks], check=True, capture_output=True)
    used = cpu_seconds(worker) - started
    subprocess.run([*record, "--format", "flamegraph", "--output", graph], check=True, capture_output=True)
    thread.join()
    return summarize(read(stacks), total=used * HERTZ, connections=connections)


def read(path: Path) -> dict[tuple[str, ...], int]:
    """Returns how often each stack was seen, the root first; a frame is like ``record (events/store.py:80)``.

    Threads without a frame of Python are left out.
    """
    lines = [line.rpartition(" ") for line in path.read_text().splitlines()]
    return {tuple(stack.split(";")): int(number) for stack, _, number in lines if stack}


def summarize(stacks: Mapping[tuple[str, ...], int], *, total: float, connections: int) -> Profile:
    """``total`` is the number of samples that the processor time of the whole process is worth."""
    areas, lines = Counter[str](), Counter[str]()
    for stack, number in stacks.items():
        areas[area_of(stack)] += number
        lines[stack[-1]] += number
    sampled = sum(stacks.values())
    total = max(total, sampled)
    areas[OUTSIDE] += total - sampled
    return Profile(
        connections=connections,
        areas={name: number / total for name, number in areas.most_common()},
        lines={line: number / total for line, number in lines.most_common(10)},
    )


def area_of(stack: tuple[str, ...]) -> str:
    """Returns what the innermost frame is for whose file belongs to something."""
    for frame in reversed(stack):
        for part, area in AREAS.items():
            if part in frame:
                return area
    return "other"
