"""What every command needs: the group, its errors in one sentence, its exit codes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec

import click
from dotenv import load_dotenv
from rich.console import Console
from rich.text import Text

from receiver import config, logs, terminal
from receiver.errors import (
    ConfigurationError,
    InvalidFields,
    ReceiverError,
    SchemaOutdated,
    StorageUnavailable,
    WrongFile,
)
from receiver.storage import migrations
from receiver.storage.database import Database

P = ParamSpec("P")
PORT = click.IntRange(0, 65535)

EXIT_WRONG, EXIT_USAGE, EXIT_UNKNOWN, EXIT_INTERRUPTED = 1, 2, 3, 130
"""Something is wrong, was refused or is not there; the settings or arguments are wrong; nobody can say whether it was
sent, or whether it is there; Ctrl-C."""


def _open_streams() -> None:
    """Whoever starts this program may have closed one (``2>&-``): its number must not be that of the next socket."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115 - to stay


_open_streams()
out = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
"""In a pipe a row of a table is a line, however long."""

err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str, *, on: Console = err, style: str = "") -> None:
    """As it is: what others wrote in it is neither markup to rich nor commands to the terminal."""
    on.print(Text(terminal.harmless(line), style=style), soft_wrap=True)


def end(message: str, code: int) -> NoReturn:
    say(message, style="red")
    sys.exit(code)


def said_in_one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """Ends a command that cannot do its work with a sentence and an exit code instead of a traceback."""

    @wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ConfigurationError as error:
            end(f"The settings are wrong:\n{error}", EXIT_USAGE)
        except InvalidFields as error:
            end(f"The message is wrong:\n{error}", EXIT_USAGE)
        except WrongFile as error:
            end(str(error), EXIT_USAGE)
        except ReceiverError as error:
            end(str(error), EXIT_WRONG)
        except BrokenPipeError:  # click ends quietly
            raise
        except OSError as error:
            end(f"The system refuses: {error}", EXIT_WRONG)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)

    return checked


@click.group()
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read settings from this file; the environment's own come first.",
)
def main(env_file: Path | None) -> None:
    """Sends group MMS through Bandwidth and knows one truthful outcome per recipient."""
    logs.silence()
    if env_file:
        try:
            load_dotenv(env_file)
        except UnicodeDecodeError:
            end(f"{env_file} is no file of settings: it is not UTF-8.", EXIT_USAGE)


def demand_schema(database: Database) -> None:
    try:
        with database.read() as session:
            warning = migrations.demand_schema(session.connection())
    except StorageUnavailable as error:
        raise StorageUnavailable(f"The database named by DATABASE_URL does not answer: {error.reason}") from error
    if warning:
        say(f"warning: {warning}")


@contextmanager
def database_to_ask() -> Iterator[Database]:
    """The database of a command that answers a question. If it cannot be asked the answer is neither yes nor no."""
    try:
        with Database(config.read_settings().database_url) as database:
            demand_schema(database)
            yield database
    except (StorageUnavailable, SchemaOutdated) as error:
        end(str(error), EXIT_UNKNOWN)
