"""What every command needs: the group, its errors in one sentence, its exit codes."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec

import click
from dotenv import load_dotenv
from rich.console import Console

from receiver import logs
from receiver.errors import ConfigurationError, InvalidFields, ReceiverError, StorageUnavailable, WrongFile
from receiver.storage import migrations
from receiver.storage.database import Database

P = ParamSpec("P")
PORT = click.IntRange(0, 65535)

EXIT_WRONG, EXIT_USAGE, EXIT_UNKNOWN, EXIT_INTERRUPTED = 1, 2, 3, 130
"""Something is wrong or was refused; the settings or arguments are; nobody can say whether it was sent; Ctrl-C."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def end(message: str, code: int) -> NoReturn:
    err.print(message, style="red", markup=False)
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
        err.print(f"warning: {warning}", markup=False)
