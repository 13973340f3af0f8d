"""The options of a simulator: where it listens, where callbacks go, and how long things take."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from receiver.simulator.switches import Switches


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """The options of a simulator; all durations are in seconds. Raises ValueError for options that cannot work."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port."""

    callback_url: str | None = None
    """Where events are posted; None posts none."""
    callback_user: str | None = None
    callback_password: str | None = field(default=None, repr=False)
    """Credentials sent only after a challenge; without them a 401 is a failed attempt."""

    account_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    """What a client must present; each one that is None may be anything but empty."""
    token_seconds: float = 3600.0
    """How long a token is valid. Bandwidth does not publish it."""

    record: Path | None = None
    """A file that gets a JSON line for every accepted message."""

    rate: float | None = None
    """Messages per second that the account may send; None sets no limit."""
    queue_seconds: float = 900.0
    """How long the last message of a full queue waits. Bandwidth, "Rate limits" guide: 15 minutes."""
    searches: int = 3500
    search_seconds: float = 300.0
    """How many GET /messages are allowed in how many seconds. Bandwidth, "List messages" reference."""

    callback_timeout: float = 10.0
    """How long one callback request may take. Bandwidth, "Callbacks" guide: 10 seconds."""
    day: float = 60.0
    """What stands for the 24 hours during which Bandwidth redelivers."""
    pace: tuple[float, float] = (0.05, 0.5)
    """The shortest and the longest gap between the events of one recipient."""
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
            raise ValueError("callback_user and callback_password must be set together")
        if not 0 <= self.pace[0] <= self.pace[1]:
            raise ValueError("pace must be the shortest and the longest gap, in seconds")
        if self.queue_seconds < 0 or (self.rate is not None and self.rate <= 0):
            raise ValueError("rate must be positive and queue_seconds not negative")
        positive = ("day", "callback_timeout", "workers", "searches", "search_seconds", "token_seconds")
        if any(getattr(self, name) <= 0 for name in positive):
            raise ValueError(f"{', '.join(positive)} must be positive")


def check_url(url: str) -> None:
    """Raises ValueError unless callbacks can be posted to ``url``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        raise ValueError(f"not an http or https URL: {url}")
