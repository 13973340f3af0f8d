"""The command that ends how long things are kept."""

import re
import signal
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import click

from receiver import settings, terminal
from receiver.cli.base import (
    demand_consent,
    demand_schema,
    finishing,
    main,
    out,
    progress,
    said_in_one_sentence,
    with_consent,
)
from receiver.database.database import Database
from receiver.maintenance import purge as purging
from receiver.maintenance.purge import Kind, Survey, Terms

DAYS = {"d": 1, "w": 7, "y": 365}
ROWS = (Kind.MESSAGE, "recipients", "events", Kind.UNLINKED, Kind.INBOUND, Kind.UNREADABLE)
"""What is counted, in the order in which it is shown."""


class Span(click.ParamType):  # type: ignore[type-arg]
    """A number of days, weeks or years."""

    name = "span"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"(\d{1,5})([dwy])", value, re.ASCII)
        span = timedelta(days=int(found[1]) * DAYS[found[2]]) if found else timedelta(0)
        if not found:
            self.fail(f"{value!r} is no span: give a number and d, w or y for days, weeks or years, as in 90d.")
        if not purging.YOUNGEST <= span <= purging.OLDEST:
            self.fail(
                f"{value} is not between {purging.YOUNGEST.days}d and {purging.OLDEST.days}d: what is younger Bandwidth"
                " still has on record, and may still say something about."
            )
        return span


@main.command()
@click.option("--older-than", type=Span(), required=True, help="As in 90d, 12w or 2y; 14d at least.")
@click.option("--redact", is_flag=True, help="Keep outcomes, codes, times and counts; blank text, numbers, payloads.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@with_consent
@said_in_one_sentence
def purge(older_than: timedelta, redact: bool, dry_run: bool, yes: bool) -> None:
    """Remove old messages with all that belongs to them, or blank what may be personal in them.

    Says beforehand what it will do. It may be stopped and run again at any time, and beside everything else.
    """
    wanted = purging.terms(older_than, redact=redact)
    with Database(settings.read_settings().database_url) as database:
        demand_schema(database)
        found = _look(database, wanted)
        _tell(found, wanted)
        if sum(found.counts.values()) and not dry_run:
            demand_consent("Go on? It cannot be undone.", yes=yes)
            _purge(database, wanted, found)


def _look(database: Database, wanted: Terms) -> Survey:
    found = Survey()
    with progress(transient=True) as bars:
        task = bars.add_task("looking", total=None)
        for found in purging.survey(database, wanted):
            bars.update(task, completed=found.counts[Kind.MESSAGE])
    return found


def _tell(found: Survey, wanted: Terms) -> None:
    verb = "redacted" if wanted.redact else "removed"
    age = f"older than {wanted.before:%Y-%m-%d %H:%M:%S} UTC"
    if not sum(found.counts.values()):
        out.print(f"Nothing is {age} and not yet {verb}.")
    else:
        out.print(f"To be {verb}, because {age}:")
        terminal.show_rows(out, ("what", "how many", "oldest", "newest"), [_row(found, each) for each in ROWS])
    if found.counts["open"]:
        out.print(f"Of the messages {found.counts['open']} have no final outcome.")
    if found.staying:
        out.print(f"{found.staying} more were created as early and stay: they are still queued, or were sent later.")


def _row(found: Survey, what: str) -> tuple[object, ...]:
    span = found.span.get(Kind(what), ()) if what in list(Kind) else ()
    return (what, found.counts[what], *span)


def _purge(database: Database, wanted: Terms, found: Survey) -> None:
    done: Counter[str] = Counter()
    try:
        # Ctrl-C between a commit and its count would leave that batch out of what is told.
        with finishing(signal.SIGINT), progress() as bars:
            task = bars.add_task("purging", total=sum(found.counts[each] for each in Kind))
            for counts in purging.purge(database, wanted):
                done.update(counts)
                bars.update(task, completed=sum(done[each] for each in Kind))
                if signal.SIGINT in signal.sigpending():  # which is raised where `finishing` ends
                    break
    finally:  # what was done before an error or Ctrl-C is done
        out.print(f"{'Redacted' if wanted.redact else 'Removed'}: {_listed(done)}.")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[each]} {each}" for each in ROWS)
