"""The console: the sentences, errors, questions and progress bars that commands print, and their exit codes."""

import sys
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from receiver.cli.options import with_env_file
from receiver.core.text import harmless

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
