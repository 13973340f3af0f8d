"""The work of operators: `receiver purge`, `recompute`, `reconcile`, `resolve` and `restored`."""

import getpass
import re
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

import click

from receiver.cli.console import EXIT_WRONG, counted, deferred, demand_consent, out, progress, say
from receiver.cli.database import database_for_query, demand_schema
from receiver.cli.options import command_line, tag_argument, yes_option
from receiver.cli.tables import print_message, print_resolutions, print_rows
from receiver.core.send_status import SendStatus
from receiver.core.tags import is_tag
from receiver.database.database import Database
from receiver.errors import StorageUnavailable
from receiver.maintenance import purge as purging
from receiver.maintenance import recompute as recomputing
from receiver.maintenance import reconcile as reconciling
from receiver.maintenance import resolve as resolving
from receiver.maintenance import restored as restoring
from receiver.maintenance.purge import Kind, Survey, Terms
from receiver.maintenance.reconcile import Inquiry, InquiryOutcome
from receiver.reports import messages
from receiver.settings import read_settings

DAYS = {"d": 1, "w": 7, "y": 365}
ROWS = (Kind.MESSAGE, "recipients", "events", Kind.UNLINKED, Kind.INBOUND, Kind.UNREADABLE)
"""The kinds of rows that are counted, in the order in which they are printed."""


class Age(click.ParamType):  # type: ignore[type-arg]
    """An age in days, weeks or years, such as 90d."""

    name = "age"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"(\d{1,5})([dwy])", value, re.ASCII)
        span = timedelta(days=int(found[1]) * DAYS[found[2]]) if found else timedelta(0)
        if not found:
            self.fail(
                f"{value!r} is not an age: write a number followed by d, w or y (days, weeks, years), such as 90d."
            )
        if not purging.YOUNGEST <= span <= purging.OLDEST:
            self.fail(
                f"{value} is not between {purging.YOUNGEST.days}d and {purging.OLDEST.days}d: Bandwidth keeps"
                " younger messages on record, and may still report events about them."
            )
        return span


@click.command()
@click.option("--older-than", type=Age(), required=True, help="Age, such as 90d, 12w or 2y; at least 14d.")
@click.option("--redact", is_flag=True, help="Blank texts, numbers and payloads; keep outcomes, codes and times.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
@yes_option
def purge(older_than: timedelta, redact: bool, dry_run: bool, yes: bool) -> None:
    """Remove or redact messages older than a given age, and everything that belongs to them.

    Prints what it is about to do, and asks for confirmation. It may run beside the service, and may be interrupted and
    run again at any time.
    """
    terms = purging.make_terms(older_than, redact=redact)
    with Database(read_settings().database_url) as database:
        demand_schema(database)
        survey = _survey(database, terms)
        _print_survey(survey, terms)
        if sum(survey.counts.values()) and not dry_run:
            demand_consent("Continue? This cannot be undone.", yes=yes)
            _purge(database, terms, survey)


def _survey(database: Database, terms: Terms) -> Survey:
    survey = Survey()
    with progress(transient=True) as bars:
        task = bars.add_task("counting", total=None)
        for survey in purging.survey(database, terms):
            bars.update(task, completed=survey.counts[Kind.MESSAGE])
    return survey


def _print_survey(survey: Survey, terms: Terms) -> None:
    done = "redacted" if terms.redact else "removed"
    age = f"older than {terms.before:%Y-%m-%d %H:%M:%S} UTC"
    if not sum(survey.counts.values()):
        out.print(f"Nothing {age} remains to be {done}.")
    else:
        out.print(f"To be {done} ({age}):")
        print_rows(out, ("kind", "count", "oldest", "newest"), [_survey_row(survey, each) for each in ROWS])
    if survey.counts["open"]:
        out.print(f"Messages among these without a final outcome: {survey.counts['open']}.")
    if survey.staying:
        out.print(f"Messages of this age that are kept, because they are queued or were sent later: {survey.staying}.")


def _survey_row(survey: Survey, what: str) -> tuple[object, ...]:
    span = survey.span.get(Kind(what), ()) if what in list(Kind) else ()
    return (what, survey.counts[what], *span)


def _purge(database: Database, terms: Terms, survey: Survey) -> None:
    done: Counter[str] = Counter()
    try:
        # Ctrl-C between a commit and its count would leave that batch out of the printed counts.
        with deferred(signal.SIGINT), progress() as bars:
            task = bars.add_task("purging", total=sum(survey.counts[each] for each in Kind))
            for counts in purging.purge(database, terms):
                done.update(counts)
                bars.update(task, completed=sum(done[each] for each in Kind))
                if signal.SIGINT in signal.sigpending():  # delivered at the end of the block
                    break
    finally:  # batches before an error or Ctrl-C are committed
        out.print(f"{'Redacted' if terms.redact else 'Removed'}: {_in_words(done)}.")


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(counted(counts[each], each) for each in ROWS)


def _read_tag(_context: click.Context, _option: click.Parameter, given: str) -> str:
    if given and not is_tag(given):
        raise click.BadParameter(f"{given!r} is not the tag of a message.")
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


@click.command()
def reconcile() -> None:
    """Look up unknown and overdue messages at Bandwidth, and record what it reports.

    Exits 1 if Bandwidth refuses a query.
    """
    from receiver.app import make_search  # imports Flask, which the other commands do without

    settings = read_settings(sending=True)
    inquiries: list[Inquiry] = []
    with Database(settings.database_url) as database:
        demand_schema(database)
        tags = reconciling.find_in_doubt(database, overdue_after=settings.overdue_after)
        try:
            with progress() as bars:
                made = reconciling.reconcile(database, make_search(settings), tags)
                for each in bars.track(made, total=len(tags), description="messages"):
                    inquiries.append(each)  # one by one, so that those before an error are printed
        finally:
            _print_inquiries(inquiries)
    if any(each.outcome is InquiryOutcome.REFUSED for each in inquiries):
        sys.exit(EXIT_WRONG)


def _print_inquiries(inquiries: Sequence[Inquiry]) -> None:
    rows = [(each.tag, f"{each.before} -> {each.after}", each.outcome, each.detail) for each in inquiries]
    if rows:
        print_rows(out, ("tag", "send status", "outcome", "Bandwidth's records"), rows)
    count = Counter(each.outcome for each in inquiries)
    counts = ", ".join(f"{count[each]} {each}" for each in InquiryOutcome)
    out.print(f"Looked up {counted(len(rows), 'messages')}: {counts}")


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container's user may have no name
        raise click.UsageError("Cannot determine your login name; pass --by NAME.") from error


@click.command()
@tag_argument
@click.option(
    "--as",
    "send_status",
    type=click.Choice([SendStatus.ACCEPTED.value, SendStatus.REFUSED.value]),
    required=True,
    help="accepted: Bandwidth has it. refused: it was never sent.",
)
@click.option("--reason", required=True, help="How you know; stored with the message.")
@click.option("--by", default=_login_name, show_default="your login name", help="Who decides; stored with the message.")
def resolve(tag: str, send_status: str, reason: str, by: str) -> None:
    """Record a person's decision about an unknown message. A later event overrides it."""
    if not (reason.strip() and by.strip()):
        raise click.UsageError("--reason and --by must not be blank.")
    with Database(read_settings().database_url) as database:
        demand_schema(database)
        resolving.resolve(database, tag, SendStatus(send_status), reason=reason.strip(), by=by.strip())
        print_message(out, messages.message(database, tag))
        print_resolutions(out, messages.resolutions(database, tag))


@click.command()
@yes_option
def restored(yes: bool) -> None:
    """After restoring a backup, mark messages that may have been sent since as unknown.

    They will not be sent again. Run this before any server or worker starts.
    """
    settings = read_settings()
    with Database(settings.database_url) as database:
        demand_schema(database)
        pks = restoring.find_unsent(database)
        if pks:
            out.print(f"{counted(len(pks), 'messages')} would be sent by a worker, or when they are requested again.")
            demand_consent("Mark them as unknown?", yes=yes)
        with progress() as bars:
            task = bars.add_task("messages", total=len(pks))
            for number in restoring.make_unknown(database, pks, overdue_after=settings.overdue_after):
                bars.advance(task, number)
    out.print(f"{counted(len(pks), 'messages')} marked as unknown.")
