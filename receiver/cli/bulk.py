"""Commands about many messages: queue those of a file, watch what becomes of them, and print what did."""

import json
import math
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click
from rich.live import Live

from receiver import terminal
from receiver.app import make_sender
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
from receiver.cli.forms import RECIPIENT_COLUMNS, Form, in_form, recipient_rows, write_csv, write_json
from receiver.database.database import Database
from receiver.errors import StorageUnavailable, WrongFile
from receiver.messages import files
from receiver.messages.files import FileReport, MessageFile
from receiver.messages.lines import FIELDS, NO_WORKBOOK, SUFFIXES, WORKBOOKS, Format, Line, read_lines
from receiver.messages.sender import Sender
from receiver.reports import progress as watching
from receiver.reports import support
from receiver.reports.progress import Summary
from receiver.schemas.responses import MESSAGE
from receiver.settings import read_settings


def _columns(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    columns = {}
    for each in given:
        name, equals, field = each.rpartition("=")
        if not equals or field not in ("", *FIELDS):
            raise click.BadParameter(f"{each!r} is not HEADER=FIELD with one of {', '.join(FIELDS)}.")
        columns[name] = field
    return columns


def _country(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    code = given.removeprefix("+") if given else given
    if code is not None and not re.fullmatch("[1-9][0-9]{0,2}", code):
        raise click.BadParameter(f"{given!r} is not a country code such as 1 or 44.")
    return code


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
@click.option(
    "--country",
    metavar="CODE",
    callback=_country,
    help="Country code of numbers that have no +, such as 1 or 44; a spreadsheet takes the + away.",
)
@said_in_one_sentence
def send_many(
    file: BinaryIO,
    batch: str | None,
    reference: str | None,
    columns: dict[str, str],
    written: str | None,
    country: str | None,
) -> None:
    """Queue the messages of a file, CSV, TSV or JSON Lines, for the workers; - is standard input.

    Nothing is queued unless every line is right, and no line is queued twice, however often the command runs.
    """
    settings, path = read_settings(sending=True), Path(file.name)
    form = Format(written) if written else SUFFIXES.get(path.suffix.lower())
    if written is None and path.suffix.lower() in WORKBOOKS:
        raise WrongFile(NO_WORKBOOK)
    if form is None:
        end("The file's name does not say how it is written: give --format csv, tsv or jsonl.", EXIT_USAGE)
    if batch is None and not path.is_file():
        end("What is no file has no name to know it again by: give it one with --batch.", EXIT_USAGE)
    name = batch or path.name
    wanted = MessageFile(name=name, reference=reference or name, settings=settings)
    with Database(settings.database_url) as database, tempfile.TemporaryFile() as copy:
        demand_schema(database)
        _copy(file, copy)  # so that what is queued is what was checked
        sender = make_sender(settings, database)
        read = partial(read_lines, form=form, columns=columns, country=country)
        checked = _walk(sender, copy, read, wanted, queue=False)
        if checked.wrong:
            _end_with_problems(checked, "Nothing was queued.")
        queued = _walk(sender, copy, read, wanted, queue=True)
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
    sender: Sender, copy: BinaryIO, read: Callable[[BinaryIO], Iterable[Line]], batch: MessageFile, *, queue: bool
) -> FileReport:
    """Through the whole file, with a bar of how far."""
    size = copy.seek(0, 2)
    copy.seek(0)
    with progress() as bars:
        file = bars.wrap_file(copy, total=size, description="queueing" if queue else "checking")
        try:
            return files.walk(sender, read(file), batch, queue=queue)
        except StorageUnavailable as error:
            raise StorageUnavailable(
                f"{error} What was queued by now will not be queued twice: run this again."
            ) from error


def _tell_to_watch(outcome: FileReport) -> None:
    for shared in filter(None, outcome.references):
        say(f"To watch them: {spelt(f'watch {shlex.quote(shared)}')}", on=out)


def _end_with_problems(outcome: FileReport, so: str) -> None:
    for line in outcome.first_wrong:
        for problem in line.problem.splitlines():
            say(f"line {line.number}: {problem}")
    if more := outcome.wrong - len(outcome.first_wrong):
        say(f"and so on: {more} more")
    end(f"{outcome.wrong} of {outcome.lines} lines are wrong. {so}", EXIT_USAGE)


@main.command()
@click.argument("reference_prefix")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    callback=lambda _context, _option, value: _seconds(value),
    metavar="SECONDS",
    help="Stop after so many seconds.",
)
@click.option("--once", is_flag=True, help="Say how far they are now, and stop.")
@said_in_one_sentence
def watch(reference_prefix: str, timeout: float | None, once: bool) -> None:
    """Show how far the messages are whose reference begins so, until all are complete.

    Exits 1 if there are none, if everything that is open is overdue, or if something is open when it stops.
    """
    if once and timeout is not None:
        raise click.UsageError("--once and --timeout exclude each other; give one of them.")
    with database_to_ask() as database:
        last = _follow(database, reference_prefix, seconds=0 if once else timeout)
    if not last.messages:
        end(f"No message has a reference that begins with {reference_prefix}.", EXIT_WRONG)
    if last.open and last.open == last.overdue:
        end(f"Every outcome that is not there is overdue, of recipients: {last.open}.", EXIT_WRONG)
    if last.open:
        end(f"Not complete: {last.open} of {last.total} recipients have no final outcome yet.", EXIT_WRONG)


def _seconds(value: float | None) -> float | None:
    if value is not None and math.isnan(value):  # which no range refuses
        raise click.BadParameter("is not a number of seconds.")
    return value


def _follow(database: Database, prefix: str, *, seconds: float | None) -> Summary:
    """Draws it anew on a terminal; elsewhere it writes a line for every change. Returns the last."""
    shown = None
    with Live(console=out) if out.is_terminal else nullcontext() as live:
        for summary in watching.watch(database, prefix, seconds=seconds):
            if live:
                live.update(terminal.summary_panel(summary))
            elif summary != shown:
                say(terminal.summary_line(summary), on=out)
            shown = summary
    assert shown is not None  # noqa: S101 - it yields at least one
    return shown


@main.command()
@click.argument("reference_prefix")
@in_form
@said_in_one_sentence
def results(reference_prefix: str, form: Form) -> None:
    """Print the outcome of all messages whose reference begins so, such as those of a file; sorted by reference.

    Exits 1 if there are none.
    """
    with database_to_ask() as database:
        found = list(support.results(database, reference_prefix))
    match form:
        case Form.JSON:
            write_json("messages", (json.dumps(MESSAGE.dump(each)) for each in found), more=False)
        case Form.CSV:
            write_csv(RECIPIENT_COLUMNS, (row for each in found for row in recipient_rows(each, each.recipients)))
        case Form.TABLE if found:
            terminal.show_results(out, found)
    if not found:
        end(f"No message has a reference that begins with {reference_prefix}.", EXIT_WRONG)
