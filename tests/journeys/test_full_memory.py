"""Counters lie in shared memory; when that is full, a write would kill the process, so it must be avoided."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from receiver.database.schema import upgrade
from receiver.metrics import FOLDER
from receiver.web.server import SHARED_MEMORY
from tests.support.builders import API_KEY, CALLBACK_AUTH
from tests.support.debian import program
from tests.support.postgres import free_port
from tests.support.processes import PATIENCE, environment, wait_for
from tests.support.prometheus import counted

FULL = "mount -t tmpfs -o size=1m none {0} && head -c 2m /dev/zero > {0}/fill; exec {1}"
"""Runs in a shell with its own mount namespace, which no other process sees."""


@pytest.fixture
def with_full_memory() -> Callable[[str, str], list[str]]:
    """A command that runs another one while that folder is a full file system in memory."""
    unshare = program("unshare")
    trial = [unshare, "--mount", "mount", "-t", "tmpfs", "none", SHARED_MEMORY]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("who may not mount cannot fill a disk")
    return lambda folder, command: [unshare, "--mount", "sh", "-c", FULL.format(folder, command)]


def test_a_server_starts_and_counts_while_shared_memory_is_full(
    tmp_path: Path, with_full_memory: Callable[[str, str], list[str]]
) -> None:
    sqlite_url = f"sqlite:///{tmp_path}/receiver.sqlite3"  # the fixture's database is in shared memory
    upgrade(sqlite_url)
    port, log = free_port(), tmp_path / "serve.log"
    command = with_full_memory(SHARED_MEMORY, f"{sys.executable} -m receiver.cli serve --port {port}")
    settings = environment(sqlite_url) | {"TMPDIR": str(tmp_path)}
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=settings, cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_for(lambda: "Started worker-1 runtime" in log.read_text() or server.poll() is not None, "the server")
        url = f"http://127.0.0.1:{port}"
        assert requests.post(f"{url}/callbacks/bandwidth", data="[]", auth=CALLBACK_AUTH, timeout=PATIENCE).ok
        answer = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {API_KEY}"}, timeout=PATIENCE)
        assert counted(answer.text)["callbacks_total", "200"] == 1
        (folder,) = tmp_path.glob("receiver-metrics-*")
    finally:
        server.terminate()
        server.wait(PATIENCE)
    assert not folder.exists()


def test_a_process_that_has_no_room_to_count_says_so_instead_of_being_ended_by_its_first_write(
    tmp_path: Path, sqlite_url: str, with_full_memory: Callable[[str, str], list[str]]
) -> None:
    ended = subprocess.run(
        with_full_memory(str(tmp_path), f"{sys.executable} -c 'import wsgi'"),
        env=environment(sqlite_url) | {FOLDER: str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    sentence = f"Cannot store metrics in {tmp_path}, named by {FOLDER}: No space left on device."
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, sentence)
