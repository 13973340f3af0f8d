"""Asks a server one harmless question and keeps what came back: Bandwidth as we do, or ourselves as Bandwidth does.

Nothing is tried again, nothing is followed, and everything has ended after a given time.
"""

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import requests

from receiver.bandwidth.client import Account, Client
from receiver.bandwidth.connection import Call, exchange, make_session
from receiver.bandwidth.history import Trouble, asking, read_page, read_trouble, with_milliseconds
from receiver.bandwidth.responses import causes_of, read_answer
from receiver.core import times

NOTHING = b"[]"
"""A callback without events: it is answered like any other, and nothing is stored of it."""

Credentials = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back."""

    call: Call
    asked_at: datetime
    answered_at: datetime

    @property
    def status(self) -> int | None:
        """None if there was no whole answer; then ``failure`` says why."""
        return None if self.call.body is None else self.call.status

    @property
    def failure(self) -> str:
        """Why there was no whole answer, in one word: ``tls-failed``, ``timed-out`` ..."""
        if self.call.status is not None:
            return "cut-short"
        return getattr(read_answer(self.call), "type", None) or "no-answer"

    @property
    def complaint(self) -> str | None:
        """Bandwidth's sentence about what is wrong; None if whatever answered has none."""
        return getattr(read_answer(self.call), "description", None)

    @property
    def distrust(self) -> str:
        """What is wrong with the server's certificate; empty if nothing is known."""
        found = (each for each in causes_of(self.call.error) if isinstance(each, ssl.SSLError))
        return next((getattr(each, "verify_message", "") or str(each.reason or "") for each in found), "")

    def headers(self, name: str) -> Sequence[str]:
        """All headers of that name."""
        reply = self.call.reply
        return [str(each) for each in reply.headers.get_all(name, [])] if reply and reply.headers else []

    @property
    def date(self) -> datetime | None:
        """The server's clock when it answered, without the fraction of the second (RFC 9110, 6.6.1).

        None if that cannot be read."""
        try:
            date = parsedate_to_datetime(self.call.header("Date"))
            read = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
        return read if times.EARLIEST_YEAR <= read.year <= times.LATEST_YEAR else None

    @property
    def took(self) -> timedelta:
        return self.answered_at - self.asked_at


def ask_bandwidth(client: Client, account: Account) -> Reply:
    """Asks for the newest message of the last hour."""
    now = times.now()
    span = {"fromDateTime": with_milliseconds(now - timedelta(hours=1)), "toDateTime": with_milliseconds(now)}
    url = asking(account.messages_url, span | {"limit": "1"})
    call = client.call(requests.Request("GET", url, headers={"Content-Type": None}))
    return Reply(call=call, asked_at=now, answered_at=times.now())


def trouble_of(reply: Reply) -> Trouble | None:
    """What stands in the way of asking Bandwidth; None if it gave its records."""
    return None if read_page(reply.call) is not None else read_trouble(reply.call)


def post_nothing(url: str, *, credentials: Credentials | None, seconds: float) -> Reply:
    """Posts to a callback URL as Bandwidth does, but no event."""
    call, asked_at = Call(time.monotonic), times.now()
    request = requests.Request("POST", url, data=NOTHING)
    with make_session(credentials) as session:
        call.carry_out(lambda: exchange(session, request, timeouts=(seconds, seconds)), seconds=seconds)
    return Reply(call=call, asked_at=asked_at, answered_at=times.now())
