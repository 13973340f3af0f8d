"""Commands about many messages: queue those of a file, and watch what becomes of them."""

import shlex
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import click
from rich.live import Live

from receiver import bulk, config, terminal, watching
from receiver.app import make_sending
from receiver.bulk import Batch, Outcome
from receiver.cli.base import (
    EXIT_USAGE,
    EXIT_WRONG,
    database_to_ask,
    demand_schema,
    end,
    main,
    out,
    progress,
    said_in_one_sentence,
    say,
    spelt,
)
from receiver.errors import StorageUnavailable, WrongFile
from receiver.lines import FIELDS, SUFFIXES, Format, read_lines
from receiver.sending import Sending
from receiver.storage.database import Database
from receiver.watching import Summary


def _columns(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    columns = {}
    for each in given:
        name, equals, field = each.rpartition("=")
        if not equals or field not in ("", *FIELDS):
            raise click.BadParameter(f"{each!r} is not HEADER=FIELD with one of {', '.join(FIELDS)}.")
        columns[name] = field
    return columns


@main.command(name="send-many")
@click.argument("file", type=click.File("rb"))
@click.option("--batch", help="What the file is called, to know it again; its name unless given.")
@click.option("--reference", help="Begins the reference of lines without one; the batch unless given.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="HEADER=FIELD",
    callback=_columns,
    help="The field that a column is, or none to leave it out; may be repeated.",
)
@click.option(
    "--format", "written", type=click.Choice([each.value for each in Format]), help="By its suffix, if not given."
)
@said_in_one_sentence
def send_many(
    file: BinaryIO, batch: str | None, reference: str | None, columns: dict[str, str], written: str | None
) -> None:
    """Queue the messages of a file, CSV or JSON Lines, for the workers; - is standard input.

    Nothing is queued unless every line is right, and no line is queued twice, however often the command runs.
    """
    settings, path = config.read_settings(sending=True), Path(file.name)
    form = Format(written) if written else SUFFIXES.get(path.suffix.lower())
    if form is None:
        end("The file's name does not say how it is written: give --format csv or --format jsonl.", EXIT_USAGE)
    if batch is None and not path.is_file():
        end("What is no file has no name to know it again by: give it one with --batch.", EXIT_USAGE)
    name = batch or path.name
    wanted = Batch(name=name, reference=reference or name, settings=settings)
    with Database(settings.database_url) as database, tempfile.TemporaryFile() as copy:
        demand_schema(database)
        _copy(file, copy)  # so that what is queued is what was checked
        sending = make_sending(settings, database)
        checked = _walk(sending, copy, form, columns, wanted, queue=False)
        if checked.wrong:
            _end_with_problems(checked, "Nothing was queued.")
        queued = _walk(sending, copy, form, columns, wanted, queue=True)
    before = queued.lines - queued.queued - queued.wrong
    say(f"{name}: {queued.queued} queued now, {before} queued before.", on=out)
    _tell_to_watch(queued)
    if queued.wrong:
        _end_with_problems(queued, "They became wrong after they had been checked, and were not queued.")


def _copy(file: BinaryIO, copy: BinaryIO) -> None:
    try:
        shutil.copyfileobj(file, copy)
        copy.flush()
    except OSError as error:
        raise WrongFile(f"The file cannot be read, or copied to {tempfile.gettempdir()}: {error.strerror}.") from error


def _walk(
    sending: Sending, copy: BinaryIO, form: Format, columns: dict[str, str], batch: Batch, *, queue: bool
) -> Outcome:
    """Through the whole file, with a bar of how far."""
    size = copy.seek(0, 2)
    copy.seek(0)
    with progress() as bars:
        file = bars.wrap_file(copy, total=size, description="queueing" if queue else "checking")
        try:
            return bulk.walk(sending, read_lines(file, form, columns), batch, queue=queue)
        except StorageUnavailable as error:
            raise StorageUnavailable(
                f"{error} What was queued by now will not be queued twice: run this again."
            ) from error


def _tell_to_watch(outcome: Outcome) -> None:
    for shared in filter(None, outcome.references):
        say(f"To watch them: {spelt(f'watch {shlex.quote(shared)}')}", on=out)


def _end_with_problems(outcome: Outcome, so: str) -> None:
    for line in outcome.first_wrong:
        for problem in line.problem.splitlines():
            say(f"line {line.number}: {problem}")
    if more := outcome.wrong - len(outcome.first_wrong):
        say(f"and so on: {more} more")
    end(f"{outcome.wrong} of {outcome.lines} lines are wrong. {so}", EXIT_USAGE)


@main.command()
@click.argument("reference_prefix")
@said_in_one_sentence
def watch(reference_prefix: str) -> None:
    """Show how far the messages are whose reference begins so, until all are complete.

    Exits 1 if there are none, or if everything that is open is overdue.
    """
    with database_to_ask() as database:
        last = _follow(database, reference_prefix)
    if not last.messages:
        end(f"No message has a reference that begins with {reference_prefix}.", EXIT_WRONG)
    if last.open:
        end(f"Every outcome that is not there is overdue, of recipients: {last.open}.", EXIT_WRONG)


def _follow(database: Database, prefix: str) -> Summary:
    """Draws it anew on a terminal; elsewhere it writes a line for every change. Returns the last."""
    shown = None
    with Live(console=out) if out.is_terminal else nullcontext() as live:
        for summary in watching.watch(database, prefix):
            if live:
                live.update(terminal.summary_panel(summary))
            elif summary != shown:
                say(terminal.summary_line(summary), on=out)
            shown = summary
    assert shown is not None  # noqa: S101 - it yields at least one
    return shown
