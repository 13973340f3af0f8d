"""Bandwidth's API for one account: the client authorizes every call, the gateway creates messages."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

import requests

from receiver.bandwidth.connection import Call, basic, exchange, make_session
from receiver.bandwidth.oauth import Token, TokenCache
from receiver.bandwidth.responses import NoToken, read_result
from receiver.core import times
from receiver.core.messages import OutboundMessage, Refused, SendResult
from receiver.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BandwidthAccount:
    """An account at Bandwidth and its credentials: OAuth 2.0 if there is a client id, otherwise Basic."""

    api_url: str
    """The base URL up to and including ``/api/v2``."""
    account_id: str
    client_id: str | None = None
    client_secret: str = field(default="", repr=False)
    token_url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    connect_timeout: float
    """Seconds."""
    read_timeout: float
    """Seconds. A call ends after the sum of both, whatever the network does."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The account that the settings name. They must have been read for sending."""
        return cls(
            api_url=settings.bandwidth_api_url,
            account_id=settings.bandwidth_account_id or "",
            client_id=settings.bandwidth_client_id,
            client_secret=settings.bandwidth_client_secret or "",
            token_url=settings.bandwidth_token_url,
            username=settings.bandwidth_username or "",
            password=settings.bandwidth_password or "",
            connect_timeout=settings.bandwidth_connect_timeout,
            read_timeout=settings.bandwidth_read_timeout,
        )

    @property
    def fingerprint(self) -> str:
        """Identifies these credentials in the database, which does not store them. It is derived from the secret."""
        user, secret = (self.client_id, self.client_secret) if self.client_id else (self.username, self.password)
        public = json.dumps([user, self.token_url if self.client_id else None, self.account_id])
        return hmac.new(secret.encode(), public.encode(), hashlib.sha256).hexdigest()

    @property
    def messages_url(self) -> str:
        """The URL at which the account's messages are created and searched."""
        return f"{self.api_url.rstrip('/')}/users/{quote(self.account_id, safe='')}/messages"


class Client:
    """Calls Bandwidth's API for one account; any number of threads may share it.

    ``clock`` gives monotonic seconds, for the idle time of a connection, the age of a token and the end of a call.
    """

    def __init__(self, account: BandwidthAccount, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._timeouts = (account.connect_timeout, account.read_timeout)
        self._session = make_session()
        self._basic = basic(account.username, account.password)
        self._tokens: TokenCache | None = None
        if account.client_id:
            self._tokens = TokenCache(
                url=account.token_url, client_id=account.client_id, client_secret=account.client_secret, clock=clock
            )

    @property
    def timeout(self) -> float:
        """Seconds within which every call ends, including the fetch of a token."""
        return sum(self._timeouts)

    def call(self, request: requests.Request) -> Call:
        """Carries out one request; nothing that Bandwidth or the network does makes this raise.

        A 401 to a token means that nothing was done, so the request is repeated once with a new token if there is time.
        Nothing is written when less than half of the read time-out is left, because the response might come too late.
        """
        ends = self._clock() + self.timeout
        write_until = ends - self._timeouts[1] / 2
        if self._tokens is None:
            return self._carry_out(request, [self._basic], ends=ends, write_until=write_until)
        try:
            token = self._tokens.get(until=write_until)
        except NoToken as error:
            return _not_begun(error)
        presented = [token.authorization]
        call = self._carry_out(request, presented, ends=ends, write_until=write_until)
        if call.status != 401:
            return call
        if (replacement := self._tokens.replacement(token, until=write_until)) is None:
            return call
        presented.append(replacement.authorization)
        repeated = self._carry_out(request, presented, ends=ends, write_until=write_until)
        return repeated if repeated.written else call

    def token(self) -> Token | None:
        """The token for calls, fetched if necessary; None for Basic authentication. Raises NoToken."""
        return self._tokens.get(until=self._clock() + self.timeout) if self._tokens else None

    def known_refusal(self) -> Refused | None:
        """The refusal that every call would now get without a request; None if a request would be made."""
        return self._tokens.known_refusal() if self._tokens else None

    def close(self) -> None:
        """Closes the idle connections."""
        self._session.close()
        if self._tokens is not None:
            self._tokens.close()

    def _carry_out(
        self, request: requests.Request, presented: Sequence[str], *, ends: float, write_until: float
    ) -> Call:
        """Makes one request with the last of the Authorization values that were ``presented`` for it so far."""
        request.headers["Authorization"] = presented[-1]
        call = Call(self._clock, write_until=write_until, secrets=presented)
        seconds = max(0.0, ends - self._clock())
        call.carry_out(lambda: exchange(self._session, request, timeouts=self._timeouts), seconds=seconds)
        return call


def _not_begun(error: NoToken) -> Call:
    call = Call(time.monotonic)
    call.error = error
    return call


class BandwidthGateway:
    """Creates messages at Bandwidth; any number of threads may share one gateway."""

    def __init__(self, account: BandwidthAccount, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = account.messages_url
        self._client = Client(account, clock=clock)
        self.fingerprint = account.fingerprint
        """BandwidthAccount.fingerprint of the account that it calls."""

    @property
    def timeout(self) -> float:
        """Seconds within which every call ends."""
        return self._client.timeout

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        """Sends ``message`` once; nothing that Bandwidth or the network does makes this raise.

        Bandwidth has no idempotency key: a ``Refused`` was certainly not sent, an ``Unknown`` may have been.
        """
        content = json.dumps(_request_fields(message, tag)).encode()
        return read_result(self._client.call(requests.Request("POST", self._url, data=content)))

    def known_refusal(self) -> Refused | None:
        """The refusal that every call would now get without a request; None if a request would be made."""
        return self._client.known_refusal()

    def close(self) -> None:
        """Closes the idle connections."""
        self._client.close()


def _request_fields(message: OutboundMessage, tag: str) -> dict[str, Any]:
    """The documented fields; those that the message lacks are left out."""
    fields = {
        "applicationId": message.application_id,
        "to": message.to,
        "from": message.sender,
        "text": message.text,
        "media": message.media,
        "tag": tag,
        "priority": message.priority,
        "expiration": message.expiration and _rfc3339(message.expiration),
    }
    return {name: value for name, value in fields.items() if value}


def _rfc3339(instant: datetime) -> str:
    """Formats an instant as Bandwidth does: ``2021-07-21T21:00:45.179Z``, without the fraction if it is zero."""
    return times.rfc3339(instant, timespec="milliseconds" if instant.microsecond else "seconds")
