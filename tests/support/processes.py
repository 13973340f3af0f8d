"""Runs `receiver` as real child processes, and talks to them over HTTP.

Every child leads a process group of its own: what it leaves behind can be seen, and is ended with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self, TypeVar

import psutil
import requests
from click.testing import CliRunner, Result

from receiver.cli import main
from receiver.settings import NAMES, ApiKey, Credential
from tests.support.builders import API_KEY, CALLBACK_AUTH, CLIENT_SECRET, READ_ONLY_KEY, make_settings
from tests.support.fork_server import ROOT, ForkedProcess, fork_server
from tests.support.postgres import free_port

Found = TypeVar("Found")

PATIENCE = 60.0
"""Seconds to wait for what usually takes one; a busy machine must not fail a test."""

GRACE = 30.0
"""Seconds that a child may take to end before it is killed."""


def wait_for(condition: Callable[[], Found], what: str, *, seconds: float = PATIENCE) -> Found:
    """Polls until the condition returns something true, and returns that. Raises AssertionError after ``seconds``."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)
    return found


def environment(database_url: str, **changes: Any) -> dict[str, str]:
    """The environment of a child: the settings of `make_settings` and none of the tester's own."""
    settings = make_settings(database_url, **changes)
    given = {field.name.upper(): _written(getattr(settings, field.name)) for field in fields(settings)}
    return {name: value for name, value in os.environ.items() if name not in NAMES} | given


def _written(value: Any) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return ",".join(_written(item) for item in value)
        case Credential():
            return f"{value.user}:{value.password}"
        case ApiKey():
            return f"{value.name}:{value.key}"
    return str(value)


def start(
    *arguments: str,
    environment: dict[str, str],
    folder: Path,
    streams: tuple[int, int, int],
    from_command_line: bool = False,
    before: tuple[str, dict[str, Any]] | None = None,
) -> subprocess.Popen[bytes] | ForkedProcess:
    """Starts `receiver` as the leader of a session, on these standard streams.

    The fork server of the release in that folder, or of this one, does it, which is faster; unless the process has to
    be started ``from_command_line``, or has other variables that Python itself reads at its start. What a command
    decides while it is imported, as whether it writes to a terminal, needs the command line. ``before`` is for the fork
    server alone: see ForkServer.start.
    """
    if from_command_line or _of_python(environment) != _of_python(os.environ):
        command = [sys.executable, "-m", "receiver.cli", *arguments]
        standard_input, output, errors = streams
        return subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=standard_input,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    release = folder if (folder / "receiver").is_dir() else ROOT
    return fork_server(release).start(arguments, environment=environment, folder=folder, streams=streams, before=before)


def _of_python(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith("PYTHON")}


def run(
    *arguments: str,
    environment: dict[str, str],
    folder: Path,
    standard_input: str = "",
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Runs `receiver` with these arguments to its end. No command may ever print a traceback.

    ``options`` are those of `start`.
    """
    reading, writing = os.pipe()
    with TemporaryFile() as output, TemporaryFile() as errors:
        with os.fdopen(reading) as given:
            streams = (given.fileno(), output.fileno(), errors.fileno())
            process = start(*arguments, environment=environment, folder=folder, streams=streams, **options)
        with suppress(BrokenPipeError), os.fdopen(writing, "w") as pipe:
            pipe.write(standard_input)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        printed = [_read(each) for each in (output, errors)]
    ended = subprocess.CompletedProcess(arguments, code, *printed)
    assert "Traceback" not in ended.stdout + ended.stderr, ended.stderr
    return ended


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


SECRETS = (API_KEY, READ_ONLY_KEY, CALLBACK_AUTH[1], CLIENT_SECRET, "hunter2")
"""The secrets in the tests' settings: no command may ever print one."""


def invoke(*arguments: str, environment: dict[str, str]) -> Result:
    """Runs `receiver` in this process, which is faster, with these settings and no others."""
    absent: dict[str, str | None] = dict.fromkeys(NAMES)
    result = CliRunner().invoke(main, arguments, env=absent | environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert not any(secret in result.output for secret in SECRETS)
    return result


FAULTS = ("Traceback", "internal error", "uncaught exception")


def faults(output: str) -> int:
    """How many errors of the program its output reports; every test expects none."""
    return sum(map(output.count, FAULTS))


class Child:
    """A running `receiver`, its output in a file."""

    def __init__(self, *arguments: str, environment: dict[str, str], folder: Path, **options: Any) -> None:
        """``options`` are those of `start`."""
        self._gone = False
        self.environment = environment
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        with Path(os.devnull).open("rb") as nothing, self.log.open("ab") as output:
            streams = (nothing.fileno(), output.fileno(), output.fileno())
            self.process = start(*arguments, environment=environment, folder=folder, streams=streams, **options)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def is_frozen(self) -> bool:
        """Whether SIGSTOP has taken effect."""
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED

    def thaw(self) -> None:
        """Lets a frozen child and its children continue."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def wait_until(self, condition: Callable[[], Found], what: str) -> Found:
        """Like wait_for, but fails as soon as the child has ended."""

        def checked() -> Found:
            found = condition()
            assert found or self.process.poll() is None, f"ended with {self.process.returncode} before {what}"
            return found

        return wait_for(checked, what)

    def end(self, how: signal.Signals = signal.SIGTERM, *, grace: float = GRACE) -> int:
        """Sends the signal and returns the exit code. Raises TimeoutExpired if the child outlives the grace time."""
        self.process.send_signal(how)
        return self.process.wait(grace)

    def kill(self) -> None:
        """Kills the child and all that it started; only once, since the system may reuse its id."""
        if self._gone:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not self.left_behind(), "the killed processes to be gone")
        self._gone = True

    def left_behind(self) -> list[psutil.Process]:
        """The living processes of the child's group, itself included."""
        return living(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            error.add_note(f"--- {self.log.name} (exit code {self.process.poll()})\n{self.output}")
        if self.process.poll() is None:
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        self.kill()


def living(group: int) -> list[psutil.Process]:
    """The processes of that group that have not ended."""
    try:
        os.killpg(group, 0)  # looking at every process of the machine takes longer
    except ProcessLookupError:
        return []
    return [each for each in psutil.process_iter() if _group(each) == group]


def _group(process: psutil.Process) -> int | None:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        if process.status() != psutil.STATUS_ZOMBIE:
            return os.getpgid(process.pid)
    return None


class Api:
    """Calls the service over HTTP, as the application and as Bandwidth do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        if "auth" not in options:
            options["headers"] = options.get("headers", {}) | {"Authorization": f"Bearer {API_KEY}"}
        return self.session.request(method, self.url + path, timeout=PATIENCE, **options)

    def send(self, *to: str, headers: dict[str, str] | None = None, **fields: Any) -> requests.Response:
        body = {"to": list(to), "text": "Lunch is at noon."} | fields
        return self.call("POST", "/messages", json=body, headers=headers or {})

    def queue(self, *to: str, **fields: Any) -> str:
        """Queues a message for the workers; returns its tag."""
        answer = self.send(*to, headers={"Prefer": "respond-async"}, **fields)
        assert (answer.status_code, answer.json()["sendStatus"]) == (202, "queued"), answer.text
        return str(answer.json()["tag"])

    def get(self, path: str, **query: str) -> Any:
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def message(self, tag: str) -> Any:
        return self.get(f"/messages/{tag}")

    def events(self, tag: str) -> list[Any]:
        found: list[Any] = self.get(f"/messages/{tag}/events")["events"]
        return found

    def callback(self, *elements: Any) -> requests.Response:
        return self.call("POST", "/callbacks/bandwidth", json=elements, auth=CALLBACK_AUTH)

    def is_ready(self) -> bool:
        with suppress(requests.ConnectionError):
            return self.call("GET", "/health/ready").ok
        return False


@dataclass
class SimulatorProcess:
    """A running `receiver simulate`."""

    child: Child
    port: int
    record: Path

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.root}/api/v2"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Calls one of the simulator's own paths; returns the JSON of the response."""
        answer = requests.request(method, f"{self.root}/simulator/{path}", json=body, timeout=PATIENCE)
        assert answer.ok, answer.text
        return answer.json()

    def switch(self, **switches: Any) -> None:
        """Sets these switches and resets all others; held requests continue."""
        self.call("PUT", "switches", switches)

    def wait_held(self, count: int = 1) -> None:
        """Waits until that many requests to send are held by an accident."""
        wait_for(lambda: len(self.call("GET", "held")["held"]) >= count, f"{count} held requests")

    def release(self, do: str | None = None) -> None:
        """Lets held requests continue, or ends their connections with `close` or `reset`."""
        self.call("POST", "release", {"do": do} if do else {})

    def receive(self, *, sender: str, to: list[str], text: str) -> str:
        """Makes a person write to us; returns the id of that message."""
        return str(self.call("POST", "inbound", {"from": sender, "to": to, "text": text})["id"])

    def messages(self) -> list[Any]:
        """The messages it accepted, oldest first."""
        found: list[Any] = self.call("GET", "messages")["messages"]
        return found

    def answers(self) -> dict[str, int]:
        """The number of requests to send by the status of the response."""
        found: dict[str, int] = self.call("GET", "counts")["answers"]
        return found

    def recorded(self) -> list[Any]:
        """Every message that this or an earlier simulator on the port accepted; readable after it has ended."""
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    def accepted(self, tag: str) -> list[Any]:
        """Its records of the message with that tag: more than one if it was sent more than once."""
        return [each for each in self.messages() if each["request"]["tag"] == tag]

    def settle(self, tag: str) -> Any:
        """Waits until every callback about the message is acknowledged; returns the message's record."""

        def settled() -> Any:
            found = self.accepted(tag)
            done = found and all(each["acknowledged"] for each in found[0]["callbacks"])
            return found if done else None

        (record,) = wait_for(settled, f"the callbacks about {tag}")
        return record


@contextmanager
def simulating(
    folder: Path, *options: str, callback_url: str | None = None, port: int | None = None, **how: Any
) -> Iterator[SimulatorProcess]:
    """Runs `receiver simulate`; yields when it listens. ``how`` are the options of `start`."""
    port = port or free_port()
    user, password = CALLBACK_AUTH
    callback = ["--callback-url", callback_url] if callback_url else []
    credentials = ["--callback-user", user, "--callback-password", password]
    record = folder / f"accepted-{port}.jsonl"
    arguments = ["simulate", "--port", str(port), "--record", str(record), *callback, *credentials, *options]
    with Child(*arguments, environment=dict(os.environ), folder=folder, **how) as child:
        child.wait_until(lambda: "BANDWIDTH_API_URL=" in child.output, "the simulator's address")
        yield SimulatorProcess(child, port, record)


@contextmanager
def serving(
    folder: Path,
    environment: dict[str, str],
    *options: str,
    port: int | None = None,
    **how: Any,
) -> Iterator[tuple[Child, Api]]:
    """Runs `receiver serve`; yields when it is ready. ``how`` are the options of `start`."""
    port = port or free_port()
    with (
        Child("serve", "--port", str(port), *options, environment=environment, folder=folder, **how) as child,
        Api(f"http://127.0.0.1:{port}") as api,
    ):
        child.wait_until(api.is_ready, "the service to be ready")
        yield child, api


@contextmanager
def working(folder: Path, environment: dict[str, str], *options: str) -> Iterator[Child]:
    """Runs `receiver worker`; yields when it handles signals: one that gets a signal earlier dies of it."""
    with Child("worker", *options, environment=environment, folder=folder) as child:
        child.wait_until(lambda: "worker starting" in child.output, "the worker's start")
        yield child
