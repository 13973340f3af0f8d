"""Options and arguments that several commands share."""

import shlex
from collections.abc import Callable
from enum import Enum, auto
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from receiver.core.tags import is_tag
from receiver.core.text import pasted

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)

PORT = click.IntRange(0, 65535)

limit_option = click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="Show at most this many, the newest ones.",
)

yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation; required without a terminal.")

# Settings file --------------------------------------------------------------------------------------------------------

_SETTINGS_FILE = "receiver.settings_file"


def env_file(*, help: str) -> Callable[[Command], Command]:  # noqa: A002 - click's name
    """The option --env-file. It may stand before or behind the command; named_settings_file() returns its value."""
    return click.option(
        "--env-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        expose_value=False,
        callback=_note_settings_file,
        help=help,
    )


def _note_settings_file(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    before = context.meta.get(_SETTINGS_FILE)
    if path and before and before != path:
        raise click.BadParameter(f"was given twice: {before} and {path}.", context, option)
    if path:
        context.meta[_SETTINGS_FILE] = path


def named_settings_file() -> Path | None:
    """The file given with --env-file, if any."""
    context = click.get_current_context(silent=True)
    return context.meta.get(_SETTINGS_FILE) if context else None


def command_line(command: str) -> str:
    """Returns the command line of a `receiver` command, with the --env-file of the present run."""
    path = named_settings_file()
    return f"receiver --env-file {shlex.quote(str(path))} {command}" if path else f"receiver {command}"


def with_env_file(hint: str) -> str:
    """Returns the hint with the --env-file of the present run added to every `receiver ...` in it."""
    return hint.replace("`receiver ", f"`{command_line('')}")


# Output ---------------------------------------------------------------------------------------------------------------


class OutputFormat(Enum):
    """The format of a command's output."""

    TABLE = auto()
    JSON = auto()
    CSV = auto()


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options --json and --csv to a command, which gets the choice as ``form``."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
    @wraps(command)
    def formed(*args: Any, as_json: bool, as_csv: bool, **kwargs: Any) -> None:
        if as_json and as_csv:
            raise click.UsageError("--json and --csv are mutually exclusive.")
        command(
            *args, form=OutputFormat.JSON if as_json else OutputFormat.CSV if as_csv else OutputFormat.TABLE, **kwargs
        )

    return formed


# Messages -------------------------------------------------------------------------------------------------------------


def _read_tag(_context: click.Context, _argument: click.Parameter, given: str) -> str:
    """Returns the tag, which may have been pasted in lower case and with blanks around it."""
    seen = pasted(given).upper()
    return seen if is_tag(seen) else given


tag_argument = click.argument("tag", callback=_read_tag)
