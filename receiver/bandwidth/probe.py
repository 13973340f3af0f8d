"""Probes for `receiver doctor`: one harmless request to Bandwidth, or to our own callback URL as Bandwidth makes it.

Nothing is retried, no redirect is followed, and every probe ends within a given time.
"""

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import requests

from receiver.bandwidth.client import BandwidthAccount, Client
from receiver.bandwidth.connection import Call, exchange, make_session
from receiver.bandwidth.history import SearchFailure, read_failure, read_page, search_request, time_span
from receiver.bandwidth.responses import causes_of, read_result
from receiver.core import times

NOTHING = b"[]"
"""A callback without events: it gets the usual response, and nothing is stored."""

Credentials = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResponse:
    """The response to a probe, whole or not."""

    call: Call
    asked_at: datetime
    answered_at: datetime

    @property
    def status(self) -> int | None:
        """The HTTP status; None if there was no whole response, and then ``failure`` says why."""
        return None if self.call.body is None else self.call.status

    @property
    def failure(self) -> str:
        """Why there was no whole response, in one word: ``tls-failed``, ``timed-out`` ..."""
        if self.call.status is not None:
            return "cut-short"
        return getattr(read_result(self.call), "type", None) or "no-answer"

    @property
    def complaint(self) -> str | None:
        """Bandwidth's sentence about what is wrong; None if the response has none."""
        return getattr(read_result(self.call), "description", None)

    @property
    def distrust(self) -> str:
        """The problem with the server's certificate; ``""`` if none is known."""
        found = (each for each in causes_of(self.call.error) if isinstance(each, ssl.SSLError))
        return next((getattr(each, "verify_message", "") or str(each.reason or "") for each in found), "")

    def headers(self, name: str) -> Sequence[str]:
        """All headers of that name."""
        reply = self.call.reply
        return [str(each) for each in reply.headers.get_all(name, [])] if reply and reply.headers else []

    @property
    def date(self) -> datetime | None:
        """The Date header: the server's clock, without the fraction of the second (RFC 9110, 6.6.1).

        None if it is missing or cannot be read.
        """
        try:
            date = parsedate_to_datetime(self.call.header("Date"))
            read = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
        return read if times.EARLIEST_YEAR <= read.year <= times.LATEST_YEAR else None

    @property
    def took(self) -> timedelta:
        return self.answered_at - self.asked_at


def ask_bandwidth(client: Client, account: BandwidthAccount) -> ProbeResponse:
    """Searches for the newest message of the last hour."""
    now = times.now()
    query = time_span(now - timedelta(hours=1), now) | {"limit": "1"}
    call = client.call(search_request(account.messages_url, query))
    return ProbeResponse(call=call, asked_at=now, answered_at=times.now())


def search_failure(response: ProbeResponse) -> SearchFailure | None:
    """Returns why the search of ask_bandwidth() failed; None if it returned a page."""
    return None if read_page(response.call) is not None else read_failure(response.call)


def post_nothing(url: str, *, credentials: Credentials | None, seconds: float) -> ProbeResponse:
    """Posts a callback without events to a callback URL, as Bandwidth does."""
    call, asked_at = Call(time.monotonic), times.now()
    request = requests.Request("POST", url, data=NOTHING)
    with make_session(credentials) as session:
        call.carry_out(lambda: exchange(session, request, timeouts=(seconds, seconds)), seconds=seconds)
    return ProbeResponse(call=call, asked_at=asked_at, answered_at=times.now())
