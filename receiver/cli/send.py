"""`receiver send`, `send-many` and `cancel`."""

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click

from receiver.cli.console import EXIT_UNKNOWN, EXIT_USAGE, EXIT_WRONG, TERMINATION, deferred, fail, out, progress, say
from receiver.cli.database import database_for_query, demand_schema
from receiver.cli.options import command_line, tag_argument
from receiver.cli.tables import print_message
from receiver.core.send_status import SendStatus
from receiver.database.database import Database
from receiver.errors import StorageUnavailable, WrongFile
from receiver.messages import files
from receiver.messages import sender as sending
from receiver.messages.files import (
    FIELDS,
    NO_WORKBOOK,
    SUFFIXES,
    WORKBOOKS,
    FileFormat,
    FileReport,
    Line,
    MessageFile,
    read_lines,
)
from receiver.messages.sender import Sender
from receiver.schemas.requests import read_message
from receiver.settings import read_settings


@click.command()
@click.option("--to", multiple=True, required=True, help="Number of a recipient; may be repeated for a group.")
@click.option("--from", "sender", help="Sender; default: BANDWIDTH_FROM.")
@click.option("--text", help="Text of the message; required unless there is media.")
@click.option("--media", multiple=True, help="URL of a media file; may be repeated.")
@click.option("--application-id", help="Bandwidth application; default: BANDWIDTH_APPLICATION_ID.")
@click.option("--priority", help="Priority: default or high.")
@click.option("--expiration", help="RFC 3339 time after which Bandwidth must not send the message.")
@click.option("--reference", help="Your own identifier for the message.")
def send(to: tuple[str, ...], sender: str | None, media: tuple[str, ...], **fields: Any) -> None:
    """Send one group message. Exits 1 if it was refused, 3 if it is unknown whether it was sent."""
    from receiver.app import make_sender  # imports Flask, which `receiver cancel` does without

    settings = read_settings(sending=True)
    fields["applicationId"] = fields.pop("application_id")
    message = read_message({"to": list(to), "from": sender, "media": list(media), **fields}, settings)
    # If the call to Bandwidth were cut off, it would be unknown whether the message was sent.
    with deferred(*TERMINATION), Database(settings.database_url) as database:
        demand_schema(database)
        sent = make_sender(settings, database).send(message)
    if sent.message is None:
        fail(f"{sent.tag}: it is unknown whether this was sent; do not send it again.", EXIT_UNKNOWN)
    print_message(out, sent.message)
    if sent.message.send_status is not SendStatus.ACCEPTED:
        sys.exit(EXIT_WRONG if sent.message.send_status is SendStatus.REFUSED else EXIT_UNKNOWN)


def _read_columns(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    columns = {}
    for each in given:
        name, equals, field = each.rpartition("=")
        if not equals or field not in ("", *FIELDS):
            raise click.BadParameter(f"{each!r} is not HEADER=FIELD, where FIELD is one of {', '.join(FIELDS)}.")
        columns[name] = field
    return columns


def _read_country(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    code = given.removeprefix("+") if given else given
    if code is not None and not re.fullmatch("[1-9][0-9]{0,2}", code):
        raise click.BadParameter(f"{given!r} is not a country code such as 1 or 44.")
    return code


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--batch", help="Name that identifies the file when it is sent again; default: the file's name.")
@click.option("--reference", help="Prefix for the references of lines without one; default: the batch.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="HEADER=FIELD",
    callback=_read_columns,
    help="Read the column HEADER as FIELD; omit FIELD to ignore the column. May be repeated.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice([each.value for each in FileFormat]),
    help="Format of the file; default: by its suffix.",
)
@click.option(
    "--country",
    metavar="CODE",
    callback=_read_country,
    help="Country code of numbers without a +, such as 1 or 44; spreadsheets remove the +.",
)
def send_many(
    file: BinaryIO,
    batch: str | None,
    reference: str | None,
    columns: dict[str, str],
    format_name: str | None,
    country: str | None,
) -> None:
    """Queue the messages in a CSV, TSV or JSON Lines file; - is standard input.

    Workers send them. Nothing is queued unless every line is valid, and no line is queued twice, however often the
    command runs.
    """
    from receiver.app import make_sender  # as above

    settings, path = read_settings(sending=True), Path(file.name)
    form = FileFormat(format_name) if format_name else SUFFIXES.get(path.suffix.lower())
    if format_name is None and path.suffix.lower() in WORKBOOKS:
        raise WrongFile(NO_WORKBOOK)
    if form is None:
        fail("The file name does not show the format; pass --format csv, tsv or jsonl.", EXIT_USAGE)
    if batch is None and not path.is_file():
        fail("Standard input has no file name; pass --batch NAME.", EXIT_USAGE)
    name = batch or path.name
    wanted = MessageFile(name=name, reference=reference or name, settings=settings)
    with Database(settings.database_url) as database, tempfile.TemporaryFile() as copy:
        demand_schema(database)
        _copy(file, copy)  # so that the lines that are queued are those that were checked
        sender = make_sender(settings, database)
        read = partial(read_lines, form=form, columns=columns, country=country)
        checked = _walk(sender, copy, read, wanted, queue=False)
        if checked.wrong:
            _end_with_problems(checked, "Nothing was queued.")
        queued = _walk(sender, copy, read, wanted, queue=True)
    before = queued.lines - queued.queued - queued.wrong
    say(f"{name}: {queued.queued} queued now, {before} queued before.", on=out)
    for shared in filter(None, queued.references):
        say(f"To watch them: {command_line(f'watch {shlex.quote(shared)}')}", on=out)
    if queued.wrong:
        _end_with_problems(queued, "They became invalid after the check, and were not queued.")


def _copy(file: BinaryIO, copy: BinaryIO) -> None:
    try:
        shutil.copyfileobj(file, copy)
        copy.flush()
    except OSError as error:
        raise WrongFile(f"Cannot read the file, or copy it to {tempfile.gettempdir()}: {error.strerror}.") from error


def _walk(
    sender: Sender, copy: BinaryIO, read: Callable[[BinaryIO], Iterable[Line]], batch: MessageFile, *, queue: bool
) -> FileReport:
    """Checks or queues the whole file, with a progress bar."""
    size = copy.seek(0, 2)
    copy.seek(0)
    with progress() as bars:
        file = bars.wrap_file(copy, total=size, description="queueing" if queue else "checking")
        try:
            return files.queue_lines(sender, read(file), batch, dry_run=not queue)
        except StorageUnavailable as error:
            raise StorageUnavailable(
                f"{error} Run the command again; lines that were queued by now will not be queued twice."
            ) from error


def _end_with_problems(outcome: FileReport, consequence: str) -> None:
    for line in outcome.first_wrong:
        for problem in line.problem.splitlines():
            say(f"line {line.number}: {problem}")
    if more := outcome.wrong - len(outcome.first_wrong):
        say(f"... and {more} more")
    fail(f"{outcome.wrong} of {outcome.lines} lines are invalid. {consequence}", EXIT_USAGE)


@click.command()
@tag_argument
def cancel(tag: str) -> None:
    """Cancel a message that is still queued.

    Exits 1 if it is not queued, 3 if the database cannot be reached.
    """
    with database_for_query() as database:
        cancelled = sending.cancel(database, tag)
    print_message(out, cancelled)
