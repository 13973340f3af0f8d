"""Bandwidth's OAuth 2.0 tokens: the client-credentials grant (RFC 6749, section 4.4), one token per process.

Four libraries for this grant were tried: Authlib 1.9, requests-oauthlib 2.0, requests-oauth2client 1.8 and
requests_auth 8.0. With each of them 20 threads fetch 20 tokens at once, every caller repeats a fetch that failed, and a
response that trickles in never ends.
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
"""How long before its end a token is renewed; half of its life if that is less."""

DEFAULT_LIFE, LONGEST_LIFE = 60.0, 86_400.0
"""Seconds that a token is used if the response does not say how long it lasts, and at most."""

YOUNG_SECONDS = 10.0
"""Seconds. A token younger than this is not replaced after a 401: the next would fare no better."""

FIRST_MEMORY, LONGEST_MEMORY = 1.0, 30.0
"""Seconds for which a failed fetch is remembered, doubling while fetches fail."""

LONGEST_RETRY_AFTER = 300.0
"""The longest Retry-After of the token endpoint that is obeyed; Bandwidth's other limits count 5 minutes."""

CREDENTIALS, NO_TOKEN = "credentials", "no-token"
"""Error types: Bandwidth refuses the client id and secret, or there is no token for another reason."""

REFUSALS = (400, 401, 403)
"""Statuses of the token endpoint that concern the client (RFC 6749, section 5.2)."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
"""The tokens that a header can carry; RFC 6750, section 2.1, allows even fewer."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and its times, in monotonic seconds."""

    text: str = field(repr=False)
    fetched_at: float
    """When the token was requested; it cannot be older."""
    renew_at: float
    ends_at: float

    @property
    def life(self) -> float:
        """Seconds from the request to its end."""
        return self.ends_at - self.fetched_at

    @property
    def authorization(self) -> str:
        """The header's value (RFC 6750, section 2.1)."""
        return f"Bearer {self.text}"


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failed fetch, remembered so that other threads need not try it."""

    refused: Refused
    seconds: float
    """How long it is remembered unless Retry-After is longer; the next failure is remembered twice as long."""
    until: float


class TokenCache:
    """The token of this process, fetched when needed; any number of threads may share it.

    A fetch runs in a thread of its own. All threads wait for it if there is no usable token; while the old token is
    still valid, none waits. ``clock`` gives monotonic seconds.
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
        """A token that is valid now. Raises NoToken if there is none by ``until``, in seconds of the clock."""
        has_waited = False
        with self._changed:
            known = self._token
            while True:
                now, token = self._clock(), self._token
                # A token that was waited for is used even if it has ended on its way here: a 401 would show that.
                if token and (now < token.renew_at or token is not known):
                    return token
                if not self._is_fetching and self._remembered(now) is None:
                    has_waited = True
                    self._begin_fetch()
                if token and now < token.ends_at:
                    return token
                if not self._is_fetching and (refused := self._remembered(now)) is not None:
                    raise NoToken(replace(refused, is_remembered=not has_waited))
                if now >= until:
                    raise NoToken(_NOT_IN_TIME)
                has_waited = True
                self._changed.wait(until - now)

    def known_refusal(self) -> Refused | None:
        """The refusal with which get() would fail now without a request; None if it would make one, or has a token."""
        with self._changed:
            now = self._clock()
            has_token = self._token is not None and now < self._token.ends_at
            return None if has_token or self._is_fetching else self._remembered(now)

    def replacement(self, refused: Token, *, until: float) -> Token | None:
        """A token to use instead of one that got a 401.

        None if there is none by ``until``, or if the refused one is so young that another would fare no better.
        """
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
            call.carry_out(self._post, seconds=FETCH_SECONDS)
            found = _read_token(call, fetched_at=begun)
        finally:
            with self._changed:
                self._end_fetch(found)
        if isinstance(found, Token):
            log.info("token fetched", good_for_seconds=round(found.life))
        else:
            log.warning("token not fetched", bandwidth_status=call.status, error_type=found.type)

    def _post(self) -> bytes | None:
        # Like Bandwidth's own clients, which do not form-encode id and secret as RFC 6749, section 2.3.1, demands.
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
            wait = min(found.retry_after or 0, LONGEST_RETRY_AFTER)
            self._failure = _Failure(found, seconds, self._clock() + max(seconds, wait))
        self._changed.notify_all()


def _read_token(call: Call, *, fetched_at: float) -> Token | Refused:
    """The token, or why there is none, from the response of the token endpoint. No message was sent either way."""
    body, status = json_object(call.body), call.status
    text = body.get("access_token")
    if status is not None and status // 100 == 2 and isinstance(text, str) and _TOKEN.fullmatch(text):
        life = _life(body.get("expires_in"))
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
        description=f"BANDWIDTH_TOKEN_URL returned {wrong}, so Bandwidth was not called.",
        retry_after=retry_after(call) if status == 429 else None,
    )


_NOT_IN_TIME = Refused(
    because=RefusedBecause.UNREACHABLE,
    type=NO_TOKEN,
    description="BANDWIDTH_TOKEN_URL issued no token in time, so Bandwidth was not called.",
)


def _life(expires_in: Any) -> float:
    """Returns for how many seconds a token lasts, by ``expires_in``, which RFC 6749, section 5.1, only recommends."""
    if isinstance(expires_in, str) and expires_in.isascii() and expires_in.isdecimal():
        expires_in = int(expires_in[:10])  # ten digits are more than a day already
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not expires_in > 0:
        return DEFAULT_LIFE
    return float(min(expires_in, LONGEST_LIFE))
