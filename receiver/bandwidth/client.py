"""The gateway: sends one message to Bandwidth and says truthfully what became of the request."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from receiver.bandwidth.answers import MAX_BODY, read_answer
from receiver.bandwidth.wire import Call, Pool, SecurePool
from receiver.core.messages import Answer, OutboundMessage

HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "bandwidth-receiver",
}
POOL_SIZE = 256  # connections kept; a call beyond them still gets one of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account at Bandwidth, and how it is called."""

    api_url: str
    """The base up to and with ``/api/v2``."""
    account_id: str
    username: str
    password: str = field(repr=False)
    connect_timeout: float
    """Seconds."""
    read_timeout: float
    """Seconds. A call ends after the sum of both, whatever the network does."""

    @property
    def timeouts(self) -> tuple[float, float]:
        return (self.connect_timeout, self.read_timeout)

    @property
    def messages_url(self) -> str:
        return messages_url(self.api_url, self.account_id)

    def session(self) -> requests.Session:
        return make_session((self.username, self.password))


class BandwidthGateway:
    """Creates messages at Bandwidth; one gateway is shared by any number of threads.

    ``clock`` (monotonic seconds) tells how long a connection has been idle.
    """

    def __init__(self, account: Account, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = account.messages_url
        self._timeouts = account.timeouts
        self._clock = clock
        self._session = account.session()

    @property
    def timeout(self) -> float:
        """Seconds after which every call has ended."""
        return sum(self._timeouts)

    def create_message(self, message: OutboundMessage, *, tag: str) -> Answer:
        """Sends ``message`` once; nothing that the network or Bandwidth can do makes this raise.

        Bandwidth has no idempotency key: a ``Refused`` was certainly not sent, an ``Unknown`` may have been.
        """
        call = Call(self._clock)
        call.carry_out(lambda: self._exchange(message, tag), seconds=self.timeout)
        return read_answer(call)

    def close(self) -> None:
        """Closes the idle connections."""
        self._session.close()

    def _exchange(self, message: OutboundMessage, tag: str) -> bytes | None:
        content = json.dumps(_request_fields(message, tag)).encode()
        return exchange(self._session, requests.Request("POST", self._url, data=content), timeouts=self._timeouts)


def messages_url(api_url: str, account_id: str) -> str:
    """Where the account's messages are created, and searched."""
    return f"{api_url.rstrip('/')}/users/{quote(account_id, safe='')}/messages"


def exchange(session: requests.Session, request: requests.Request, *, timeouts: tuple[float, float]) -> bytes | None:
    """Carries out one request of a Call; the answer's body, or None unless all of it was read."""
    prepared = session.prepare_request(request)
    # Not Session.send: it keeps cookies, and reads the whole body of a redirect that it does not even follow.
    adapter = session.get_adapter(request.url)
    with adapter.send(prepared, stream=True, timeout=timeouts) as response:
        # Leaving this block closes the connection, unless the body was read to its very end. That is what a
        # 1xx needs: a final answer may follow it (RFC 9110, 15.2), and must not become the next call's.
        if response.status_code < 200:
            return None
        body: bytes = response.raw.read(MAX_BODY + 1)
        return None if response.raw.length_remaining else body


def _request_fields(message: OutboundMessage, tag: str) -> dict[str, Any]:
    """The documented fields; what the message does not have is left out."""
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
    """As Bandwidth writes it: ``2021-07-21T21:00:45.179Z``, without the fraction when there is none."""
    timespec = "milliseconds" if instant.microsecond else "seconds"
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def make_session(credentials: tuple[str, str] | None) -> requests.Session:
    """A session for ``exchange``: the environment changes nothing, and nothing is tried again by itself.

    ``credentials`` are a user and a password; without them it sends none.
    """
    adapter = HTTPAdapter(pool_maxsize=POOL_SIZE, max_retries=0)
    adapter.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc and no certificates that the environment names
    if credentials is not None:
        session.auth = HTTPBasicAuth(*(each.encode() for each in credentials))  # text would be sent as Latin-1
    session.headers.update(HEADERS)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
