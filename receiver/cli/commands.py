"""The group `receiver`: the table of its commands, and the behaviour that they share.

A command's module is imported when the command runs or is asked for its own help, so that `receiver --help` and shell
completion do not wait for SQLAlchemy and the like.
"""

import os
import signal
import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from io import TextIOWrapper

import click

from receiver import VERSION
from receiver.cli.options import env_file

COMMANDS = {
    "cancel": ("send", "Cancel a message that is still queued."),
    "config": ("config", "Print the running configuration, without secrets."),
    "conversation": ("lists", "Print all messages to and from a number, in chronological order."),
    "demo": ("demo", "Show a message's whole path on this machine, without Bandwidth."),
    "doctor": ("doctor", "Check this installation: what is right, what is wrong, and how to fix it."),
    "failures": ("lists", "Count failed recipients by day (UTC) and error code, newest first."),
    "find": ("find", "Find messages by number, reference, message id or tag, newest first."),
    "grant-support": ("database", "Let a PostgreSQL role read the support views, and nothing else."),
    "migrate": ("database", "Migrate the database to the schema of this version."),
    "opt-outs": (
        "lists",
        "List numbers that sent STOP or an equivalent and have not opted in since, newest first.",
    ),
    "overdue": ("lists", "List recipients whose outcome should be known by now, newest first."),
    "purge": ("maintenance", "Remove or redact messages older than a given age, and everything that belongs to them."),
    "recompute": ("maintenance", "Recompute every outcome from the stored events, and repair those that differ."),
    "reconcile": ("maintenance", "Look up unknown and overdue messages at Bandwidth, and record what it reports."),
    "refused": ("lists", "List messages that are known not to have been sent, and why, newest first."),
    "replies": ("lists", "List the messages that people sent to our numbers, newest first."),
    "resolve": ("maintenance", "Record a person's decision about an unknown message."),
    "restored": (
        "maintenance",
        "After restoring a backup, mark messages that may have been sent since as unknown.",
    ),
    "results": ("results", "Print the outcomes of all messages whose reference begins with a prefix."),
    "resume": ("worker", "Resume sending now, ending any pause for a 429 or for refused credentials."),
    "send": ("send", "Send one group message."),
    "send-many": ("send", "Queue the messages in a CSV, TSV or JSON Lines file; - is standard input."),
    "serve": ("serve", "Run the service: the callback endpoint and the API."),
    "show": ("find", "Show a message: its text, the outcome of each recipient, and the timeline of events."),
    "simulate": ("simulate", "Run a simulated Bandwidth on this machine; a recipient's number selects its outcome."),
    "unknown": ("lists", "List messages that may or may not have been sent, newest first."),
    "unlinked": ("lists", "List events that match no message, newest first."),
    "unreadable": ("lists", "List elements of callbacks that are not events, newest first."),
    "watch": ("results", "Show the progress of all messages whose reference begins with a prefix."),
    "worker": ("worker", "Send queued messages; any number of workers may run, on any number of hosts."),
}
"""The module in receiver.cli of each command, and the first sentence of its help. The command is the function of the
same name in that module, with underscores for hyphens."""


class HelpFormatter(click.HelpFormatter):
    """A formatter that does not break lines at hyphens, as click does: `--env-file` is one word."""

    _HYPHEN = "\ue000"  # a character for private use, which occurs in no help text

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", self._HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, text.replace("-", self._HYPHEN)) for name, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(self._HYPHEN, "-")


class Context(click.Context):
    """A context whose help is written by our formatter."""

    formatter_class = HelpFormatter


class Commands(click.Group):
    """A group that knows its commands' names and first sentences, and imports a command only to run or explain it."""

    context_class = Context

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the whole first sentence of every command, which click would truncate."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, remaining = super().resolve_command(ctx, args)
        return name, command and load(name or ""), remaining


@cache
def load(name: str) -> click.Command:
    """Imports and returns a command.

    Every command takes --env-file, as `receiver` itself does, and reports errors as a sentence and an exit code.
    """
    from receiver.cli.console import reporting_errors

    module, _ = COMMANDS[name]
    command: click.Command = getattr(import_module(f"receiver.cli.{module}"), name.replace("-", "_"))
    assert command.callback is not None  # noqa: S101 - a command is a decorated function
    command.callback = reporting_errors(command.callback)
    command.context_class = Context
    return env_file(help="Read settings from this file.")(command)


@click.group(cls=Commands, commands=[click.Command(name, help=sentence) for name, (_, sentence) in COMMANDS.items()])
@click.version_option(VERSION, prog_name="receiver", message="%(prog)s %(version)s")
@env_file(help="Read settings from this file; default: RECEIVER_ENV_FILE. Environment variables take precedence.")
def main() -> None:
    """Sends group MMS through Bandwidth and knows one truthful outcome per recipient."""
    from receiver import log

    _open_streams()
    log.silence()
    if os.getpid() == 1:
        # The first process of a container ignores SIGTERM until it handles it (pid_namespaces(7)).
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _open_streams() -> None:
    """Replaces closed standard streams, whose numbers the database's files would get otherwise, by the null device, and
    lets stdout escape the characters that the terminal's character set lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
