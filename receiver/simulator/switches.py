"""The options of a simulator, and its switches, which say what goes wrong from now on and can be read from JSON.

The switchboard hands every request the current switches, and keeps the requests that an accident holds.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

MAX_SECONDS = 3600

Choice = TypeVar("Choice", bound=StrEnum)


class Point(StrEnum):
    """A point in the life of a request, in the order in which a request passes them."""

    CONNECTED = "connected"  # the request has begun to arrive, and nothing of it was read
    HALF_READ = "request-half-read"  # its head and half of its body were read
    READ = "request-read"  # all of it was read, and nothing is accepted yet
    ACCEPTED = "accepted"  # it took effect, and no byte of the response is written
    HALF_WRITTEN = "answer-half-written"  # the head and half of the body of the response are written
    WRITTEN = "answer-written"  # the whole response is written


class Action(StrEnum):
    """The effect of an accident on the connection of a request."""

    CLOSE = "close"
    RESET = "reset"  # RST: the client gets an error even if it expects nothing more
    HOLD = "hold"  # nothing happens until the request is released or the switches change; then it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Accident:
    """An accident that happens to the connection of a request at one point."""

    at: Point
    do: Action
    seconds: float | None = None
    """The longest time that a request is held; None holds it until it is released."""


class RequestFate(StrEnum):
    """The fate of every request to send a message, until the switch is changed."""

    ACCEPT = "accept"  # 202 if the request is valid, Bandwidth's own error if it is not
    BAD_REQUEST = "400"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    UNSUPPORTED_TYPE = "415"
    QUEUE_FULL = "429"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502-html"  # a gateway's HTML page, which does not say whether the message was accepted
    REDIRECT = "redirect"  # 307 to a path that does not exist
    SLOW = "slow"  # accepted at once, with a response only after `slow_seconds`
    DROP_BEFORE = "drop-before"  # connection closed without a response, nothing accepted
    DROP_AFTER = "drop-after"  # accepted, then closed without a response
    NONSENSE = "nonsense"  # accepted, 202, and a body that is not JSON
    CUT_OFF = "cut-off"  # accepted, 202, and the connection closed in the middle of the body


REQUEST_ACCIDENTS = {
    RequestFate.SLOW: Accident(at=Point.ACCEPTED, do=Action.HOLD),
    RequestFate.DROP_BEFORE: Accident(at=Point.READ, do=Action.CLOSE),
    RequestFate.DROP_AFTER: Accident(at=Point.ACCEPTED, do=Action.CLOSE),
    RequestFate.CUT_OFF: Accident(at=Point.HALF_WRITTEN, do=Action.CLOSE),
}
"""The fates of a request to send that are another word for an accident."""


class TokenFate(StrEnum):
    """The fate of every request for an access token, until the switch is changed."""

    ISSUE = "issue"  # 200 if the request is valid, an error if it is not
    REFUSE = "refuse"  # 401: the client's id or secret is wrong
    FORBID = "forbid"  # 403
    BAD_REQUEST = "400"
    TOO_MANY = "429"  # with the Retry-After of `retry_after`
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"
    BAD_GATEWAY = "502-html"
    NOT_JSON = "not-json"  # 200, and a body that is not JSON
    NO_TOKEN = "no-token"  # noqa: S105 - 200, without access_token
    NO_EXPIRY = "no-expiry"  # 200, without expires_in
    SLOW = "slow"  # issued at once, with a response only after `slow_seconds`
    TRICKLE = "trickle"  # issued at once; the response takes `slow_seconds`, byte by byte
    DROP = "drop"  # issued, then the connection closed without a response
    CUT_OFF = "cut-off"  # issued, 200, and the connection closed in the middle of the body


TOKEN_ACCIDENTS = {
    TokenFate.SLOW: Accident(at=Point.ACCEPTED, do=Action.HOLD),
    TokenFate.DROP: Accident(at=Point.ACCEPTED, do=Action.CLOSE),
    TokenFate.CUT_OFF: Accident(at=Point.HALF_WRITTEN, do=Action.CLOSE),
}
"""The fates of a request for a token that are another word for an accident."""


class CallbackShape(StrEnum):
    """The shape of callbacks about messages that are accepted from now on."""

    NORMAL = "normal"  # an array of one event, the tag echoed
    TAG_MISSING = "tag-missing"
    TAG_EMPTY = "tag-empty"
    BARE_OBJECT = "bare-object"  # the event itself, as the OpenAPI document describes it
    BATCHED = "batched"  # the events of all recipients in one array
    UNKNOWN_TYPE = "unknown-type"  # one more event per recipient, of a type that does not exist
    NO_RECIPIENT = "no-recipient"  # without the top-level `to`, as in the examples of 2019


class SearchShape(StrEnum):
    """The shape of the response of GET /messages."""

    NORMAL = "normal"  # an object with a row for every recipient
    ARRAY = "array"  # an array around that object
    ONE_ROW = "one-row"  # a row for the whole group, which names its first recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """The switches: what goes wrong from now on. Invalid values raise ValueError with a sentence for the user."""

    request: RequestFate = RequestFate.ACCEPT
    accident: Accident | None = None
    times: int | None = None
    """To how many requests to send ``request`` and ``accident`` apply; None applies them to all."""
    retry_after: int | None = None
    """The Retry-After of a 429, in seconds; None leaves it out, as Bandwidth documents none."""
    callbacks: CallbackShape = CallbackShape.NORMAL
    search: SearchShape = SearchShape.NORMAL
    index_seconds: float | None = 0.0
    """After how many seconds GET /messages finds a message that is accepted from now on; None: never."""
    slow_seconds: float = 30.0
    """How long `slow` delays a response, and how long `trickle` takes to write one."""
    basic: bool = False
    """Whether Basic credentials are accepted, as Bandwidth does until 2026-12-02; a token always is."""
    tokens: TokenFate = TokenFate.ISSUE
    expires_in: Any = None
    """The expires_in of a token response, any JSON value, true or not; None: the truth."""

    def __post_init__(self) -> None:
        if self.accident and self.request in REQUEST_ACCIDENTS:
            raise ValueError(f"request {self.request} is itself an accident: set only one of the two")

    @property
    def request_accident(self) -> Accident | None:
        """The accident of a request to send, set by ``accident`` or implied by ``request``."""
        return self.accident or self._timed(REQUEST_ACCIDENTS.get(self.request))

    @property
    def token_accident(self) -> Accident | None:
        """The accident of a request for a token."""
        return self._timed(TOKEN_ACCIDENTS.get(self.tokens))

    @property
    def token_trickle_seconds(self) -> float | None:
        """Over how many seconds the response to a request for a token is written; None: in one piece."""
        return self.slow_seconds if self.tokens is TokenFate.TRICKLE else None

    def _timed(self, accident: Accident | None) -> Accident | None:
        if accident and accident.do is Action.HOLD:
            return replace(accident, seconds=self.slow_seconds)
        return accident

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Reads a JSON object of switches, with the default for each one that is absent; raises ValueError."""
        if unknown := body.keys() - SWITCHES.keys():
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        return cls(**{SWITCHES[name].field: SWITCHES[name].read(name, value) for name, value in body.items()})

    def to_json(self) -> dict[str, Any]:
        """The JSON object that ``from_json`` reads, with every switch."""
        body = {name: getattr(self, switch.field) for name, switch in SWITCHES.items()}
        return body | {"accident": self.accident and {"at": self.accident.at, "do": self.accident.do}}


@dataclass(frozen=True, slots=True)
class _Switch:
    """A key of the JSON object: the field of Switches that it sets, and how its value is read."""

    field: str
    read: Callable[[str, Any], Any]


def _choice(choices: type[Choice], name: str, value: object) -> Choice:
    try:
        return choices(str(value))
    except ValueError:
        raise ValueError(f"{name} must be one of {', '.join(choices)}") from None


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"{name} must be a number from 0 to {MAX_SECONDS}")
    return float(value)


def _seconds_or_never(name: str, value: object) -> float | None:
    return None if value is None else _seconds(name, value)


def _count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be null or a positive integer")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false")  # noqa: TRY004 - every fault of the body is a ValueError
    return value


def _any_value(name: str, value: object) -> object:
    return value


def _accident(name: str, value: object) -> Accident | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != {"at", "do"}:
        raise ValueError(f'{name} must be null or {{"at": "...", "do": "..."}}')
    return Accident(at=_choice(Point, "at", value["at"]), do=_choice(Action, "do", value["do"]))


SWITCHES = {
    "request": _Switch("request", partial(_choice, RequestFate)),
    "accident": _Switch("accident", _accident),
    "times": _Switch("times", _count),
    "slowSeconds": _Switch("slow_seconds", _seconds),
    "retryAfter": _Switch("retry_after", _count),
    "callbacks": _Switch("callbacks", partial(_choice, CallbackShape)),
    "search": _Switch("search", partial(_choice, SearchShape)),
    "indexSeconds": _Switch("index_seconds", _seconds_or_never),
    "basic": _Switch("basic", _flag),
    "tokens": _Switch("tokens", partial(_choice, TokenFate)),
    "expiresIn": _Switch("expires_in", _any_value),
}
"""The switches by their JSON names."""


@dataclass(slots=True, eq=False)
class HeldRequest:
    """A request that stands still, or goes on slowly, until ``released`` is set."""

    at: Point
    released: threading.Event = field(default_factory=threading.Event)
    ending: Action | None = None
    """How its connection is ended once it is released; None lets it go on."""


class Switchboard:
    """The current switches and the requests that are held; safe for use from several threads."""

    def __init__(self, switches: Switches) -> None:
        self._lock = threading.Lock()
        self._held: list[HeldRequest] = []
        self._stopped = False
        self._set(switches)

    def _set(self, switches: Switches) -> None:
        self._switches, self._remaining = switches, switches.times

    @property
    def switches(self) -> Switches:
        """What goes wrong from now on; setting it releases every request that is held."""
        return self._switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        with self._lock:
            self._set(switches)
        self.release()

    @property
    def has_accident_on_arrival(self) -> bool:
        """Whether the next request to send has its accident before it is read."""
        accident = self._switches.accident
        return accident is not None and accident.at is Point.CONNECTED

    def take(self) -> Switches:
        """The switches for one request to send, which counts as one of ``times``."""
        with self._lock:
            if self._remaining == 0:
                return replace(self._switches, request=RequestFate.ACCEPT, accident=None)
            if self._remaining:
                self._remaining -= 1
            return self._switches

    @property
    def held(self) -> tuple[Point, ...]:
        """The points at which requests are held, the longest held first."""
        with self._lock:
            return tuple(request.at for request in self._held)

    def hold(self, accident: Accident) -> Action | None:
        """Holds the calling request; returns how to end its connection, or None if it may go on."""
        with self.holding(accident.at) as request:
            request.released.wait(accident.seconds)
        return request.ending

    @contextmanager
    def holding(self, at: Point) -> Iterator[HeldRequest]:
        """Counts the calling request among those that are held, until it is released or the block ends."""
        request = HeldRequest(at)
        with self._lock:
            if self._stopped:
                request.released.set()
            else:
                self._held.append(request)
        try:
            yield request
        finally:
            with self._lock:
                if request in self._held:
                    self._held.remove(request)

    def release(self, ending: Action | None = None) -> int:
        """Lets all held requests go on, or ends their connections; returns how many there were."""
        with self._lock:
            released, self._held = self._held, []
            for request in released:
                request.ending = ending
                request.released.set()
        return len(released)

    def stop(self) -> None:
        """Releases every held request; from now on none is held."""
        with self._lock:
            self._stopped = True
        self.release()


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
