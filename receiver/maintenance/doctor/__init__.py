"""Examines an installation: what is right, what is wrong, and what to do about it."""

from collections.abc import Iterator
from functools import partial

from receiver import VERSION
from receiver.database.database import Database
from receiver.errors import ConfigurationError
from receiver.maintenance.doctor import bandwidth, database, settings, traffic
from receiver.maintenance.doctor.findings import Finding, Mark, ok, run_check, skipped
from receiver.settings import Settings, read_settings

__all__ = ["Finding", "Mark", "examine"]


def examine(*, callback_url: str | None) -> Iterator[Finding]:
    """Yields every finding as soon as it is known. Never raises, changes nothing, and ends within minutes."""
    yield ok("version", f"this is receiver {VERSION}")
    yield from settings.check_required()
    try:
        running = read_settings()
    except ConfigurationError:
        for name in ("database", "traffic", "Bandwidth", bandwidth.ADDRESS):
            yield skipped(name, "the settings must be valid first")
        return
    yield from settings.check_doubtful(running)
    with Database(running.database_url) as opened:
        yield from _examine_database(opened, running)
    yield from run_check("Bandwidth", partial(bandwidth.check_api, running))
    if callback_url is None:
        yield skipped(bandwidth.ADDRESS, "pass --callback-url to test the URL that is registered with Bandwidth")
    else:
        yield from run_check(bandwidth.ADDRESS, partial(bandwidth.check_callback_url, callback_url, running))


def _examine_database(opened: Database, running: Settings) -> Iterator[Finding]:
    found = run_check("database", partial(database.check_connection, opened))
    yield from found
    if any(each.mark is Mark.WRONG for each in found):
        for name in ("writing", "traffic"):
            yield skipped(name, "the database must respond with the right schema first")
        return
    yield from run_check("writing", partial(database.check_writes, opened))
    yield from run_check("traffic", partial(traffic.check_traffic, opened, running))
