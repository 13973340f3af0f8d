"""Examines an installation: what is right, what is wrong, and what to do about it."""

from collections.abc import Iterator
from functools import partial

from receiver import VERSION
from receiver.database.database import Database
from receiver.errors import ConfigurationError
from receiver.maintenance.doctor import account, callback, database, settings, traffic
from receiver.maintenance.doctor.findings import Finding, Mark, examined, ok, skipped
from receiver.settings import Settings, read_settings

__all__ = ["Finding", "Mark", "examine"]


def examine(*, callback_url: str | None) -> Iterator[Finding]:
    """Every finding as soon as it is known. Never raises; changes nothing; ends within minutes whatever hangs."""
    yield ok("version", f"this is receiver {VERSION}")
    yield from settings.required()
    try:
        running = read_settings()
    except ConfigurationError:
        for name in ("database", "traffic", "Bandwidth", callback.ADDRESS):
            yield skipped(name, "the settings have to be well-formed first")
        return
    yield from settings.doubtful(running)
    with Database(running.database_url) as opened:
        yield from _database(opened, running)
    yield from examined("Bandwidth", partial(account.examine, running))
    if callback_url is None:
        yield skipped(callback.ADDRESS, "not given; --callback-url checks the one that is registered with Bandwidth")
    else:
        yield from examined(callback.ADDRESS, partial(callback.examine, callback_url, running))


def _database(opened: Database, running: Settings) -> Iterator[Finding]:
    found = examined("database", partial(database.answers, opened))
    yield from found
    if any(each.mark is Mark.WRONG for each in found):
        for name in ("writing", "traffic"):
            yield skipped(name, "the database has to answer with the right schema first")
        return
    yield from examined("writing", partial(database.takes_writes, opened))
    yield from examined("traffic", partial(traffic.examine, opened, running))
