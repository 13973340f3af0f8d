"""Bandwidth's OAuth 2.0 tokens: the client-credentials grant (RFC 6749, section 4.4), one token for a process.

Four libraries for this grant were tried: Authlib 1.9, requests-oauthlib 2.0, requests-oauth2client 1.8 and
requests_auth 8.0. With each of them 20 threads ask for 20 tokens at once, every caller repeats a fetch that failed, and
a fetch that trickles never ends.
"""

import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import requests

from receiver.bandwidth.connection import Call, basic, exchange, make_session
from receiver.bandwidth.responses import NoToken, json_object, retry_after, unreachable
from receiver.core.messages import Refused
from receiver.core.send_status import RefusedBecause
from receiver.log import get_logger

log = get_logger(__name__)

FETCH_SECONDS = 5.0
"""How long a fetch may take."""

MARGIN_SECONDS = 60.0
"""How long before its end a token is renewed; half of its life, if that is less."""

DEFAULT_LIFE, LONGEST_LIFE = 60.0, 86_400.0
"""Seconds that a token is used when the answer does not say how long it lasts, and at the most."""

YOUNG_SECONDS = 10.0
"""A token that was fetched so lately is not replaced because of a 401: the next would fare no better."""

FIRST_MEMORY, LONGEST_MEMORY = 1.0, 30.0
"""Seconds for which a failed fetch is remembered; doubling while fetches fail."""

LONGEST_RETRY_AFTER = 300.0
"""Seconds that the token endpoint may ask to be left alone; Bandwidth's other limits count 5 minutes."""

CREDENTIALS, NO_TOKEN = "credentials", "no-token"
"""Types of errors: Bandwidth refuses the client id and secret; it gave no token for another reason."""

REFUSALS = (400, 401, 403)
"""Answers of the token endpoint that are about the client (RFC 6749, section 5.2)."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
"""What a header can carry; RFC 6750, section 2.1, allows even less."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and when it is used; times are monotonic seconds."""

    text: str = field(repr=False)
    fetched_at: float
    """When it was asked for: it cannot be older."""
    renew_at: float
    ends_at: float

    @property
    def life(self) -> float:
        """Seconds from when it was asked for to its end."""
        return self.ends_at - self.fetched_at

    @property
    def authorization(self) -> str:
        """The header's value (RFC 6750, section 2.1)."""
        return f"Bearer {self.text}"


@dataclass(frozen=True, slots=True)
class _Failure:
    """A fetch that failed, remembered so that others need not try it."""

    refused: Refused
    seconds: float
    """How long it is remembered, unless the endpoint asked for longer; the next one is remembered twice as long."""
    until: float


class Tokens:
    """The token of this process, fetched when it is needed; shared by any number of threads.

    A fetch runs in a thread of its own. Who holds no usable token waits for it, together with all others; while the old
    token is still good nobody waits. ``clock`` tells monotonic seconds.
    """

    def __init__(
        self, *, url: str, client_id: str, client_secret: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._clock = clock
        self._credentials = basic(client_id, client_secret)
        self._session = make_session()
        self._changed = threading.Condition()
        self._token: Token | None = None
        self._failure: _Failure | None = None
        self._is_fetching = False

    def get(self, *, until: float) -> Token:
        """A token that is good now. Raises NoToken if there is none by ``until``, in seconds of the clock."""
        has_asked = False
        with self._changed:
            known = self._token
            while True:
                now, token = self._clock(), self._token
                # Whoever has waited for it takes it, even if its life was shorter than its way: a 401 would tell.
                if token and (now < token.renew_at or token is not known):
                    return token
                if not self._is_fetching and self._remembered(now) is None:
                    has_asked = True
                    self._begin_fetch()
                if token and now < token.ends_at:
                    return token
                if not self._is_fetching and (refused := self._remembered(now)) is not None:
                    raise NoToken(replace(refused, is_remembered=not has_asked))
                if now >= until:
                    raise NoToken(_NOT_IN_TIME)
                has_asked = True
                self._changed.wait(until - now)

    def known_refusal(self) -> Refused | None:
        """What get() would raise now without asking anybody; None if it would ask, or has a token."""
        with self._changed:
            now = self._clock()
            has_token = self._token is not None and now < self._token.ends_at
            return None if has_token or self._is_fetching else self._remembered(now)

    def replacement(self, refused: Token, *, until: float) -> Token | None:
        """Another token than the one that was answered 401; None if there is none by ``until``, or if the refused one
        is so young that another would fare no better."""
        with self._changed:
            if self._token is refused:
                if self._clock() - refused.fetched_at <= YOUNG_SECONDS:
                    return None
                self._token = None
        try:
            return self.get(until=until)
        except NoToken:
            return None

    def _remembered(self, now: float) -> Refused | None:
        """The last failure, while it is remembered."""
        if self._failure is None or now >= self._failure.until:
            return None
        left = math.ceil(self._failure.until - now)
        return replace(self._failure.refused, retry_after=left, is_remembered=True)

    def close(self) -> None:
        """Closes the idle connections."""
        self._session.close()

    def _begin_fetch(self) -> None:
        self._is_fetching = True
        try:
            threading.Thread(target=self._fetch, name="bandwidth-token", daemon=True).start()
        except RuntimeError as error:  # this machine has no thread left
            self._end_fetch(unreachable(error, setting="BANDWIDTH_TOKEN_URL"))

    def _fetch(self) -> None:
        begun = self._clock()
        call = Call(self._clock, name="bandwidth-token-call")
        found: Token | Refused = _NOT_IN_TIME
        try:
            call.carry_out(self._ask, seconds=FETCH_SECONDS)
            found = _read_token(call, fetched_at=begun)
        finally:
            with self._changed:
                self._end_fetch(found)
        if isinstance(found, Token):
            log.info("token fetched", good_for_seconds=round(found.life))
        else:
            log.warning("token not fetched", bandwidth_status=call.status, error_type=found.type)

    def _ask(self) -> bytes | None:
        # As Bandwidth's own clients do, which encode neither id nor secret as RFC 6749, section 2.3.1, has it.
        request = requests.Request(
            "POST",
            self._url,
            data={"grant_type": "client_credentials"},
            headers={"Content-Type": "application/x-www-form-urlencoded", "Authorization": self._credentials},
        )
        return exchange(self._session, request, timeouts=(FETCH_SECONDS, FETCH_SECONDS))

    def _end_fetch(self, found: Token | Refused) -> None:
        self._is_fetching = False
        if isinstance(found, Token):
            self._token, self._failure = found, None
        else:
            seconds = min(2 * self._failure.seconds, LONGEST_MEMORY) if self._failure else FIRST_MEMORY
            asked = min(found.retry_after or 0, LONGEST_RETRY_AFTER)
            self._failure = _Failure(found, seconds, self._clock() + max(seconds, asked))
        self._changed.notify_all()


def _read_token(call: Call, *, fetched_at: float) -> Token | Refused:
    """What the token endpoint said: a token, or why there is none. Nothing was sent either way."""
    said, status = json_object(call.body), call.status
    text = said.get("access_token")
    if status is not None and status // 100 == 2 and isinstance(text, str) and _TOKEN.fullmatch(text):
        life = _life(said.get("expires_in"))
        ends_at = fetched_at + life
        return Token(text, fetched_at, ends_at - min(MARGIN_SECONDS, life / 2), ends_at)
    if not call.written:
        return unreachable(call.error, setting="BANDWIDTH_TOKEN_URL")
    if status in REFUSALS:
        return Refused(
            because=RefusedBecause.BANDWIDTH,
            type=CREDENTIALS,
            description=f"Bandwidth refuses BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET ({status} from"
            " BANDWIDTH_TOKEN_URL). Check both, and whether the secret has expired.",
        )
    if status is None:
        return _NOT_IN_TIME
    wrong = f"{status} without a usable token" if status // 100 == 2 else str(status)
    return Refused(
        because=RefusedBecause.UNREACHABLE,
        type=NO_TOKEN,
        description=f"BANDWIDTH_TOKEN_URL answered {wrong}, so Bandwidth was not called.",
        retry_after=retry_after(call) if status == 429 else None,
    )


_NOT_IN_TIME = Refused(
    because=RefusedBecause.UNREACHABLE,
    type=NO_TOKEN,
    description="BANDWIDTH_TOKEN_URL gave no token in time, so Bandwidth was not called.",
)


def _life(expires_in: Any) -> float:
    """Seconds that a token lasts, from what ``expires_in`` says; RFC 6749, section 5.1, only recommends it."""
    if isinstance(expires_in, str) and expires_in.isascii() and expires_in.isdecimal():
        expires_in = int(expires_in[:10])  # ten digits are more than a day already
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not expires_in > 0:
        return DEFAULT_LIFE
    return float(min(expires_in, LONGEST_LIFE))
