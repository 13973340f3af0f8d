"""Instants: always aware and UTC inside the program; RFC 3339 ending in Z outside it."""

import re
from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EARLIEST_YEAR, LATEST_YEAR = 2000, 2100

# fromisoformat() also reads what is no instant (week dates, a NUL at the end), so the layout is checked first.
_LAYOUT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d[0-9:.,]*([Zz]|[+-][0-9:]+)?", re.ASCII)


def now() -> datetime:
    """The present instant by our clock."""
    return datetime.now(UTC)


def whole_millisecond(instant: datetime) -> datetime:
    """``instant`` rounded down to a millisecond, the resolution of tags."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def parse(text: object) -> datetime | None:
    """The instant that ``text`` names, or None if it cannot be read or lies outside 2000 to 2100.

    Accepts every layout seen in Bandwidth's events (seconds, milliseconds, microseconds; ``Z``, ``+00:00`` and
    ``+0000``); a time without a zone is UTC. A date alone is no instant.
    """
    if not isinstance(text, str) or not _LAYOUT.fullmatch(text):
        return None
    try:
        instant = datetime.fromisoformat(text.upper())
        instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return instant if EARLIEST_YEAR <= instant.year <= LATEST_YEAR else None


def rfc3339(instant: datetime, *, timespec: str = "microseconds") -> str:
    """``2026-11-21T21:53:14.123456Z``: one width, so that the texts sort as the instants do.

    ``timespec`` is the precision, as datetime.isoformat() names it.
    """
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat("T", timespec) + "Z"
