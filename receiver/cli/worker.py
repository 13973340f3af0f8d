"""`receiver worker`, and `receiver resume`, which ends its pauses."""

import os
import signal
import threading

import click

from receiver import VERSION, metrics
from receiver.app import make_caller
from receiver.cli.config import log_settings
from receiver.cli.console import not_ignored, out
from receiver.cli.database import demand_schema
from receiver.database.database import Database, Session
from receiver.log import get_logger, to_stderr
from receiver.messages import credentials, pace
from receiver.messages.worker import Worker
from receiver.settings import read_settings

log = get_logger(__name__)


def _read_address(_context: click.Context, _option: click.Parameter, given: str | None) -> tuple[str, int] | None:
    if not given:
        return None
    host, _, port = given.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{given!r} is not [HOST:]PORT, such as 9100 or 10.0.0.5:9100.")
    return host.strip("[]") or "127.0.0.1", int(port)


@click.command()
@click.option(
    "--threads", type=click.IntRange(1, 256), default=8, show_default=True, help="Concurrent requests to Bandwidth."
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Number of failures after which a message is refused; 20 take about two hours. A 429 does not count.",
)
@click.option(
    "--metrics",
    "metrics_address",
    metavar="[HOST:]PORT",
    callback=_read_address,
    help="Serve this worker's Prometheus metrics here, without authentication; the default host is 127.0.0.1.",
)
def worker(threads: int, attempts: int, metrics_address: tuple[str, int] | None) -> None:
    """Send queued messages; any number of workers may run, on any number of hosts."""
    settings = read_settings(sending=True)
    to_stderr(settings.log_level)
    stops = {signal.SIGTERM, signal.SIGINT, *not_ignored(signal.SIGHUP)}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # inherited by all threads; one of them waits for the signals
    with Database(settings.database_url) as database:
        demand_schema(database)
        if metrics_address:
            metrics.listen(*metrics_address)
        log_settings(settings)
        log.info("worker starting", version=VERSION, threads=threads, attempts=attempts, pid=os.getpid())
        running = Worker(make_caller(settings, database), rates=settings.rates, threads=threads, attempts=attempts)
        threading.Thread(target=_stop_on_signal, args=(running, stops), name="stop", daemon=True).start()
        running.run()
        log.info("worker stopped")


def _stop_on_signal(running: Worker, stops: set[signal.Signals]) -> None:
    """Stops the worker at the first of these signals.

    This is a thread, because a signal handler could interrupt the main thread in the very wait that a stop ends, and
    deadlock.
    """
    signal.sigwait(stops)
    running.stop()


@click.command()
def resume() -> None:
    """Resume sending now, ending any pause for a 429 or for refused credentials."""
    with Database(read_settings().database_url) as database:
        demand_schema(database)
        was_paused = database.write(_end_pauses)
    out.print("Sending was resumed." if was_paused else "Sending was not paused.")


def _end_pauses(session: Session) -> bool:
    was_paused = pace.resume(session)
    return credentials.resume(session) or was_paused
