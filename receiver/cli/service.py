"""Commands of the operator: run the service, migrate, look at the settings, fold again."""

import os
import shlex
import signal
import sys
import threading
from typing import Any

import click

from receiver import VERSION, metrics
from receiver.app import make_caller, make_front
from receiver.cli.base import (
    EXIT_USAGE,
    EXIT_WRONG,
    PORT,
    database_to_ask,
    demand_schema,
    end,
    heeded,
    main,
    out,
    progress,
    said_in_one_sentence,
    say,
    spelt,
)
from receiver.core.numbers import without_numbers
from receiver.core.tags import is_tag
from receiver.database import schema
from receiver.database.database import Database
from receiver.database.engine import is_sqlite, where
from receiver.errors import StorageUnavailable
from receiver.events.committer import WAIT_SECONDS
from receiver.log import get_logger, to_stderr
from receiver.maintenance import recompute as recomputing
from receiver.messages import sender
from receiver.messages.worker import Worker
from receiver.reports import overview
from receiver.settings import EXAMPLE, NOT_SET, Settings, describe, read_settings, warnings
from receiver.web import server

log = get_logger(__name__)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port to listen on.")
@click.option("--workers", type=click.IntRange(1), help="Processes; 2 on PostgreSQL unless given, always 1 on SQLite.")
@click.option(
    "--threads",
    type=click.IntRange(2),
    default=32,
    show_default=True,
    help="Of each process, to send; and as many for all else but callbacks.",
)
@click.option(
    "--connections", type=click.IntRange(1), default=1000, show_default=True, help="Of each process; others must wait."
)
@click.option(
    "--idle-seconds",
    type=click.IntRange(1),
    default=75,
    show_default=True,
    help="How long a connection is kept without a request.",
)
@click.option(
    "--body-seconds",
    type=click.IntRange(1, WAIT_SECONDS - 1),
    default=5,
    show_default=True,
    help="How long a request's body is waited for.",
)
@click.option(
    "--stop-seconds",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How long a stop waits for requests that are being answered.",
)
@click.option("--access-log", is_flag=True, help="Write a line for every request; that costs throughput.")
@said_in_one_sentence
def serve(host: str, port: int, workers: int | None, **options: Any) -> None:
    """Run the service: the callback endpoint and the API."""
    settings = read_settings(serving=True)
    if is_sqlite(settings.database_url):
        if workers not in (None, 1):
            end("On SQLite there is one process, because there is one writer: leave --workers out.", EXIT_USAGE)
        workers = 1
    with Database(settings.database_url) as database:
        demand_schema(database)
        sender.tidy(database)
    address = server.free_address(host, port)
    to_stderr(settings.log_level)
    _log_settings(settings)
    log.info("the server starts", version=VERSION, address=address, port=port, workers=workers or 2, pid=os.getpid())
    server.run(make_front, address, port, workers=workers or 2, **options)
    log.info("the server has ended")


@main.command()
@click.option(
    "--threads", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests to Bandwidth at a time."
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="After how many failures a message is refused; they take about two hours. A 429 does not count.",
)
@click.option(
    "--metrics",
    "metrics_at",
    metavar="[HOST:]PORT",
    callback=lambda _context, _option, value: _address(value) if value else None,
    help="Where Prometheus may ask what this worker counted; on 127.0.0.1 unless a host is given. Needs no key.",
)
@said_in_one_sentence
def worker(threads: int, attempts: int, metrics_at: tuple[str, int] | None) -> None:
    """Send what is queued. Any number of workers may run, on any number of hosts."""
    settings = read_settings(sending=True)
    to_stderr(settings.log_level)
    stops = {signal.SIGTERM, signal.SIGINT, *heeded(signal.SIGHUP)}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # in every thread that begins now: one waits for them
    with Database(settings.database_url) as database:
        demand_schema(database)
        if metrics_at:
            metrics.listen(*metrics_at)
        _log_settings(settings)
        log.info("the worker starts", version=VERSION, threads=threads, attempts=attempts, pid=os.getpid())
        running = Worker(make_caller(settings, database), rates=settings.rates, threads=threads, attempts=attempts)
        threading.Thread(target=_stop_when_told, args=(running, stops), name="stop", daemon=True).start()
        running.run()
        log.info("the worker has ended")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter("is not [HOST:]PORT, for example 9100 or 10.0.0.5:9100.")
    return host.strip("[]") or "127.0.0.1", int(port)


def _stop_when_told(running: Worker, stops: set[signal.Signals]) -> None:
    """A signal handler would interrupt the main thread, perhaps in the very wait that a stop ends, and lock it up."""
    signal.sigwait(stops)
    running.stop()


@main.command()
@click.option("--to", "revision", default="head", show_default=True, help="The revision to migrate to.")
@click.option("--down", is_flag=True, help="Migrate down to that revision instead of up. No row is lost.")
@said_in_one_sentence
def migrate(revision: str, down: bool) -> None:
    """Bring the database to the schema of this version."""
    url = read_settings().database_url
    done = (schema.downgrade if down else schema.upgrade)(url, revision)
    if done.before == done.after:
        say(f"The {where(url)} is at revision {done.after or 'base'} already; its schema was not changed.", on=out)
    else:
        since = f"from revision {done.before} " if done.before else ""
        say(f"The {where(url)} was migrated {since}to {'' if since else 'revision '}{done.after or 'base'}.", on=out)


@main.command(name="config")
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,  # it is asked for before there are settings, or when they are wrong
    expose_value=False,
    callback=lambda context, _option, asked: _print_example(context) if asked else None,
    help="Print a file of every setting, explained, to be filled in.",
)
@said_in_one_sentence
def show_config() -> None:
    """Print the running configuration, without secrets."""
    _print_settings(read_settings())


def _print_example(context: click.Context) -> None:
    click.echo(EXAMPLE.read_text(encoding="utf-8"), nl=False)
    context.exit()


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if anything stored differs from its events.")
@click.option(
    "--after",
    "after_tag",
    default="",
    callback=lambda _context, _option, value: _tag(value) if value else "",
    help="Resume after this tag.",
)
@said_in_one_sentence
def recompute(check: bool, after_tag: str) -> None:
    """Fold the stored events of every message again, and repair what differs.

    Exits 3 if the database cannot be asked.
    """
    messages = differences = in_old_order = 0
    with database_to_ask() as database, progress() as bars:
        task = bars.add_task("messages", total=None)
        try:
            for batch in recomputing.recompute(database, check=check, after_tag=after_tag):
                messages += batch.messages
                told = [each for each in batch.differences if not each.only_order]
                differences += len(told)
                in_old_order += len(batch.differences) - len(told)
                after_tag = batch.last_tag
                bars.update(task, description=f"{messages} messages")
                for each in told:
                    say(f"{each.tag} {each.recipient or ''} {each.stored} -> {each.folded}", on=out)
        except (KeyboardInterrupt, StorageUnavailable):
            say(f"To resume: --after {shlex.quote(after_tag)}")
            raise
    out.print(f"{messages} messages, {differences} differences{'' if check else ' repaired'}")
    if in_old_order:
        remedy = f"run `{spelt('recompute')}`" if check else "stored anew; what they show is unchanged"
        out.print(f"{in_old_order} recipients in the order of an earlier release: {remedy}")
    if check and (differences or in_old_order):
        sys.exit(EXIT_WRONG)


def _tag(text: str) -> str:
    if not is_tag(text):
        raise click.BadParameter("is not a tag.")
    return text


def _print_settings(settings: Settings) -> None:
    say(f"# receiver {VERSION}", on=out)
    say(f"# {_connection(settings)}", on=out)
    for name, value in describe(settings).items():
        say(f"{name}={value}", on=out)
    for warning in warnings(settings):
        say(f"warning: {warning}")


def _connection(settings: Settings) -> str:
    """Which database it is, and how this process reaches it; a database that does not answer is no error here."""
    named = where(settings.database_url)
    if is_sqlite(settings.database_url):
        return named
    try:
        with Database(settings.database_url) as database, database.read() as session:
            return f"{named}, {overview.link(session)}"
    except StorageUnavailable as error:
        return f"{named}, which does not answer: {error.reason or error}"


def _log_settings(settings: Settings) -> None:
    """One line for all that are set, as `receiver config` prints them, but for the whole number of the sender."""
    shown = describe(settings)
    given = {name: value for name, value in shown.items() if value != NOT_SET}
    if settings.bandwidth_from:
        given["BANDWIDTH_FROM"] = without_numbers(settings.bandwidth_from)
    log.info("settings", version=VERSION, database=where(settings.database_url), settings=given)
    for warning in warnings(settings):
        log.warning("a setting to look at", warning=warning)
