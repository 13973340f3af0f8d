"""The switches: what goes wrong from now on, and how that is written as JSON.

An accident closes, resets or holds the connection of a request at a chosen point. The switchboard hands out the
current switches and keeps the requests that are held.
"""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any, Self, TypeVar


class Point(StrEnum):
    """Where a request to send can be, in the order in which it gets there."""

    CONNECTED = "connected"  # it has begun to arrive, and nothing of it was read
    HALF_READ = "request-half-read"  # its head and half of its body
    READ = "request-read"  # all of it; nothing is accepted yet
    ACCEPTED = "accepted"  # with all that follows from that, but no byte of the answer is written
    HALF_WRITTEN = "answer-half-written"  # its head and half of its body
    WRITTEN = "answer-written"


class Action(StrEnum):
    """What happens there."""

    CLOSE = "close"
    RESET = "reset"  # RST: the other side gets an error even if it expects nothing more
    HOLD = "hold"  # nothing more, until it is released or the switches change; then it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Accident:
    at: Point
    do: Action
    seconds: float | None = None
    """The longest time that a request is held; None: until it is released."""


class ConnectionEnded(ConnectionError):
    """An accident has ended the connection: nothing more is read or written."""


def end(connection: socket.socket, how: Action) -> None:
    """Ends the connection; raises ConnectionEnded."""
    with suppress(OSError):  # the client may have gone already
        if how is Action.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(connection.detach())  # its own close() would wait for the files that read and write it
        else:
            connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionEnded


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


ACCIDENTS = {
    RequestFate.SLOW: Accident(at=Point.ACCEPTED, do=Action.HOLD),
    RequestFate.DROP_BEFORE: Accident(at=Point.READ, do=Action.CLOSE),
    RequestFate.DROP_AFTER: Accident(at=Point.ACCEPTED, do=Action.CLOSE),
    RequestFate.CUT_OFF: Accident(at=Point.HALF_WRITTEN, do=Action.CLOSE),
}
"""The fates that are only another word for an accident."""


class TokenFate(StrEnum):
    """What becomes of every request for an access token, until the switch is changed."""

    ISSUE = "issue"  # 200 if the request is valid, a refusal if it is not
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
    SLOW = "slow"  # issued at once, answered only after `slow_seconds`
    TRICKLE = "trickle"  # issued at once, and the answer takes `slow_seconds`, byte by byte
    DROP = "drop"  # issued, then the connection closed without an answer
    CUT_OFF = "cut-off"  # issued, 200, and the connection closed in the middle of the body


TOKEN_ACCIDENTS = {
    TokenFate.DROP: Accident(at=Point.ACCEPTED, do=Action.CLOSE),
    TokenFate.CUT_OFF: Accident(at=Point.HALF_WRITTEN, do=Action.CLOSE),
}
"""The accidents that a request for a token can have."""


class CallbackShape(StrEnum):
    """How the callbacks of the messages accepted from now on look."""

    NORMAL = "normal"  # an array of one event, the tag echoed
    TAG_MISSING = "tag-missing"
    TAG_EMPTY = "tag-empty"
    BARE_OBJECT = "bare-object"  # the event itself, as the OpenAPI document describes it
    BATCHED = "batched"  # the events of all recipients in one array
    UNKNOWN_TYPE = "unknown-type"  # one more event per recipient, of a type nobody knows
    NO_RECIPIENT = "no-recipient"  # without the top-level `to`, as in the examples of 2019


class SearchShape(StrEnum):
    """How GET /messages answers."""

    NORMAL = "normal"  # an object with a row for every recipient
    ARRAY = "array"  # an array around that object
    ONE_ROW = "one-row"  # a row for the whole group, which names its first recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """What goes wrong from now on. Whatever is wrong with it is a ValueError with a sentence for who set it."""

    request: RequestFate = RequestFate.ACCEPT
    accident: Accident | None = None
    times: int | None = None
    """To how many requests to send ``request`` and ``accident`` apply; None: to all."""
    retry_after: int | None = None
    """What a 429 says in Retry-After; None: it has none, as Bandwidth documents none."""
    callbacks: CallbackShape = CallbackShape.NORMAL
    search: SearchShape = SearchShape.NORMAL
    index_seconds: float | None = 0.0
    """How soon GET /messages knows of a message that is accepted from now on; None: never."""
    slow_seconds: float = 30.0
    """How long `slow` keeps a client waiting, and how long the answer that trickles takes."""
    basic: bool = False
    """Whether a username and password are let in, as Bandwidth does until 2026-12-02; a token always is."""
    tokens: TokenFate = TokenFate.ISSUE
    expires_in: Any = None
    """What the answer with a token says in expires_in, whatever the truth; None: the truth."""

    def __post_init__(self) -> None:
        if self.accident and self.request in ACCIDENTS:
            raise ValueError(f"request {self.request} is an accident itself: set one of the two")

    @property
    def mishap(self) -> Accident | None:
        """The accident, whichever word asks for it."""
        if self.request is RequestFate.SLOW:
            return Accident(at=Point.ACCEPTED, do=Action.HOLD, seconds=self.slow_seconds)
        return self.accident or ACCIDENTS.get(self.request)

    @property
    def token_mishap(self) -> Accident | None:
        """The accident of a request for a token."""
        if self.tokens is TokenFate.SLOW:
            return Accident(at=Point.ACCEPTED, do=Action.HOLD, seconds=self.slow_seconds)
        return TOKEN_ACCIDENTS.get(self.tokens)

    @property
    def token_trickle(self) -> float | None:
        """Over how many seconds the answer to a request for a token is written; None: in one piece."""
        return self.slow_seconds if self.tokens is TokenFate.TRICKLE else None

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Reads an object of switches; what is absent has its default."""
        if unknown := body.keys() - SWITCHES.keys():
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        return cls(**{SWITCHES[name].field: SWITCHES[name].read(name, value) for name, value in body.items()})

    def to_json(self) -> dict[str, Any]:
        written = {name: getattr(self, switch.field) for name, switch in SWITCHES.items()}
        accident = self.accident and {"at": self.accident.at, "do": self.accident.do}
        return written | {"accident": accident}


@dataclass(frozen=True, slots=True)
class _Switch:
    """One name of the JSON object."""

    field: str
    read: Callable[[str, Any], Any]


def _member(choices: type[Choice], name: str, value: object) -> Choice:
    try:
        return choices(str(value))
    except ValueError:
        raise ValueError(f"{name} is one of {', '.join(choices)}") from None


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise ValueError(f"{name} is a number from 0 to 3600")
    return float(value)


def _seconds_or_never(name: str, value: object) -> float | None:
    return None if value is None else _seconds(name, value)


def _count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is null or an integer from 1")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false")  # noqa: TRY004 - like every other fault of the body
    return value


def _verbatim(name: str, value: object) -> object:
    return value


def _accident(name: str, value: object) -> Accident | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != {"at", "do"}:
        raise ValueError(f'{name} is null or {{"at": "...", "do": "..."}}')
    return Accident(at=_member(Point, "at", value["at"]), do=_member(Action, "do", value["do"]))


SWITCHES = {
    "request": _Switch("request", partial(_member, RequestFate)),
    "accident": _Switch("accident", _accident),
    "times": _Switch("times", _count),
    "slowSeconds": _Switch("slow_seconds", _seconds),
    "retryAfter": _Switch("retry_after", _count),
    "callbacks": _Switch("callbacks", partial(_member, CallbackShape)),
    "search": _Switch("search", partial(_member, SearchShape)),
    "indexSeconds": _Switch("index_seconds", _seconds_or_never),
    "basic": _Switch("basic", _flag),
    "tokens": _Switch("tokens", partial(_member, TokenFate)),
    "expiresIn": _Switch("expires_in", _verbatim),
}


@dataclass(slots=True, eq=False)
class Held:
    """A request that stands still, or goes on slowly, until ``goes_on`` is set."""

    at: Point
    goes_on: threading.Event = field(default_factory=threading.Event)
    do: Action | None = None
    """What ends its connection then; None: nothing."""


class Switchboard:
    """Hands every request to send its switches, and holds the requests that are to be held."""

    def __init__(self, switches: Switches) -> None:
        self._lock = threading.Lock()
        self._held: list[Held] = []
        self._stopped = False
        self._set(switches)

    def _set(self, switches: Switches) -> None:
        self._switches, self._left = switches, switches.times

    @property
    def switches(self) -> Switches:
        """What goes wrong from now on; to set it releases every request that is held."""
        return self._switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        with self._lock:
            self._set(switches)
        self.release()

    @property
    def awaits_connections(self) -> bool:
        """Whether the next request to send comes to grief before it is read."""
        accident = self._switches.accident
        return accident is not None and accident.at is Point.CONNECTED

    def take(self) -> Switches:
        """The switches for one request to send; it counts."""
        with self._lock:
            if self._left == 0:
                return replace(self._switches, request=RequestFate.ACCEPT, accident=None)
            if self._left:
                self._left -= 1
            return self._switches

    @property
    def held(self) -> tuple[Point, ...]:
        """Where requests are held, the longest held first."""
        with self._lock:
            return tuple(each.at for each in self._held)

    def hold(self, accident: Accident) -> Action | None:
        """Returns once the request may go on: what is to end its connection, or None."""
        with self.holding(accident.at) as held:
            held.goes_on.wait(accident.seconds)
        return held.do

    @contextmanager
    def holding(self, at: Point) -> Iterator[Held]:
        """Counts a request among those that are held, until it is released or the block ends."""
        held = Held(at)
        with self._lock:
            if self._stopped:
                held.goes_on.set()
            else:
                self._held.append(held)
        try:
            yield held
        finally:
            with self._lock:
                if held in self._held:
                    self._held.remove(held)

    def release(self, do: Action | None = None) -> int:
        """Lets all held requests go on, or ends their connections; how many there were."""
        with self._lock:
            released, self._held = self._held, []
            for each in released:
                each.do = do
                each.goes_on.set()
        return len(released)

    def stop(self) -> None:
        """Releases what is held, and holds nothing any more."""
        with self._lock:
            self._stopped = True
        self.release()
