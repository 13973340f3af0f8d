"""The console: what commands print and ask, how they end with a sentence and an exit code, and the signals they get."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec

import click
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from receiver import settings, settings_file
from receiver.cli.options import named_settings_file, with_env_file
from receiver.core.text import harmless
from receiver.errors import ConfigurationError, InvalidFields, ReceiverError, StorageUnavailable, WrongFile

EXIT_WRONG = 1
"""Something is wrong, was refused or does not exist."""
EXIT_USAGE = 2
"""The settings or the arguments are invalid, or the user declined."""
EXIT_UNKNOWN = 3
"""It is unknown whether the message was sent, or whether what was asked for exists."""
EXIT_INTERRUPTED = 130
"""Ctrl-C."""

out = Console(highlight=False, width=None if sys.stdout and sys.stdout.isatty() else 10_000)
"""Standard output. In a pipe every row of a table is one line, however long."""

err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str, *, on: Console = err, style: str = "") -> None:
    """Prints a line that may quote untrusted text: rich finds no markup in it, and the terminal no escape sequences."""
    on.print(Text(harmless(line), style=style), soft_wrap=True)


def fail(message: str, code: int) -> NoReturn:
    """Prints an error message and exits with that code."""
    say(with_env_file(message), style="red")
    sys.exit(code)


def counted(count: int, plural: str) -> str:
    """A count with its noun, which is given in the plural and ends in s: `1 message`, `2 messages`."""
    return f"{count} {plural.removesuffix('s') if count == 1 else plural}"


def progress(*, transient: bool = False) -> Progress:
    """Progress bars on stderr. In a pipe or a journal nothing is drawn."""
    return Progress(console=err, transient=transient, disable=not err.is_terminal)


def demand_consent(question: str, *, yes: bool) -> None:
    """Asks for confirmation unless --yes was given; ends the command if it is declined or stdin is no terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail("Not a terminal: pass --yes to confirm. Nothing was changed.", EXIT_USAGE)
    if not click.confirm(question, err=True):
        fail("Nothing was changed.", EXIT_USAGE)


P = ParamSpec("P")


def reporting_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Decorates a command: loads the settings file first, and turns errors into a sentence and an exit code."""

    @wraps(command)
    def reported(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _load_settings_file()
            try:
                command(*args, **kwargs)
            finally:
                sys.stdout.flush()  # here, where an error gets its sentence, and not when Python ends
        except ConfigurationError as error:
            fail(f"Invalid settings:\n{error}", EXIT_USAGE)
        except InvalidFields as error:
            fail(f"Invalid message:\n{error}", EXIT_USAGE)
        except WrongFile as error:
            fail(str(error), EXIT_USAGE)
        except StorageUnavailable as error:
            fail(with_cause(error), EXIT_WRONG)
        except ReceiverError as error:
            fail(str(error), EXIT_WRONG)
        except OSError as error:
            if error.errno == errno.EPIPE:  # click handles a closed pipe
                raise
            # Python would write again when it ends, and exit with 120.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
            fail(f"Input or output failed: {error.strerror or error}.", EXIT_UNKNOWN)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)

    return reported


def with_cause(error: StorageUnavailable) -> str:
    """Returns the error's message, with the database's name and its reason unless the message has them already."""
    first = error if error.database else error.__cause__
    if not isinstance(first, StorageUnavailable) or not first.reason or first.reason in str(error):
        return str(error)
    return f"{error} ({first.database}: {first.reason})"


def _load_settings_file() -> None:
    """Loads the file that --env-file or, without it, RECEIVER_ENV_FILE names. Raises ConfigurationError."""
    path = named_settings_file() or os.environ.get(settings.ENV_FILE)
    if path:
        settings_file.load_settings_file(Path(path))


TERMINATION = {signal.SIGTERM, signal.SIGHUP}
"""The signals that end a process from outside: it is stopped, or its terminal is closed."""


def not_ignored(*signals: signal.Signals) -> set[signal.Signals]:
    """Returns the given signals that this process does not ignore; under nohup it ignores SIGHUP."""
    return {each for each in signals if signal.getsignal(each) is not signal.SIG_IGN}


@contextmanager
def deferred(*signals: signal.Signals) -> Iterator[None]:
    """Defers these signals until the block has ended, also in threads that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
