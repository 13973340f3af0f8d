"""The command `receiver`."""

import logging
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import click
from dotenv import load_dotenv
from rich.console import Console
from rich.progress import Progress

from receiver import config, demo, recomputing, reporting, sending, serving, terminal
from receiver.app import make_gateway
from receiver.core import times
from receiver.core.send_status import SendStatus
from receiver.errors import ConfigurationError, InvalidFields, ReceiverError, StorageUnavailable
from receiver.receiving import WAIT_SECONDS
from receiver.simulator import MAGIC_NUMBERS, CallbackShape, RequestFate, Simulator, SimulatorOptions, Switches
from receiver.storage import migrations
from receiver.storage.database import Database, is_sqlite
from receiver.web.requests import read_message

P = ParamSpec("P")
PORT = click.IntRange(0, 65535)

EXIT_WRONG, EXIT_USAGE, EXIT_UNKNOWN = 1, 2, 3
"""Something is wrong or was refused; the settings or arguments are; nobody can say whether it was sent."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def _end(message: str, code: int) -> NoReturn:
    err.print(message, style="red", markup=False)
    sys.exit(code)


def said_in_one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """Ends a command that cannot do its work with a sentence and an exit code instead of a traceback."""

    @wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ConfigurationError as error:
            _end(f"The settings are wrong:\n{error}", EXIT_USAGE)
        except InvalidFields as error:
            _end(f"The message is wrong:\n{error}", EXIT_USAGE)
        except ReceiverError as error:
            _end(str(error), EXIT_WRONG)

    return checked


@click.group()
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read settings from this file; the environment's own come first.",
)
def main(env_file: Path | None) -> None:
    """Sends group MMS through Bandwidth and knows one truthful outcome per recipient."""
    logging.getLogger().addHandler(logging.NullHandler())  # a command says itself what went wrong, once
    if env_file:
        try:
            load_dotenv(env_file)
        except UnicodeDecodeError:
            _end(f"{env_file} is no file of settings: it is not UTF-8.", EXIT_USAGE)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port to listen on.")
@click.option("--workers", type=click.IntRange(1), help="Processes; 2 on PostgreSQL unless given, always 1 on SQLite.")
@click.option(
    "--threads", type=click.IntRange(2), default=32, show_default=True, help="Of each process, for all but callbacks."
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
    settings = config.read_settings(serving=True)
    if is_sqlite(settings.database_url):
        if workers not in (None, 1):
            _end("On SQLite there is one process, because there is one writer: leave --workers out.", EXIT_USAGE)
        workers = 1
    with Database(settings.database_url) as database:
        _demand_schema(database)
        sending.lapse(database)
    address = serving.free_address(host, port)
    _print_settings(settings)
    serving.run(address, port, workers=workers or 2, **options)


@main.command()
@click.option("--to", "revision", default="head", show_default=True, help="The revision to migrate to.")
@click.option("--down", is_flag=True, help="Migrate down to that revision instead of up. No row is lost.")
@said_in_one_sentence
def migrate(revision: str, down: bool) -> None:
    """Bring the database to the schema of this version."""
    url = config.read_settings().database_url
    (migrations.downgrade if down else migrations.upgrade)(url, revision)
    out.print("The database is migrated.")


@main.command(name="config")
@said_in_one_sentence
def show_config() -> None:
    """Print the running configuration, without secrets."""
    _print_settings(config.read_settings())


@main.command()
@click.option("--to", multiple=True, required=True, help="A recipient's number; repeat it for a group.")
@click.option("--from", "sender", help="The sender; BANDWIDTH_FROM unless given.")
@click.option("--text")
@click.option("--media", multiple=True, help="URL of a picture; may be repeated.")
@click.option("--application-id", help="BANDWIDTH_APPLICATION_ID unless given.")
@click.option("--priority")
@click.option("--expiration", help="RFC 3339 time after which Bandwidth must not send it.")
@click.option("--reference", help="Your own identifier of the message.")
@said_in_one_sentence
def send(to: tuple[str, ...], sender: str | None, media: tuple[str, ...], **fields: Any) -> None:
    """Send one group message. Exits 1 if it was refused and 3 if nobody can say whether it was sent."""
    settings = config.read_settings(sending=True)
    fields["applicationId"] = fields.pop("application_id")
    message = read_message({"to": list(to), "from": sender, "media": list(media), **fields}, settings)
    with Database(settings.database_url) as database:
        _demand_schema(database)
        sent = sending.send(database, make_gateway(settings), message, overdue_after=settings.overdue_after)
    if sent.stored is None:
        _end(f"{sent.tag}: nobody can say whether this was sent; do not send it again.", EXIT_UNKNOWN)
    report = reporting.report(sent.stored, now=times.now())
    terminal.show_message(out, report)
    if report.send_status is not SendStatus.ACCEPTED:
        sys.exit(EXIT_WRONG if report.send_status is SendStatus.REFUSED else EXIT_UNKNOWN)


@main.command()
@click.argument("tag")
@said_in_one_sentence
def show(tag: str) -> None:
    """What became of a message: each recipient's outcome, and the timeline of events behind it."""
    with Database(config.read_settings().database_url) as database:
        _demand_schema(database)
        terminal.show_message(out, reporting.message(database, tag))
        terminal.show_events(out, reporting.events(database, tag))


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if anything stored differs from its events.")
@click.option("--after", "after_tag", default="", help="Resume after this tag.")
@said_in_one_sentence
def recompute(check: bool, after_tag: str) -> None:
    """Fold the stored events of every message again, and repair what differs."""
    messages = differences = 0
    with Database(config.read_settings().database_url) as database, Progress(console=err) as progress:
        _demand_schema(database)
        task = progress.add_task("messages", total=None)
        for batch in recomputing.recompute(database, check=check, after_tag=after_tag):
            messages += batch.messages
            differences += len(batch.differences)
            progress.update(task, advance=batch.messages, description=f"to resume: --after {batch.last_tag}")
            for each in batch.differences:
                out.print(f"{each.tag} {each.recipient or ''} {each.stored} -> {each.folded}", markup=False)
    out.print(f"{messages} messages, {differences} differences{'' if check else ' repaired'}")
    if check and differences:
        sys.exit(EXIT_WRONG)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8090, show_default=True, help="0 takes a free one.")
@click.option("--callback-url", help="Where to post events, for example http://127.0.0.1:8080/callbacks/bandwidth.")
@click.option("--callback-user", help="The user of CALLBACK_CREDENTIALS.")
@click.option("--callback-password", help="The password of CALLBACK_CREDENTIALS.")
@click.option("--day", default=60.0, show_default=True, help="Seconds that stand for the 24 hours of redelivery.")
@click.option("--seed", type=int, help="Makes the timing repeatable.")
@click.option("--unordered", is_flag=True, help="Post a recipient's events side by side, in any order.")
@click.option("--request", type=click.Choice([each.value for each in RequestFate]), default="accept", show_default=True)
@click.option(
    "--callbacks", type=click.Choice([each.value for each in CallbackShape]), default="normal", show_default=True
)
@said_in_one_sentence
def simulate(request: str, callbacks: str, **options: Any) -> None:
    """Run a Bandwidth on this machine; recipients' numbers choose their fate (see the README)."""
    switches = Switches(request=RequestFate(request), callbacks=CallbackShape(callbacks))
    try:
        simulator = Simulator(SimulatorOptions(switches=switches, **options))
    except ValueError as error:
        _end(f"The options are wrong: {error}.", EXIT_USAGE)
    try:
        simulator.start()
    except OSError as error:
        _end(f"Cannot listen: {error.strerror or error}", EXIT_WRONG)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    with simulator:
        fates = [(each.number, each.meaning) for each in MAGIC_NUMBERS]
        terminal.show_rows(out, ("recipient", terminal.SENTENCES), fates)
        out.print(f"BANDWIDTH_API_URL={simulator.url}", markup=False)
        simulator.serve_forever()


@main.command(name="demo")
@said_in_one_sentence
def run_demo() -> None:
    """Show the whole loop on this machine: simulator, server, a group message, its events, the answers."""
    demo.run(out)


def _print_settings(settings: config.Settings) -> None:
    for name, value in config.describe(settings).items():
        out.print(f"{name}={value}", markup=False, soft_wrap=True)


def _demand_schema(database: Database) -> None:
    try:
        with database.read() as session:
            warning = migrations.demand_schema(session.connection())
    except StorageUnavailable as error:
        raise StorageUnavailable(f"The database named by DATABASE_URL does not answer: {error.reason}") from error
    if warning:
        err.print(f"warning: {warning}", markup=False)


if __name__ == "__main__":
    main()
