"""`receiver recompute`."""

import shlex
import sys

import click

from receiver.cli.console import EXIT_WRONG, counted, out, progress, say
from receiver.cli.database import database_for_query
from receiver.cli.options import command_line
from receiver.core.tags import is_tag
from receiver.errors import StorageUnavailable
from receiver.maintenance import recompute as recomputing


def _read_tag(_context: click.Context, _option: click.Parameter, given: str) -> str:
    if given and not is_tag(given):
        raise click.BadParameter("is not a tag.")
    return given


@click.command()
@click.option("--check", is_flag=True, help="Change nothing, and exit 1 if a stored outcome differs from its events.")
@click.option("--after", "after_tag", default="", callback=_read_tag, help="Resume after this tag.")
def recompute(check: bool, after_tag: str) -> None:
    """Recompute every outcome from the stored events, and repair those that differ.

    Exits 3 if the database cannot be reached.
    """
    messages = differences = in_old_order = 0
    with database_for_query() as database, progress() as bars:
        task = bars.add_task("messages", total=None)
        try:
            for batch in recomputing.recompute(database, check=check, after_tag=after_tag):
                messages += batch.messages
                shown = [each for each in batch.differences if not each.only_order]
                differences += len(shown)
                in_old_order += len(batch.differences) - len(shown)
                after_tag = batch.last_tag
                bars.update(task, description=counted(messages, "messages"))
                for each in shown:
                    say(f"{each.tag} {each.recipient or ''} {each.stored} -> {each.folded}", on=out)
        except (KeyboardInterrupt, StorageUnavailable):
            say(f"To resume: --after {shlex.quote(after_tag)}")
            raise
    repaired = "" if check else " repaired"
    out.print(f"{counted(messages, 'messages')}, {counted(differences, 'differences')}{repaired}")
    if in_old_order:
        remedy = f"run `{command_line('recompute')}`" if check else "updated; their outcomes are unchanged"
        out.print(f"{counted(in_old_order, 'recipients')} in the event order of an earlier release: {remedy}")
    if check and (differences or in_old_order):
        sys.exit(EXIT_WRONG)
