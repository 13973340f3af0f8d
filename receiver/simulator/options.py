"""What the simulator is told at its start: where it listens, where callbacks go, and how it keeps time."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from receiver.simulator.switches import Switches


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """How a simulator is set up; every time is in seconds of this machine's clock."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port."""

    callback_url: str | None = None
    """Where events are posted; without it nothing is."""
    callback_user: str | None = None
    callback_password: str | None = field(default=None, repr=False)
    """Credentials sent once the receiver has asked for them; without them a 401 is a failed attempt."""

    account_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    """What a client must present; each one that is None may be anything but empty."""
    token_seconds: float = 3600.0
    """How long a token is good. Bandwidth does not publish it."""

    record: Path | None = None
    """A file that gets a JSON line for every accepted message."""

    rate: float | None = None
    """Messages per second that the account may send; None: as many as it likes."""
    queue_seconds: float = 900.0
    """How long the last message of a full queue waits. Bandwidth, "Rate limits" guide: 15 minutes."""
    searches: int = 3500
    search_seconds: float = 300.0
    """How often GET /messages may be asked in how many seconds. Bandwidth, "List messages" reference."""

    callback_timeout: float = 10.0
    """How long one callback request may take. Bandwidth, "Callbacks" guide: 10 seconds."""
    day: float = 60.0
    """What stands for the 24 hours during which Bandwidth redelivers."""
    pace: tuple[float, float] = (0.05, 0.5)
    """Shortest and longest gap between the events of one recipient."""
    unordered: bool = False
    """Sends the events of a recipient side by side in any order, instead of the order its number names."""
    workers: int = 16
    """How many callbacks are under way at once."""
    seed: int | None = None
    """Makes gaps and redelivery times repeatable."""
    switches: Switches = field(default_factory=Switches)

    def __post_init__(self) -> None:
        if self.callback_url is not None:
            check_url(self.callback_url)
        if (self.callback_user is None) != (self.callback_password is None):
            raise ValueError("callback_user and callback_password are given together or not at all")
        if not 0 <= self.pace[0] <= self.pace[1]:
            raise ValueError("pace is the shortest and the longest gap, in seconds")
        if self.queue_seconds < 0 or (self.rate is not None and self.rate <= 0):
            raise ValueError("rate is positive, and queue_seconds is not negative")
        positive = ("day", "callback_timeout", "workers", "searches", "search_seconds", "token_seconds")
        if any(getattr(self, name) <= 0 for name in positive):
            raise ValueError(f"{', '.join(positive)} are positive")


def check_url(url: str) -> None:
    """Raises ValueError unless callbacks can be posted to ``url``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        raise ValueError(f"not an http or https URL: {url}")
