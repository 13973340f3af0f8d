"""Commands about messages whose fate is not known: ask Bandwidth, or let a person decide."""

import getpass
import sys
from collections import Counter
from collections.abc import Sequence

import click

from receiver import terminal
from receiver.app import make_search
from receiver.cli.base import (
    EXIT_WRONG,
    demand_consent,
    demand_schema,
    main,
    out,
    progress,
    said_in_one_sentence,
    with_consent,
)
from receiver.cli.forms import of_message
from receiver.core.send_status import SendStatus
from receiver.database.database import Database
from receiver.maintenance import reconcile as reconciling
from receiver.maintenance import resolve as resolving
from receiver.maintenance import restored as restoring
from receiver.maintenance.reconcile import Inquiry, InquiryOutcome
from receiver.reports import messages
from receiver.settings import read_settings


@main.command()
@said_in_one_sentence
def reconcile() -> None:
    """Ask Bandwidth what became of messages that are unknown or overdue. Exits 1 if it could not be asked."""
    settings = read_settings(sending=True)
    found: list[Inquiry] = []
    with Database(settings.database_url) as database:
        demand_schema(database)
        tags = reconciling.in_doubt(database, overdue_after=settings.overdue_after)
        try:
            with progress() as bars:
                asking = reconciling.reconcile(database, make_search(settings), tags)
                for each in bars.track(asking, total=len(tags), description="messages"):
                    found.append(each)  # one by one: what was found before an error is recorded, and shown
        finally:
            _show(found)
    if any(each.outcome is InquiryOutcome.REFUSED for each in found):
        sys.exit(EXIT_WRONG)


def _show(asked: Sequence[Inquiry]) -> None:
    rows = [(each.tag, f"{each.before} -> {each.after}", each.outcome, each.learnt) for each in asked]
    if rows:
        terminal.show_rows(out, ("tag", "send status", "outcome", "what Bandwidth says"), rows)
    count = Counter(each.outcome for each in asked)
    out.print(f"{len(rows)} messages asked about: " + ", ".join(f"{count[each]} {each}" for each in InquiryOutcome))


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container's user may have no name
        raise click.UsageError("Nobody knows your login name: say --by NAME.") from error


@main.command()
@of_message
@click.option(
    "--as",
    "send_status",
    type=click.Choice([SendStatus.ACCEPTED.value, SendStatus.REFUSED.value]),
    required=True,
    help="accepted: Bandwidth has it. refused: it was never sent.",
)
@click.option("--reason", required=True, help="How you know; kept with the message.")
@click.option("--by", default=_login_name, show_default="your login name", help="Who decides; kept with the message.")
@said_in_one_sentence
def resolve(tag: str, send_status: str, reason: str, by: str) -> None:
    """Decide what became of an unknown message. An event that comes later corrects it."""
    if not (reason.strip() and by.strip()):
        raise click.UsageError("Neither the reason nor the name may be blank.")
    with Database(read_settings().database_url) as database:
        demand_schema(database)
        resolving.resolve(database, tag, SendStatus(send_status), reason=reason.strip(), by=by.strip())
        terminal.show_message(out, messages.message(database, tag))
        terminal.show_resolutions(out, messages.resolutions(database, tag))


@main.command()
@with_consent
@said_in_one_sentence
def restored(yes: bool) -> None:
    """Put a restored backup right before anything works on it: what may have been sent since is not sent again."""
    settings = read_settings()
    with Database(settings.database_url) as database:
        demand_schema(database)
        pks = restoring.unsent(database)
        if pks:
            out.print(f"{len(pks)} messages wait, or would be sent if asked for again.")
            demand_consent("Make them unknown?", yes=yes)
        with progress() as bars:
            task = bars.add_task("messages", total=len(pks))
            for number in restoring.make_unknown(database, pks, overdue_after=settings.overdue_after):
                bars.advance(task, number)
    out.print(f"{len(pks)} messages became unknown.")
