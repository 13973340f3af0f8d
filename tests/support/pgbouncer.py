"""A real PgBouncer between the program and the tests' PostgreSQL, with the settings of config/pgbouncer.ini."""

from __future__ import annotations

import configparser
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.debian import program
from tests.support.postgres import SHORT_FOLDER, free_port, unprivileged_account
from tests.support.processes import GRACE, wait_for

SETTINGS = Path(__file__).parents[2] / "config" / "pgbouncer.ini"


@contextmanager
def pooling(url: str, *, port: int | None = None, **changes: object) -> Iterator[str]:
    """Runs a PgBouncer with these settings changed; yields the URL of the database through it."""
    parts, port = urlsplit(url), port or free_port()
    database = parts.path.lstrip("/")
    account = unprivileged_account()  # PgBouncer refuses root, as PostgreSQL does
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir=SHORT_FOLDER))
    try:
        users = folder / "userlist.txt"
        users.write_text(f'"{parts.username}" "{parts.password}"\n')
        written = _settings(changes | {"listen_port": port, "auth_file": users, "unix_socket_dir": ""})
        written["databases"] = {database: f"host={parts.hostname} port={parts.port} dbname={database}"}
        settings = folder / "pgbouncer.ini"
        with settings.open("w") as file:
            written.write(file)
        if account:
            for path in (folder, users, settings):
                os.chown(path, account.pw_uid, account.pw_gid)
        with _running(settings, port, user=account.pw_uid if account else None):
            yield parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")).geturl()
    finally:
        shutil.rmtree(folder)


def _settings(changes: dict[str, object]) -> configparser.RawConfigParser:
    settings = configparser.RawConfigParser(comment_prefixes=(";",))
    assert settings.read(SETTINGS)
    settings["pgbouncer"].update({name: str(value) for name, value in changes.items()})
    return settings


@contextmanager
def _running(settings: Path, port: int, *, user: int | None) -> Iterator[None]:
    log = settings.with_name("log")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [program("pgbouncer"), settings],
            user=user,
            extra_groups=None if user is None else [],
            stderr=output,
            start_new_session=True,
        ) as bouncer,
    ):
        try:
            wait_for(lambda: bouncer.poll() is not None or _listens(port), "PgBouncer to listen")
            assert bouncer.poll() is None, log.read_text()
            yield
        finally:
            bouncer.kill()  # it keeps nothing
            bouncer.wait(GRACE)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
