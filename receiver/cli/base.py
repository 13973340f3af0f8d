"""What every command needs: the group, its errors in one sentence, its exit codes."""

import errno
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn, ParamSpec

import click
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from receiver import VERSION, log, settings, settings_file
from receiver.core.text import harmless
from receiver.database import schema
from receiver.database.database import Database
from receiver.errors import (
    ConfigurationError,
    InvalidFields,
    ReceiverError,
    SchemaOutdated,
    StorageUnavailable,
    WrongFile,
)
from receiver.reports.support import may_read_tables

P = ParamSpec("P")
PORT = click.IntRange(0, 65535)

EXIT_WRONG, EXIT_USAGE, EXIT_UNKNOWN, EXIT_INTERRUPTED = 1, 2, 3, 130
"""Something is wrong, was refused or is not there; the settings or arguments are wrong; nobody can say whether it was
sent, or whether it is there; Ctrl-C."""

HELD = {signal.SIGTERM, signal.SIGHUP}
"""What ends a process from outside: somebody stops it, or the terminal that it was started in is closed."""


def heeded(*signals: signal.Signals) -> set[signal.Signals]:
    """Those of them that this process does not ignore: what was started with nohup outlives its terminal."""
    return {each for each in signals if signal.getsignal(each) is not signal.SIG_IGN}


@contextmanager
def finishing(*held: signal.Signals) -> Iterator[None]:
    """Puts these signals off, also in the threads that begin meanwhile, until what is inside has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


out = Console(highlight=False, width=None if sys.stdout and sys.stdout.isatty() else 10_000)
"""In a pipe a row of a table is a line, however long."""

err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str, *, on: Console = err, style: str = "") -> None:
    """As it is: what others wrote in it is neither markup to rich nor commands to the terminal."""
    on.print(Text(harmless(line), style=style), soft_wrap=True)


def end(message: str, code: int) -> NoReturn:
    say(with_env_file(message), style="red")
    sys.exit(code)


def progress(*, transient: bool = False) -> Progress:
    """Bars, for people only: in a pipe or a journal they would be noise."""
    return Progress(console=err, transient=transient, disable=not err.is_terminal)


with_consent = click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")


def demand_consent(question: str, *, yes: bool) -> None:
    """Ends the command unless somebody says yes to the question, now or before with --yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        end("Nothing was done: where nobody can be asked, say --yes.", EXIT_USAGE)
    if not click.confirm(question, err=True):
        end("Nothing was done.", EXIT_USAGE)


def with_cause(error: StorageUnavailable) -> str:
    """The sentence, with which database it is about and what that said, unless both are in it already."""
    first = error if error.database else error.__cause__
    if not isinstance(first, StorageUnavailable) or not first.reason or first.reason in str(error):
        return str(error)
    return f"{error} ({first.database}: {first.reason})"


def said_in_one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """Ends a command that cannot do its work with a sentence and an exit code instead of a traceback."""

    @wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            load_settings_file()
            command(*args, **kwargs)
        except ConfigurationError as error:
            end(f"The settings are wrong:\n{error}", EXIT_USAGE)
        except InvalidFields as error:
            end(f"The message is wrong:\n{error}", EXIT_USAGE)
        except WrongFile as error:
            end(str(error), EXIT_USAGE)
        except StorageUnavailable as error:
            end(with_cause(error), EXIT_WRONG)
        except ReceiverError as error:
            end(str(error), EXIT_WRONG)
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads any more, which click takes for the end
                raise
            end(f"Not everything could be read or written: {error.strerror or error}.", EXIT_UNKNOWN)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)

    return checked


_META = "receiver.settings_file"
_env_file = partial(click.option, "--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


class HelpFormatter(click.HelpFormatter):
    """Breaks no line at a hyphen, as click does: `--env-file` is one word."""

    _HELD = "\ue000"  # for private use, so that nothing else means it

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", self._HELD))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        held = [(name, sentence.replace("-", self._HELD)) for name, sentence in rows]
        super().write_dl(held, col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(self._HELD, "-")


class Context(click.Context):
    """A context whose help is written so."""

    formatter_class = HelpFormatter


class Commands(click.Group):
    """A group whose commands take --env-file, too: before or behind a command it means the same."""

    context_class = Context

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The whole first sentence of every command, where click would end it with three dots."""
        rows = [(name, self.commands[name].get_short_help_str(limit=10_000)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        option = _env_file(expose_value=False, callback=_note_env_file, help="Read settings from this file.")
        cmd.context_class = Context
        super().add_command(option(cmd), name)


def _note_env_file(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    before = context.meta.get(_META)
    if path and before and before != path:
        raise click.BadParameter(f"was given twice: {before} and {path}.", context, option)
    if path:
        context.meta[_META] = path


def load_settings_file() -> None:
    """Loads the file of --env-file or, where there is none, that of RECEIVER_ENV_FILE. Raises ConfigurationError."""
    context = click.get_current_context(silent=True)
    named = (context and context.meta.get(_META)) or os.environ.get(settings.ENV_FILE)
    if named:
        settings_file.load_settings_file(Path(named))


def spelt(command: str) -> str:
    """`receiver` and that command, as it has to be called again: with the settings file that this one was given."""
    context = click.get_current_context(silent=True)
    path = context and context.meta.get(_META)
    return f"receiver --env-file {shlex.quote(str(path))} {command}" if path else f"receiver {command}"


def with_env_file(hint: str) -> str:
    """A sentence of ours with every command in it as it has to be called."""
    return hint.replace("`receiver ", f"`{spelt('')}")


@click.group(cls=Commands)
@click.version_option(VERSION, prog_name="receiver", message="%(prog)s %(version)s")
@_env_file(
    expose_value=False,
    callback=_note_env_file,
    help="Read settings from this file, or that of RECEIVER_ENV_FILE; the environment's own come first.",
)
def main() -> None:
    """Sends group MMS through Bandwidth and knows one truthful outcome per recipient."""
    _open_streams()
    log.silence()


def _open_streams() -> None:
    """A stream that was closed goes nowhere: otherwise the database would be opened in its place. What the terminal's
    character set lacks is printed as its escape."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def demand_schema(database: Database) -> None:
    try:
        with database.read() as session:
            warning = schema.demand_schema(session.connection(), named=database.where)
            database.reads_views_only = not may_read_tables(session)
    except StorageUnavailable as error:
        if "alembic_version" in error.reason:  # of a role that may not read it
            remedy = "run `receiver grant-support ROLE` again, as the owner of the database."
            raise StorageUnavailable(
                f"The role of DATABASE_URL may not use this command on the {database.where}: {remedy}"
            ) from error
        raise StorageUnavailable(
            f"The {database.where} (DATABASE_URL) cannot be used: {error.reason or error}"
        ) from error
    if warning:
        say(f"warning: {warning}")


@contextmanager
def database_to_ask() -> Iterator[Database]:
    """The database of a command that answers a question. If it cannot be asked the answer is neither yes nor no."""
    try:
        with Database(settings.read_settings().database_url) as database:
            demand_schema(database)
            yield database
    except StorageUnavailable as error:
        end(with_cause(error), EXIT_UNKNOWN)
    except SchemaOutdated as error:
        end(str(error), EXIT_UNKNOWN)
