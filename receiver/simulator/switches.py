"""The switches: what goes wrong from now on, and how that is written as JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Self, TypeVar

from receiver.simulator.accidents import Accident, Action, Point

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
