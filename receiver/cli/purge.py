"""`receiver purge`."""

import re
import signal
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import click

from receiver.cli.console import counted, demand_consent, out, progress
from receiver.cli.database import demand_schema
from receiver.cli.options import yes_option
from receiver.cli.signals import deferred
from receiver.cli.tables import print_rows
from receiver.database.database import Database
from receiver.maintenance import purge as purging
from receiver.maintenance.purge import Kind, Survey, Terms
from receiver.settings import read_settings

DAYS = {"d": 1, "w": 7, "y": 365}
ROWS = (Kind.MESSAGE, "recipients", "events", Kind.UNLINKED, Kind.INBOUND, Kind.UNREADABLE)
"""The kinds of rows that are counted, in the order in which they are printed."""


class Span(click.ParamType):  # type: ignore[type-arg]
    """A number of days, weeks or years, such as 90d."""

    name = "span"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"(\d{1,5})([dwy])", value, re.ASCII)
        span = timedelta(days=int(found[1]) * DAYS[found[2]]) if found else timedelta(0)
        if not found:
            self.fail(f"{value!r} is not a span: write a number and d, w or y for days, weeks or years, such as 90d.")
        if not purging.YOUNGEST <= span <= purging.OLDEST:
            self.fail(
                f"{value} is not between {purging.YOUNGEST.days}d and {purging.OLDEST.days}d: Bandwidth still has"
                " younger messages on record, and may still report events about them."
            )
        return span


@click.command()
@click.option("--older-than", type=Span(), required=True, help="Age, such as 90d, 12w or 2y; at least 14d.")
@click.option("--redact", is_flag=True, help="Keep outcomes, codes, times and counts; blank text, numbers, payloads.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
@yes_option
def purge(older_than: timedelta, redact: bool, dry_run: bool, yes: bool) -> None:
    """Remove messages older than a given age and all that belongs to them, or redact them.

    Prints what it is about to do, and asks for confirmation. It may be interrupted and run again at any time, while
    the service runs.
    """
    terms = purging.terms(older_than, redact=redact)
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
    verb = "redacted" if terms.redact else "removed"
    age = f"older than {terms.before:%Y-%m-%d %H:%M:%S} UTC"
    if not sum(survey.counts.values()):
        out.print(f"Nothing is {age} and not yet {verb}.")
    else:
        out.print(f"To be {verb}, because {age}:")
        print_rows(out, ("what", "how many", "oldest", "newest"), [_row(survey, each) for each in ROWS])
    if survey.counts["open"]:
        out.print(f"Messages among these without a final outcome: {survey.counts['open']}.")
    if survey.staying:
        out.print(f"Messages of this age that are kept, because they are queued or were sent later: {survey.staying}.")


def _row(survey: Survey, what: str) -> tuple[object, ...]:
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
        out.print(f"{'Redacted' if terms.redact else 'Removed'}: {_listed(done)}.")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(counted(counts[each], each) for each in ROWS)
