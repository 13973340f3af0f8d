"""A forked `receiver` is what the command line starts: its exit code, streams, session, and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from tests.support.fork_server import ROOT
from tests.support.processes import Child, environment, run, wait_for

COMMANDS = ["--version", "config", "config --nonsense", "show nothing"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_and_returns_what_it_does_from_the_command_line(
    sqlite_url: str, tmp_path: Path, command: str
) -> None:
    settings = environment(sqlite_url)
    forked, started = (
        run(*command.split(), environment=settings, folder=tmp_path, from_command_line=each) for each in (False, True)
    )

    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert forked.stderr == started.stderr.replace("python -m receiver.cli", "receiver")


def test_a_child_leads_a_session_and_its_end_by_a_signal_is_a_negative_exit_code(
    sqlite_url: str, tmp_path: Path
) -> None:
    with Child("worker", environment=environment(sqlite_url), folder=tmp_path) as child:
        child.wait_until(lambda: "worker starting" in child.output, "the worker's start")
        assert os.getsid(child.process.pid) == child.process.pid
        with pytest.raises(subprocess.TimeoutExpired):
            child.process.wait(0.01)

        assert child.end(signal.SIGKILL) == -signal.SIGKILL
        assert child.left_behind() == []


OWNER = """
import sys, time
from pathlib import Path
from tests.support.processes import Child, environment
folder = Path(sys.argv[2])
child = Child("worker", environment=environment(sys.argv[1]), folder=folder)
child.wait_until(lambda: "worker starting" in child.output, "the worker's start")
print(child.process.pid, flush=True)
time.sleep(60)
"""


def test_a_child_does_not_outlive_the_process_that_started_it_even_if_that_is_killed(
    sqlite_url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(OWNER), sqlite_url, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        assert psutil.pid_exists(pid)
        owner.kill()

    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "its end")
