"""Asks Bandwidth for its own records of messages: ``GET /messages``. Asking changes nothing, so it is tried again.

Bandwidth keeps them for 14 days, without tag and text, and answers 3,500 requests in 5 minutes to one address
(dev.bandwidth.com/apis/messaging, "List Messages").

Bandwidth's own records of messages: from a row of ``GET /messages`` to an event (dev.bandwidth.com/apis/messaging).

Bandwidth does not say whether a group has a row per recipient; so a row says something about a recipient only if it
names one number. The records do not have our tag.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import requests

from receiver.bandwidth.callbacks import NotAnEvent, check_text, read_error_code, read_key
from receiver.bandwidth.client import Account, Client
from receiver.bandwidth.connection import MAX_BODY, Call
from receiver.bandwidth.oauth import CREDENTIALS, NO_TOKEN
from receiver.bandwidth.responses import read_answer
from receiver.core import times
from receiver.core.events import MAX_MESSAGE_ID, MAX_RECIPIENT, MAX_TYPE, Event, Unreadable
from receiver.core.json_text import LENIENT_DECODER
from receiver.core.messages import Accepted, Refused, Unknown
from receiver.errors import QuestionRefused, RecordsUnavailable
from receiver.log import get_logger

RECEIPT_EXPIRED = 9902

_TYPES = {
    "SENT": "message-sent",
    "DELIVERED": "message-delivered",
    "FAILED": "message-failed",
    "UNDELIVERED": "message-failed",
    "DLR_EXPIRED": "message-failed",
    "DLR_TIMEOUT": "message-failed",
}
"""What would be told by a callback, in its words. SENDING is not among them, because the type message-sending means
that delivery receipts are on; this word, RECEIVED, QUEUED and any new one only prove that Bandwidth has the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One readable row."""

    message_id: str
    status: str
    """Bandwidth's own word, verbatim."""
    sender: str
    """``""`` when the row names none."""
    recipients: tuple[str, ...]
    """The numbers it names; nearly always one."""
    recipient_count: int | None
    received_at: datetime | None
    """When Bandwidth received the request; not when anything happened to a recipient."""
    inbound: bool
    error_code: int
    """0 when there is none."""
    payload: str
    """The row's JSON, ASCII-escaped."""

    def event(self, *, only_recipient: str | None) -> Event:
        """What it says, with the identity of the callback that says the same, so that this is a duplicate of it.

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


def _error_code_of(type_: str, record: Record) -> int:
    if record.status.startswith("DLR_"):
        return RECEIPT_EXPIRED
    return 0 if type_ in ("message-sent", "message-delivered") else record.error_code


def read_record(row: Any) -> Record | Unreadable:
    """A row as it was decoded; unknown fields and statuses do no harm."""
    try:
        payload = json.dumps(row, allow_nan=False)
    except (ValueError, RecursionError):  # a number beyond all floats, or nested too deeply
        return Unreadable(payload="null", reason="The row cannot be written as JSON.")
    try:
        if not isinstance(row, dict):
            raise NotAnEvent("The row is not an object.")
        return Record(
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
    """One number is documented; several are an array, or separated by commas as in the question."""
    numbers = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(
        check_text(number.strip(), name="destinationTn", longest=MAX_RECIPIENT)
        for number in numbers
        if isinstance(number, str) and number.strip()
    )


SPACING = 0.1
"""Seconds between two requests: 3,000 in 5 minutes."""

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each further try, unless Bandwidth says how long to wait."""

LONGEST_WAIT = 600
"""Seconds; Bandwidth's limit counts 5 minutes."""

MOST_PAGES = 100
"""Bandwidth gives away 10,000 rows at most, 100 on a page."""

SHORTEST_FRAGMENT = 5
"""Characters: a shorter sender may not be asked for."""

log = get_logger(__name__)

Row = Record | Unreadable


class Clock:
    """Monotonic seconds, and how they are waited for."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows, and the token of the next."""

    rows: Sequence[Any]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stands in the way of an answer."""

    status: int | None
    found: str
    remedy: str
    retry_after: int | None
    """Seconds, in Bandwidth's word."""
    is_about_credentials: bool = False
    """Whether there is no token because Bandwidth refuses the client."""

    @property
    def sentence(self) -> str:
        return f"{self.found}: {self.remedy}"

    @property
    def is_final(self) -> bool:
        """Whether the same question would be answered alike."""
        is_refused = self.status is not None and self.status // 100 == 4 and self.status != 429
        return is_refused or self.is_about_credentials


class MessageSearch:
    """Asks one question at a time.

    Every question raises RecordsUnavailable, which says in one sentence what is wrong and what to do; it is a
    QuestionRefused if other questions may be answered.
    """

    def __init__(self, account: Account, *, clock: Clock | None = None) -> None:
        self._url = account.messages_url
        self._client = Client(account)
        self._clock = clock or Clock()
        self._next_turn = self._clock.now()

    def of_message(self, message_id: str) -> Iterator[Row]:
        """All rows about one message."""
        rows = self._rows({"messageId": message_id})
        return (row for row in rows if isinstance(row, Unreadable) or row.message_id == message_id)

    def between(self, sender: str, recipients: Sequence[str], since: datetime, until: datetime) -> Iterator[Row]:
        """All rows about messages that Bandwidth received in that time from that sender to any of those numbers, and
        perhaps some from others."""
        by_sender = {"sourceTn": sender} if len(sender) >= SHORTEST_FRAGMENT else {}
        return self._rows(
            by_sender
            | {
                "destinationTn": ",".join(recipients),
                "fromDateTime": with_milliseconds(since),
                "toDateTime": with_milliseconds(until),
            }
        )

    def close(self) -> None:
        """Closes the idle connections."""
        self._client.close()

    def _rows(self, question: dict[str, str]) -> Iterator[Row]:
        token: str | None = None
        for _ in range(MOST_PAGES):
            page = self._page(question | ({"pageToken": token} if token else {}))
            for row in map(read_record, page.rows):
                if isinstance(row, Unreadable):
                    log.warning("a row of the message search cannot be read", reason=row.reason)
                    yield row
                elif not row.inbound:
                    yield row
            token = page.next_token
            if token is None:
                return
        raise QuestionRefused("Bandwidth's message search has no end to its pages; try again later.")

    def _page(self, question: dict[str, str]) -> Page:
        for pause in (*PAUSES, None):
            call = self._ask(question)
            if (page := read_page(call)) is not None:
                return page
            trouble = read_trouble(call)
            seconds = max(pause or 0, trouble.retry_after or 0)
            if pause is None or trouble.is_final or seconds > LONGEST_WAIT:
                raise (QuestionRefused if trouble.status == 400 else RecordsUnavailable)(trouble.sentence)
            log.warning("the message search is asked again", bandwidth_status=trouble.status, seconds=seconds)
            self._clock.wait(seconds)
        raise AssertionError("unreachable")

    def _ask(self, question: dict[str, str]) -> Call:
        self._clock.wait(max(0.0, self._next_turn - self._clock.now()))
        self._next_turn = self._clock.now() + SPACING
        request = requests.Request("GET", asking(self._url, question), headers={"Content-Type": None})
        return self._client.call(request)


def asking(url: str, question: dict[str, str]) -> str:
    """The URL that asks this. A plus sign must be %2B (Bandwidth, "List Messages"), and no space may become one."""
    return f"{url}?{urlencode(question, quote_via=quote, safe=',')}"


def with_milliseconds(instant: datetime) -> str:
    """``2024-01-01T00:00:00.000Z``: any other precision is a 400."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def read_page(call: Call) -> Page | None:
    """The page of a 200; None for anything else. Its object may be the only element of an array."""
    if call.status != 200 or call.body is None or len(call.body) > MAX_BODY:
        return None
    try:
        # A bad byte in one row says nothing about the others.
        said = LENIENT_DECODER.decode(call.body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    rows = said.get("messages") if isinstance(said, dict) else None
    if not isinstance(rows, list):
        return None
    page_info = said.get("pageInfo")
    token = page_info.get("nextPageToken") if isinstance(page_info, dict) else None
    return Page(rows, token if isinstance(token, str) and token else None)


TRY_LATER = "try again later."

_REMEDIES = {
    200: "this is not the documented JSON, or too long: check BANDWIDTH_API_URL.",
    401: "check BANDWIDTH_ACCOUNT_ID and the credentials: BANDWIDTH_CLIENT_ID and BANDWIDTH_CLIENT_SECRET.",
    403: "these credentials may not search messages: ask Bandwidth to allow it.",
    404: "check BANDWIDTH_API_URL and BANDWIDTH_ACCOUNT_ID.",
    429: "too many questions came from this address: try again in some minutes.",
}


def read_trouble(call: Call) -> Trouble:
    """What stands in the way of an answer."""
    answer = read_answer(call)
    if isinstance(answer, Accepted):
        answer = Unknown(status=202)
    status, remedy = answer.status, answer.description or TRY_LATER
    if status is not None:
        found, remedy = f"Bandwidth's message search answered {status}", _REMEDIES.get(status, remedy)
    elif answer.type in (CREDENTIALS, NO_TOKEN):
        found = "There is no token for Bandwidth's message search"
    elif isinstance(answer, Refused):
        found = "Bandwidth's message search cannot be reached"
    else:
        found, remedy = "Bandwidth's message search did not answer in time, or the connection broke", TRY_LATER
    is_about_credentials = answer.type == CREDENTIALS and status is None
    retry_after = answer.retry_after if isinstance(answer, Refused) else None
    return Trouble(status, found, remedy, retry_after, is_about_credentials)
