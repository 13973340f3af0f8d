"""`receiver serve`."""

import os
from typing import Any

import click

from receiver import VERSION
from receiver.app import make_front
from receiver.cli.config import log_settings
from receiver.cli.console import EXIT_USAGE, fail
from receiver.cli.database import demand_schema
from receiver.cli.options import PORT
from receiver.database.database import Database
from receiver.database.engine import is_sqlite
from receiver.events.committer import WAIT_SECONDS
from receiver.log import get_logger, to_stderr
from receiver.messages import sender
from receiver.settings import read_settings
from receiver.web import server

log = get_logger(__name__)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port to listen on.")
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes; default: 2 on PostgreSQL. Always 1 on SQLite."
)
@click.option(
    "--threads",
    type=click.IntRange(2),
    default=32,
    show_default=True,
    help="Threads per process for sending, and as many for all other requests except callbacks.",
)
@click.option(
    "--connections",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Connections per process; further ones wait.",
)
@click.option(
    "--idle-seconds",
    type=click.IntRange(1),
    default=75,
    show_default=True,
    help="How long an idle connection is kept open.",
)
@click.option(
    "--body-seconds",
    type=click.IntRange(1, WAIT_SECONDS - 1),
    default=5,
    show_default=True,
    help="How long to wait for a request's body.",
)
@click.option(
    "--stop-seconds",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How long to wait for open requests when stopping.",
)
@click.option("--access-log", is_flag=True, help="Log every request, which costs throughput.")
def serve(host: str, port: int, workers: int | None, **options: Any) -> None:
    """Run the service: the callback endpoint and the API."""
    settings = read_settings(serving=True)
    if is_sqlite(settings.database_url):
        if workers not in (None, 1):
            fail("SQLite allows one writer, so there can be only one process; omit --workers.", EXIT_USAGE)
        workers = 1
    workers = workers or 2
    with Database(settings.database_url) as database:
        demand_schema(database)
        sender.tidy(database)
    address = server.free_address(host, port)
    to_stderr(settings.log_level)
    log_settings(settings)
    log.info("server starting", version=VERSION, address=address, port=port, workers=workers, pid=os.getpid())
    server.run(make_front, address, port, workers=workers, **options)
    log.info("server stopped")
