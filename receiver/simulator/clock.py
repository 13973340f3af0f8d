"""The time, as Bandwidth writes it."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def written(moment: datetime) -> str:
    """``2021-07-21T21:00:45.179Z``: UTC with milliseconds, as in the examples since 2020."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
