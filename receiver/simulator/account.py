"""The simulated account: its rate and message queue, its search quota, its record file, and the messages it accepted."""

import json
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from receiver.simulator.callbacks import Chain, Message, Turn, callback, inbound_event, new_id, plan
from receiver.simulator.clock import now, written
from receiver.simulator.delivery import Delivery
from receiver.simulator.options import SimulatorOptions
from receiver.simulator.switches import CallbackShape, Switchboard, Switches
from receiver.simulator.tokens import Tokens, is_expected
from receiver.simulator.validation import MessageRequest, asked_too_often, queue_full


class Queue:
    """``rate`` None: everything goes out at once."""

    def __init__(self, *, rate: float | None, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._seconds, self._clock = rate, seconds, clock
        self._lock = threading.Lock()
        self._free_at = 0.0
        """When all that was accepted has gone out."""

    @property
    def waiting(self) -> float:
        """How many messages, as the rate counts them, have not gone out yet."""
        return max(0.0, self._free_at - self._clock()) * (self._rate or 0.0)

    def admit(self, units: int, *, retry_after: int | None) -> Turn:
        """Raises Refusal 429 if they do not fit; an empty queue takes a message of any size."""
        if self._rate is None:
            return Turn()
        with self._lock:
            now = self._clock()
            starts = max(self._free_at, now)
            ends = starts + units / self._rate
            if starts > now and ends - now > self._seconds:
                raise queue_full(rate=self._rate, seconds=self._seconds, retry_after=retry_after)
            self._free_at = ends
        return Turn(starts - now, ends - now)


class Quota:
    """At most ``most`` requests in any ``seconds``."""

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._asked: deque[float] = deque()

    def use(self) -> None:
        """Counts a request; raises Refusal 429 with the time until the next one is answered."""
        with self._lock:
            now = monotonic()
            while self._asked and self._asked[0] <= now - self._seconds:
                self._asked.popleft()
            if len(self._asked) >= self._most:
                raise asked_too_often(retry_after=math.ceil(self._asked[0] + self._seconds - now))
            self._asked.append(now)


class Record:
    """A JSON line for every accepted message, with the operating system before the request is answered."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def add(self, message: Message) -> None:
        request = message.request
        line = {
            "id": message.id,
            "tag": request.tag,
            "to": request.to,
            "from": request.sender,
            "units": request.units,
            "acceptedAt": written(message.time),
            "monotonic": message.accepted_at,
        }
        self._file.write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


MOST_REMEMBERED = 10_000  # messages
APPLICATION = "93de2206-9669-4e07-948d-329f4b722ee2"
"""Whose number receives messages; the one in Bandwidth's examples."""


class Account:
    """Credentials and tokens, the switchboard, accepted messages and the callbacks about them."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.switchboard = Switchboard(options.switches)
        self.messages: deque[Message] = deque(maxlen=MOST_REMEMBERED)
        self.answers: Counter[int] = Counter()
        """How many requests to send were answered with which status."""
        self.token_answers: Counter[int] = Counter()
        """How many requests for a token were answered with which status."""
        self.tokens = Tokens(
            client_id=options.client_id, client_secret=options.client_secret, seconds=options.token_seconds
        )
        self._counting = threading.Lock()
        self._options = options
        self._random = Random(options.seed)  # noqa: S311 - it draws delays, nothing that must not be guessed
        self.queue = Queue(rate=options.rate, seconds=options.queue_seconds)
        self.quota = Quota(most=options.searches, seconds=options.search_seconds)
        self._record = Record(options.record) if options.record else None
        self.delivery = Delivery(options, random=self._random)

    def start(self) -> None:
        self.delivery.start()

    def stop(self) -> None:
        self.switchboard.stop()
        self.delivery.stop()

    def close(self) -> None:
        """Once no request is under way."""
        if self._record:
            self._record.close()

    def is_own_id(self, account_id: str) -> bool:
        """Whether this is the account's id."""
        return is_expected(account_id, self._options.account_id)

    def knows_user(self, *, username: str, password: str) -> bool:
        """Whether these are the username and password of the account's user."""
        pairs = ((username, self._options.username), (password, self._options.password))
        return all(is_expected(given, expected) for given, expected in pairs)

    def count(self, status: int) -> None:
        """Counts an answer to a request to send."""
        with self._counting:
            self.answers[status] += 1

    def count_token(self, status: int) -> None:
        """Counts an answer to a request for a token."""
        with self._counting:
            self.token_answers[status] += 1

    def accept(
        self, request: MessageRequest, *, headers: Mapping[str, str], received: Any, switches: Switches
    ) -> Message:
        """Accepts a message; returns when the callbacks that precede the answer have been attempted.

        Raises Refusal 429 if it does not fit into the queue.
        """
        turn = self.queue.admit(request.units, retry_after=switches.retry_after)
        at = now()
        message = Message(
            id=new_id(at),
            time=at,
            request=request,
            headers=headers,
            received=received,
            turn=turn,
            index_seconds=switches.index_seconds,
        )
        planned = plan(message, shape=switches.callbacks, gap=self._gap)
        first, then = self._arranged(planned.before_answer), self._arranged(planned.after)
        message.callbacks.extend(each for chain in first + then for each in chain)
        self.messages.append(message)
        if self._record:
            self._record.add(message)
        for chain in first:
            self.delivery.submit(chain)
        for chain in first:
            chain[0].attempted.wait()
        for chain in then:
            self.delivery.submit(chain)
        return message

    def receive(self, *, sender: str, to: Sequence[str], text: str, media: Sequence[str] = ()) -> str:
        """Somebody writes to one of the account's numbers; the id of that message."""
        event = inbound_event(sender=sender, to=to, text=text, media=media, application_id=APPLICATION)
        self.delivery.submit([callback([event], delay=0.0, shape=CallbackShape.NORMAL)])
        return str(event["message"]["id"])

    def _gap(self) -> float:
        return self._random.uniform(*self._options.pace)

    def _arranged(self, chains: list[Chain]) -> list[Chain]:
        if self._options.unordered:
            return [[each] for chain in chains for each in chain]
        return chains
