"""The README's first message: its five steps, typed into a shell as they stand."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support import curl, pages
from tests.support.postgres import free_port
from tests.support.processes import PATIENCE, Api, Child, wait_for

CREATE, SIMULATE, SERVE, WORK, SEND = pages.README.section("Send a first message").examples("sh")
RECEIVER = shlex.join([sys.executable, "-m", "receiver.cli"])


def test_the_five_steps_lead_to_the_outcome_of_each_recipient(tmp_path: Path, development: dict[str, str]) -> None:
    ports = {"8080": str(free_port()), "8090": str(free_port())}
    (tmp_path / "config").mkdir()
    settings = (pages.ROOT / "config" / "development.env").read_text(encoding="utf-8")
    (tmp_path / "config" / "development.env").write_text(_with_ports(settings, ports))
    curl.install(tmp_path)
    surroundings = {name: value for name, value in os.environ.items() if name not in development} | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    }

    def typed(step: str) -> subprocess.CompletedProcess[str]:
        command = _with_ports(step, ports).replace(".venv/bin/receiver", RECEIVER)
        return subprocess.run(
            ["bash", "-ec", command],
            env=surroundings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def started(step: str) -> Child:
        program, *arguments = shlex.split(_with_ports(step, ports).replace("\\\n", " "))
        assert program == ".venv/bin/receiver"
        port = ("--port", ports["8080"]) if arguments[-1] == "serve" else ()
        port = ("--port", ports["8090"]) if arguments[0] == "simulate" else port
        return Child(*arguments, *port, environment=surroundings, folder=tmp_path)

    install, migrate = CREATE.splitlines()
    assert install == "make install"
    assert typed(migrate).returncode == 0
    with (
        started(SIMULATE),
        started(SERVE) as server,
        started(WORK),
        Api(f"http://127.0.0.1:{ports['8080']}") as api,
    ):
        wait_for(api.is_ready, "the service")
        sent = typed(SEND)
        assert server.process.poll() is None

    assert sent.returncode == 0, sent.stderr
    shown, _, message = sent.stdout.rpartition("\n{")
    statuses = {each["to"]: each["status"] for each in json.loads("{" + message)["recipients"]}
    assert statuses == {"+19195550101": "delivered", "+12005564404": "failed"}
    assert "rejected-forbidden-to-number" in shown
    assert "extraneous" in shown


def _with_ports(text: str, ports: dict[str, str]) -> str:
    for written, real in ports.items():
        text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{real}")
    return text
