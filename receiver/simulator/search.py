"""GET /messages: what became of messages, without their tags and texts.

Bandwidth, "List messages" reference. It does not say whether a group is one row or a row for each recipient: a switch
chooses. A documented parameter that is not simulated is refused, because ignoring a filter would return wrong rows.
"""

import base64
import re
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from receiver.core.times import now
from receiver.simulator.callbacks import AcceptedMessage, timestamp
from receiver.simulator.switches import SearchShape
from receiver.simulator.validation import bad_request

DEFAULT_LIMIT, MAX_ROWS = 100, 10_000
"""Rows of a page; MAX_ROWS bounds limit + offset, and a total count that is limited."""

MIN_FRAGMENT, MAX_NUMBERS = 5, 10
"""The shortest fragment of a number in a filter, in characters, and how many whole numbers it takes."""

DAYS_KEPT = 14

STATUSES = {
    "message-sending": "SENDING",
    "message-sent": "SENT",
    "message-delivered": "DELIVERED",
    "message-failed": "FAILED",
}
"""The messageStatus that each event type leads to."""

UNKNOWN_FIELDS = (
    "carrierName",
    "messageSize",
    "campaignClass",
    "campaignId",
    "bwLatency",
    "carrierLatency",
    "location",
)
"""The fields of a row that are null."""

MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)")

Row = Mapping[str, Any]
Condition = Callable[[Row], bool]


def search(
    messages: Iterable[AcceptedMessage], query: Mapping[str, str], *, shape: SearchShape, account_id: str, url: str
) -> Any:
    """The JSON body of the response; raises Refusal 400.

    ``messages`` are in the order of acceptance, oldest first; ``url`` is that of the request, without its query.
    """
    if not query:
        raise bad_request("At least one query parameter is required")
    if unknown := query.keys() - FILTERS.keys() - {"limit", "pageToken", "limitTotalCount"}:
        raise bad_request(f"The simulator does not support the parameter {', '.join(sorted(unknown))}")
    conditions = [FILTERS[name](name, value) for name, value in query.items() if name in FILTERS]
    rows = _rows(messages, shape=shape, account_id=account_id)
    page = _page([row for row in rows if all(holds(row) for holds in conditions)], query, url=url)
    return [page] if shape is SearchShape.ARRAY else page


def _rows(messages: Iterable[AcceptedMessage], *, shape: SearchShape, account_id: str) -> Iterator[Row]:
    at = now()
    for message in reversed(tuple(messages)):
        if message.is_indexed(at) and at - message.time < timedelta(days=DAYS_KEPT):
            recipients = message.request.to[:1] if shape is SearchShape.ONE_ROW else message.request.to
            yield from (_row(message, recipient, at=at, account_id=account_id) for recipient in recipients)


def _row(message: AcceptedMessage, recipient: str, *, at: datetime, account_id: str) -> Row:
    request = message.request
    status, error_code = _status(message, recipient, at=at)
    is_multimedia = bool(request.media) or len(request.to) > 1
    return dict.fromkeys(UNKNOWN_FIELDS) | {
        "messageId": message.id,
        "accountId": account_id,
        "sourceTn": request.sender,
        "destinationTn": recipient,
        "messageStatus": status,
        "messageDirection": "OUTBOUND",
        "messageType": "mms" if is_multimedia else "sms",
        "segmentCount": request.segments,
        "errorCode": error_code,
        "receiveTime": timestamp(message.time),
        "messageLength": len(request.text or ""),
        "attachmentCount": len(request.media),
        "recipientCount": len(request.to),
        "callingNumberCountryA3": "USA",
        "calledNumberCountryA3": "USA",
        "product": "LOCAL_A2P",
    }


def _status(message: AcceptedMessage, recipient: str, *, at: datetime) -> tuple[str, int]:
    """The recipient's messageStatus and errorCode at that time.

    A definite failure stands: the false "delivered" about an invalid number appears in callbacks only.
    """
    status, error_code = ("QUEUED" if at < message.sent_at(recipient) else "RECEIVED"), 0
    for entry in message.timelines[recipient]:
        if entry.at > at or (status == "FAILED" and not 9000 <= error_code <= 9999):
            break
        status, error_code = STATUSES[entry.step.type], entry.step.error_code or 0
    return status, error_code


def _page(rows: list[Row], query: Mapping[str, str], *, url: str) -> dict[str, Any]:
    limit = _integer("limit", query.get("limit", str(DEFAULT_LIMIT)))
    offset = _offset(query["pageToken"]) if "pageToken" in query else 0
    if not 1 <= limit <= MAX_ROWS - offset:
        raise bad_request(f"'limit' must be positive, and limit + offset at most {MAX_ROWS}")
    is_count_limited = _boolean("limitTotalCount", query.get("limitTotalCount", "false"))
    links: dict[str, str] = {}
    if offset:
        links |= _link("prev", max(offset - limit, 0), query, url=url)
    if offset + limit < len(rows):
        links |= _link("next", offset + limit, query, url=url)
    return {
        "totalCount": min(len(rows), MAX_ROWS) if is_count_limited else len(rows),
        "pageInfo": links,
        "messages": rows[offset : offset + limit],
    }


def _link(name: str, offset: int, query: Mapping[str, str], *, url: str) -> dict[str, str]:
    token = base64.b64encode(f"offset={offset}".encode()).decode()
    return {f"{name}Page": f"{url}?{urlencode({**query, 'pageToken': token})}", f"{name}PageToken": token}


def _offset(token: str) -> int:
    try:
        return _integer("pageToken", base64.b64decode(token, validate=True).decode().removeprefix("offset="))
    except (NotBase64, UnicodeDecodeError):
        raise bad_request("'pageToken' is not valid") from None


def _integer(name: str, value: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", value):
        raise bad_request(f"'{name}' must be an integer")
    return int(value)


def _boolean(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise bad_request(f"'{name}' must be true or false")
    return value == "true"


def _timestamp(name: str, value: str) -> str:
    """The time as rows have it, in UTC, so that the texts compare as the times do."""
    if not MILLISECONDS.fullmatch(value):
        raise bad_request(f"'{name}' must be an ISO 8601 date-time with milliseconds, such as 2024-01-01T00:00:00.000Z")
    try:
        return timestamp(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        raise bad_request(f"'{name}' is not a date-time") from None


def _equals(name: str, value: str) -> Condition:
    return lambda row: row[name] == value


def _equals_integer(name: str, value: str) -> Condition:
    integer = _integer(name, value)
    return lambda row: row[name] == integer


def _matches_number(name: str, value: str) -> Condition:
    """A fragment of a number, or whole numbers separated by commas."""
    numbers = value.split(",")
    if len(numbers) > MAX_NUMBERS or len(value) < MIN_FRAGMENT:
        raise bad_request(f"'{name}' takes {MIN_FRAGMENT} characters of a number, or at most {MAX_NUMBERS} numbers")
    return lambda row: row[name] in numbers if len(numbers) > 1 else value in row[name]


def _is_received_from(name: str, value: str) -> Condition:
    earliest = _timestamp(name, value)
    return lambda row: row["receiveTime"] >= earliest


def _is_received_until(name: str, value: str) -> Condition:
    latest = _timestamp(name, value)
    return lambda row: row["receiveTime"] <= latest


FILTERS: Mapping[str, Callable[[str, str], Condition]] = {
    "messageId": _equals,
    "sourceTn": _matches_number,
    "destinationTn": _matches_number,
    "messageStatus": _equals,
    "messageDirection": _equals,
    "messageType": _equals,
    "errorCode": _equals_integer,
    "fromDateTime": _is_received_from,
    "toDateTime": _is_received_until,
}
"""Makes the condition of each query parameter out of its name and value; raises Refusal 400."""
