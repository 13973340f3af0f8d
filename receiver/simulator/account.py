"""The simulated account: its tokens, its rate and queue, its search quota, its record file, and what it accepted."""

import hmac
import json
import math
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from receiver.core.times import now
from receiver.simulator.callbacks import (
    AcceptedMessage,
    SendWindow,
    inbound_callback,
    new_id,
    plan_callbacks,
    timestamp,
)
from receiver.simulator.delivery import Delivery
from receiver.simulator.switches import SimulatorOptions, Switchboard, Switches
from receiver.simulator.validation import CreateMessageRequest, queue_full, quota_exceeded


class TokenIssuer:
    """Issues tokens to the account's client and revokes them; safe for use from several threads.

    Bandwidth does not say what a token looks like; to a client it is opaque.
    """

    def __init__(
        self,
        *,
        client_id: str | None,
        client_secret: str | None,
        lifetime: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.lifetime = lifetime
        """How many seconds a token is valid."""
        self._client_id, self._client_secret = client_id, client_secret
        self._clock = clock
        self._lock = threading.Lock()
        self._expiries: dict[str, float] = {}
        """When each token expires; the oldest token first."""

    def knows_client(self, *, client_id: str, client_secret: str) -> bool:
        """Whether these are the client's own id and secret."""
        pairs = ((client_id, self._client_id), (client_secret, self._client_secret))
        return all(is_expected(given, expected) for given, expected in pairs)

    def issue(self) -> str:
        """Returns a new token; earlier ones stay valid."""
        token = secrets.token_urlsafe(48)
        with self._lock:
            self._drop_expired()
            self._expiries[token] = self._clock() + self.lifetime
        return token

    def is_valid(self, token: str) -> bool:
        """Whether the token was issued, and has neither expired nor been revoked."""
        with self._lock:
            expiry = self._expiries.get(token)
            return expiry is not None and self._clock() < expiry

    def revoke(self) -> int:
        """Revokes every token; returns how many were still valid."""
        with self._lock:
            self._drop_expired()
            revoked = len(self._expiries)
            self._expiries.clear()
        return revoked

    def _drop_expired(self) -> None:
        now = self._clock()
        for token in [token for token, expiry in self._expiries.items() if expiry <= now]:
            del self._expiries[token]


def is_expected(given: str, expected: str | None) -> bool:
    """Whether a credential is the expected one, compared in constant time; None expects anything but ""."""
    if expected is None:
        return given != ""
    return hmac.compare_digest(given.encode(), expected.encode())


MAX_MESSAGES = 10_000
"""How many accepted messages are remembered."""

APPLICATION_ID = "93de2206-9669-4e07-948d-329f4b722ee2"
"""The application whose number receives messages; the one in Bandwidth's examples."""


class MessageQueue:
    """The account's rate in messages per second, and the queue of what exceeds it; None sets no rate.

    Bandwidth, "Rate limits" guide: a group counts once per recipient and a long text once per segment. What exceeds
    the rate is accepted and waits; what does not fit into the queue is refused as a whole.
    """

    def __init__(self, *, rate: float | None, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate, self._seconds, self._clock = rate, seconds, clock
        self._lock = threading.Lock()
        self._free_at = 0.0
        """When all accepted messages will have gone out."""

    @property
    def waiting(self) -> float:
        """The number of messages, as the rate counts them, that have not gone out yet."""
        return max(0.0, self._free_at - self._clock()) * (self._rate or 0.0)

    def admit(self, units: int, *, retry_after: int | None) -> SendWindow:
        """Queues a message; raises Refusal 429 if it does not fit. An empty queue takes a message of any size."""
        if self._rate is None:
            return SendWindow()
        with self._lock:
            present = self._clock()
            starts = max(self._free_at, present)
            ends = starts + units / self._rate
            if starts > present and ends - present > self._seconds:
                raise queue_full(rate=self._rate, seconds=self._seconds, retry_after=retry_after)
            self._free_at = ends
        return SendWindow(starts - present, ends - present)


class SearchQuota:
    """At most ``limit`` GET /messages in any ``seconds``.

    Bandwidth counts by source address; all requests to the simulator come from this machine.
    """

    def __init__(self, *, limit: int, seconds: float) -> None:
        self._limit, self._seconds = limit, seconds
        self._lock = threading.Lock()
        self._requested_at: deque[float] = deque()

    def use(self) -> None:
        """Counts a request; raises Refusal 429 with the seconds until the next one is allowed."""
        with self._lock:
            present = monotonic()
            while self._requested_at and self._requested_at[0] <= present - self._seconds:
                self._requested_at.popleft()
            if len(self._requested_at) >= self._limit:
                raise quota_exceeded(retry_after=math.ceil(self._requested_at[0] + self._seconds - present))
            self._requested_at.append(present)


class RecordFile:
    """A file with a JSON line for every accepted message.

    The operating system has each line before the response is written, so the file is complete however the
    simulator ends.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def add(self, message: AcceptedMessage) -> None:
        request = message.request
        line = {
            "id": message.id,
            "tag": request.tag,
            "to": request.to,
            "from": request.sender,
            "units": request.units,
            "acceptedAt": timestamp(message.time),
            "monotonic": message.accepted_at,
        }
        self._file.write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


class SimulatedAccount:
    """The account's credentials and tokens, its switchboard, its accepted messages and the callbacks about them."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.switchboard = Switchboard(options.switches)
        self.messages: deque[AcceptedMessage] = deque(maxlen=MAX_MESSAGES)
        """The accepted messages, oldest first."""
        self.tokens = TokenIssuer(
            client_id=options.client_id, client_secret=options.client_secret, lifetime=options.token_seconds
        )
        self.queue = MessageQueue(rate=options.rate, seconds=options.queue_seconds)
        self.quota = SearchQuota(limit=options.searches, seconds=options.search_seconds)
        self._options = options
        self._random = Random(options.seed)  # noqa: S311 - it draws delays, nothing that must not be guessed
        self.delivery = Delivery(options, random=self._random)
        self._record = RecordFile(options.record) if options.record else None
        self._counting = threading.Lock()
        self._message_responses: Counter[int] = Counter()
        self._token_responses: Counter[int] = Counter()

    def start(self) -> None:
        self.delivery.start()

    def stop(self) -> None:
        """Releases held requests and drops undelivered callbacks."""
        self.switchboard.stop()
        self.delivery.stop()

    def close(self) -> None:
        """Closes the record file, once no request is under way."""
        if self._record:
            self._record.close()

    def is_own_id(self, account_id: str) -> bool:
        """Whether this is the account's id."""
        return is_expected(account_id, self._options.account_id)

    def knows_user(self, *, username: str, password: str) -> bool:
        """Whether these are the username and password of the account's user."""
        pairs = ((username, self._options.username), (password, self._options.password))
        return all(is_expected(given, expected) for given, expected in pairs)

    def count_message_response(self, status: int) -> None:
        with self._counting:
            self._message_responses[status] += 1

    def count_token_response(self, status: int) -> None:
        with self._counting:
            self._token_responses[status] += 1

    @property
    def message_responses(self) -> Counter[int]:
        """The number of responses to requests to send, by status."""
        with self._counting:
            return self._message_responses.copy()

    @property
    def token_responses(self) -> Counter[int]:
        """The number of responses to requests for a token, by status."""
        with self._counting:
            return self._token_responses.copy()

    def accept(
        self, request: CreateMessageRequest, *, headers: Mapping[str, str], body: Any, switches: Switches
    ) -> AcceptedMessage:
        """Accepts a message; returns once the callbacks that precede the response have been attempted.

        ``body`` is the JSON that was received. Raises Refusal 429 if the message does not fit into the queue.
        """
        window = self.queue.admit(request.units, retry_after=switches.retry_after)
        at = now()
        accepted = AcceptedMessage(
            id=new_id(at),
            time=at,
            request=request,
            headers=headers,
            body=body,
            window=window,
            index_seconds=switches.index_seconds,
        )
        planned = plan_callbacks(
            accepted, shape=switches.callbacks, gap=self._draw_gap, unordered=self._options.unordered
        )
        message = replace(accepted, timelines=planned.timelines, callbacks=planned.callbacks)
        self.messages.append(message)
        if self._record:
            self._record.add(message)
        for chain in planned.before_response:
            self.delivery.submit(chain)
        for chain in planned.before_response:
            chain[0].attempted.wait()
        for chain in planned.after_response:
            self.delivery.submit(chain)
        return message

    def receive(self, *, sender: str, to: Sequence[str], text: str, media: Sequence[str] = ()) -> str:
        """Posts ``message-received`` about a message to the first number of ``to``; returns the message's id."""
        callback = inbound_callback(sender=sender, to=to, text=text, media=media, application_id=APPLICATION_ID)
        self.delivery.submit([callback])
        return str(callback.events[0]["message"]["id"])

    def _draw_gap(self) -> float:
        return self._random.uniform(*self._options.pace)
