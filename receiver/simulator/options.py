"""What the simulator is told: where it listens, where callbacks go, and what is to go wrong."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

Choice = TypeVar("Choice", bound=StrEnum)


class RequestFate(StrEnum):
    """What becomes of every request to send a message, until the switch is changed."""

    ACCEPT = "accept"  # 202 if the request is valid, Bandwidth's own refusal if it is not
    BAD_REQUEST = "400"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    UNSUPPORTED_TYPE = "415"
    QUEUE_FULL = "429"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502-html"  # a gateway's HTML page: nobody knows whether the message was accepted
    REDIRECT = "redirect"  # 307 to a path that does not exist
    SLOW = "slow"  # accepted at once, answered only after `slow_seconds`
    DROP_BEFORE = "drop-before"  # connection closed without an answer, nothing accepted
    DROP_AFTER = "drop-after"  # accepted, then closed without an answer
    NONSENSE = "nonsense"  # accepted, 202, and a body that is not JSON
    CUT_OFF = "cut-off"  # accepted, 202, and the connection closed in the middle of the body


class CallbackShape(StrEnum):
    """How the callbacks of the messages accepted from now on look."""

    NORMAL = "normal"  # an array of one event, the tag echoed
    TAG_MISSING = "tag-missing"
    TAG_EMPTY = "tag-empty"
    BARE_OBJECT = "bare-object"  # the event itself, as the OpenAPI document describes it
    BATCHED = "batched"  # the events of all recipients in one array
    UNKNOWN_TYPE = "unknown-type"  # one more event per recipient, of a type nobody knows
    NO_RECIPIENT = "no-recipient"  # without the top-level `to`, as in the examples of 2019


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """What goes wrong from now on."""

    request: RequestFate = RequestFate.ACCEPT
    callbacks: CallbackShape = CallbackShape.NORMAL
    slow_seconds: float = 30.0
    """How long `slow` keeps a client waiting."""

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Reads ``{"request", "callbacks", "slowSeconds"}``; what is absent has its default.

        Raises ValueError with a sentence for the person who set the switch.
        """
        if unknown := body.keys() - {"request", "callbacks", "slowSeconds"}:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        seconds = body.get("slowSeconds", 30.0)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
            raise ValueError("slowSeconds is a number from 0 to 3600")
        return cls(
            request=_member(RequestFate, "request", body.get("request", "accept")),
            callbacks=_member(CallbackShape, "callbacks", body.get("callbacks", "normal")),
            slow_seconds=float(seconds),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "request": self.request.value,
            "callbacks": self.callbacks.value,
            "slowSeconds": self.slow_seconds,
        }


def _member(choices: type[Choice], name: str, value: object) -> Choice:
    try:
        return choices(str(value))
    except ValueError:
        raise ValueError(f"{name} is one of {', '.join(choices)}") from None


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
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    """What a client must present; each one that is None may be anything but empty."""

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
        if self.day <= 0 or self.callback_timeout <= 0 or self.workers < 1:
            raise ValueError("day, callback_timeout and workers are positive")


def check_url(url: str) -> None:
    """Raises ValueError unless callbacks can be posted to ``url``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        raise ValueError(f"not an http or https URL: {url}")
