"""Bandwidth's own records of messages, as its message search returns them: ``GET /messages``.

Bandwidth keeps them for 14 days, without tag and text, and answers 3,500 requests in 5 minutes to one address
(dev.bandwidth.com/apis/messaging, "List Messages"). It does not say whether a group has a row per recipient, so a row
is about a recipient only if it names one number.

A search changes nothing, so it is repeated after a failure. The loop that does this is our own: tenacity (9.2) would
replace only its counter, because both the pause and the decision to stop depend on the response, and importing it takes
80 ms.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import requests

from receiver.bandwidth.callbacks import NotAnEvent, check_text, read_error_code, read_key
from receiver.bandwidth.client import BandwidthAccount, Client
from receiver.bandwidth.connection import MAX_BODY, Call
from receiver.bandwidth.oauth import CREDENTIALS, NO_TOKEN
from receiver.bandwidth.responses import read_result
from receiver.core import times
from receiver.core.events import MAX_MESSAGE_ID, MAX_RECIPIENT, MAX_TYPE, Event, Unreadable
from receiver.core.json_text import LENIENT_DECODER
from receiver.core.messages import Accepted, Refused, Unknown
from receiver.errors import QueryRefused, RecordsUnavailable
from receiver.log import get_logger

log = get_logger(__name__)

SPACING = 0.1
"""Seconds between two requests: 3,000 in 5 minutes."""

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each further attempt, unless Bandwidth names a longer wait."""

LONGEST_WAIT = 600
"""Seconds; Bandwidth's limit counts 5 minutes."""

MAX_PAGES = 100
"""Bandwidth returns 10,000 rows at most, 100 on a page."""

MIN_SENDER = 5
"""Characters: Bandwidth refuses a search for a shorter sender."""

RECEIPT_EXPIRED = 9902

_TYPES = {
    "SENT": "message-sent",
    "DELIVERED": "message-delivered",
    "FAILED": "message-failed",
    "UNDELIVERED": "message-failed",
    "DLR_EXPIRED": "message-failed",
    "DLR_TIMEOUT": "message-failed",
}
"""The event type that a callback has for each status. SENDING is missing because the type message-sending means that
delivery receipts are on; like RECEIVED, QUEUED and any new status it only proves that Bandwidth has the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One readable row of the message search."""

    message_id: str
    status: str
    """Bandwidth's own word, verbatim."""
    sender: str
    """``""`` when the row names none."""
    recipients: tuple[str, ...]
    """The numbers that the row names; nearly always one."""
    recipient_count: int | None
    received_at: datetime | None
    """When Bandwidth received the request; not when anything happened to a recipient."""
    inbound: bool
    error_code: int
    """0 when there is none."""
    payload: str
    """The row's JSON, ASCII-escaped."""

    def event(self, *, only_recipient: str | None) -> Event:
        """The event that the row stands for. A callback that reports the same has the same identity.

        ``only_recipient`` is the message's recipient if it has only one.
        """
        named = self.recipients[0] if len(self.recipients) == 1 else only_recipient
        type_ = _TYPES.get(self.status, self.status)
        return Event(
            type=type_,
            message_id=self.message_id,
            recipient=named or "",
            error_code=_error_code_of(type_, self),
            payload=self.payload,
        )


HistoryRow = HistoryRecord | Unreadable


def _error_code_of(type_: str, record: HistoryRecord) -> int:
    if record.status.startswith("DLR_"):
        return RECEIPT_EXPIRED
    return 0 if type_ in ("message-sent", "message-delivered") else record.error_code


def read_record(row: Any) -> HistoryRow:
    """Parses a decoded row; unknown fields and statuses do no harm."""
    try:
        payload = json.dumps(row, allow_nan=False)
    except (ValueError, RecursionError):  # a number beyond all floats, or nested too deeply
        return Unreadable(payload="null", reason="The row cannot be written as JSON.")
    try:
        if not isinstance(row, dict):
            raise NotAnEvent("The row is not an object.")
        return HistoryRecord(
            message_id=read_key(row.get("messageId"), name="messageId", longest=MAX_MESSAGE_ID),
            status=read_key(row.get("messageStatus"), name="messageStatus", longest=MAX_TYPE),
            sender=row["sourceTn"] if isinstance(row.get("sourceTn"), str) else "",
            recipients=_recipients(row.get("destinationTn")),
            recipient_count=row["recipientCount"] if type(row.get("recipientCount")) is int else None,
            received_at=times.parse(row.get("receiveTime")),
            inbound=row.get("messageDirection") == "INBOUND",
            error_code=read_error_code(row.get("errorCode")),
            payload=payload,
        )
    except NotAnEvent as reason:
        return Unreadable(payload=payload, reason=str(reason))


def _recipients(value: Any) -> tuple[str, ...]:
    """The numbers in ``destinationTn``: one is documented; several are an array, or comma-separated as in a query."""
    numbers = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(
        check_text(number.strip(), name="destinationTn", longest=MAX_RECIPIENT)
        for number in numbers
        if isinstance(number, str) and number.strip()
    )


class SystemClock:
    """A clock of monotonic seconds that can also wait."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class MessageSearch:
    """Bandwidth's message search for one account; one query at a time.

    Every query raises RecordsUnavailable with one sentence that says what is wrong and what to do; it is a QueryRefused
    if Bandwidth may answer other queries.
    """

    def __init__(self, account: BandwidthAccount, *, clock: SystemClock | None = None) -> None:
        self._url = account.messages_url
        self._client = Client(account)
        self._clock = clock or SystemClock()
        self._next_turn = self._clock.now()

    def of_message(self, message_id: str) -> Iterator[HistoryRow]:
        """Returns all rows about one message."""
        rows = self._rows({"messageId": message_id})
        return (row for row in rows if isinstance(row, Unreadable) or row.message_id == message_id)

    def between(self, sender: str, recipients: Sequence[str], since: datetime, until: datetime) -> Iterator[HistoryRow]:
        """All rows about messages that Bandwidth received in that time from the sender to any of the recipients.

        Rows of other senders may be among them.
        """
        by_sender = {"sourceTn": sender} if len(sender) >= MIN_SENDER else {}
        return self._rows(by_sender | {"destinationTn": ",".join(recipients)} | time_span(since, until))

    def close(self) -> None:
        """Closes the idle connections."""
        self._client.close()

    def _rows(self, query: dict[str, str]) -> Iterator[HistoryRow]:
        token: str | None = None
        for _ in range(MAX_PAGES):
            page = self._page(query | ({"pageToken": token} if token else {}))
            for row in map(read_record, page.rows):
                if isinstance(row, Unreadable):
                    log.warning("unreadable row of the message search", reason=row.reason)
                    yield row
                elif not row.inbound:
                    yield row
            token = page.next_token
            if token is None:
                return
        raise QueryRefused("Bandwidth's message search never returns a last page; try again later.")

    def _page(self, query: dict[str, str]) -> "SearchPage":
        for pause in (*PAUSES, None):
            call = self._call(query)
            if (page := read_page(call)) is not None:
                return page
            failure = read_failure(call)
            seconds = max(pause or 0, failure.retry_after or 0)
            if pause is None or failure.is_final or seconds > LONGEST_WAIT:
                raise (QueryRefused if failure.status == 400 else RecordsUnavailable)(failure.sentence)
            log.warning("retrying the message search", bandwidth_status=failure.status, seconds=seconds)
            self._clock.wait(seconds)
        raise AssertionError("unreachable")

    def _call(self, query: dict[str, str]) -> Call:
        self._clock.wait(max(0.0, self._next_turn - self._clock.now()))
        self._next_turn = self._clock.now() + SPACING
        return self._client.call(search_request(self._url, query))


def search_request(url: str, query: dict[str, str]) -> requests.Request:
    """The request of a search. A plus sign must be %2B (Bandwidth, "List Messages"), and no blank may become one."""
    encoded = urlencode(query, quote_via=quote, safe=",")
    return requests.Request("GET", f"{url}?{encoded}", headers={"Content-Type": None})


def time_span(since: datetime, until: datetime) -> dict[str, str]:
    """The parameters of a search for messages received in that time. Any precision but milliseconds is a 400."""
    return {
        "fromDateTime": times.rfc3339(since, timespec="milliseconds"),
        "toDateTime": times.rfc3339(until, timespec="milliseconds"),
    }


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page of rows, and the token of the next."""

    rows: Sequence[Any]
    next_token: str | None


def read_page(call: Call) -> SearchPage | None:
    """The page of a 200; None for any other response. Its object may be the only element of an array."""
    if call.status != 200 or call.body is None or len(call.body) > MAX_BODY:
        return None
    try:
        # A bad byte in one row says nothing about the others.
        body = LENIENT_DECODER.decode(call.body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    rows = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        return None
    page_info = body.get("pageInfo")
    token = page_info.get("nextPageToken") if isinstance(page_info, dict) else None
    return SearchPage(rows, token if isinstance(token, str) and token else None)


@dataclass(frozen=True, slots=True)
class SearchFailure:
    """The reason why a search returned no page, and the remedy."""

    status: int | None
    """Bandwidth's HTTP status; None if there was no response."""
    found: str
    remedy: str
    retry_after: int | None
    """Seconds, from Retry-After."""
    is_about_credentials: bool = False
    """Whether there is no token because Bandwidth refuses the client."""

    @property
    def sentence(self) -> str:
        return f"{self.found}: {self.remedy}"

    @property
    def is_final(self) -> bool:
        """Whether repeating the query would fail the same way."""
        is_refused = self.status is not None and self.status // 100 == 4 and self.status != 429
        return is_refused or self.is_about_credentials


TRY_LATER = "try again later."

_REMEDIES = {
    200: "the response is not the documented JSON, or is too long: check BANDWIDTH_API_URL.",
    401: "check BANDWIDTH_ACCOUNT_ID and the credentials: BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET.",
    403: "these credentials may not search messages: ask Bandwidth to allow it.",
    404: "check BANDWIDTH_API_URL and BANDWIDTH_ACCOUNT_ID.",
    429: "too many requests came from this address: try again in a few minutes.",
}


def read_failure(call: Call) -> SearchFailure:
    """Returns why a call that returned no page failed."""
    result = read_result(call)
    if isinstance(result, Accepted):
        result = Unknown(status=202)
    status, remedy = result.status, result.description or TRY_LATER
    if status is not None:
        found, remedy = f"Bandwidth's message search returned {status}", _REMEDIES.get(status, remedy)
    elif result.type in (CREDENTIALS, NO_TOKEN):
        found = "There is no token for Bandwidth's message search"
    elif isinstance(result, Refused):
        found = "Bandwidth's message search cannot be reached"
    else:
        found, remedy = "Bandwidth's message search did not respond in time, or the connection broke", TRY_LATER
    is_about_credentials = result.type == CREDENTIALS and status is None
    retry_after = result.retry_after if isinstance(result, Refused) else None
    return SearchFailure(status, found, remedy, retry_after, is_about_credentials)
