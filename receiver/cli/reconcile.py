"""`receiver reconcile`."""

import sys
from collections import Counter
from collections.abc import Sequence

import click

from receiver.app import make_search
from receiver.cli.console import EXIT_WRONG, counted, out, progress
from receiver.cli.database import demand_schema
from receiver.cli.tables import print_rows
from receiver.database.database import Database
from receiver.maintenance import reconcile as reconciling
from receiver.maintenance.reconcile import Inquiry, InquiryOutcome
from receiver.settings import read_settings


@click.command()
def reconcile() -> None:
    """Ask Bandwidth what became of messages that are unknown or overdue. Exits 1 if it refuses to answer."""
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
            _show(inquiries)
    if any(each.outcome is InquiryOutcome.REFUSED for each in inquiries):
        sys.exit(EXIT_WRONG)


def _show(inquiries: Sequence[Inquiry]) -> None:
    rows = [(each.tag, f"{each.before} -> {each.after}", each.outcome, each.learnt) for each in inquiries]
    if rows:
        print_rows(out, ("tag", "send status", "outcome", "what Bandwidth says"), rows)
    count = Counter(each.outcome for each in inquiries)
    counts = ", ".join(f"{count[each]} {each}" for each in InquiryOutcome)
    out.print(f"Asked about {counted(len(rows), 'messages')}: {counts}")
