"""GET /messages: what became of messages, without their tags and texts.

Bandwidth, "List messages" reference. Whether a group is one row or a row for each recipient is not documented: a
switch chooses. A documented parameter that is not simulated is refused, because to ignore a filter would be to
answer another question.
"""

import base64
import re
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from receiver.simulator.callbacks import Message
from receiver.simulator.clock import now, written
from receiver.simulator.switches import SearchShape
from receiver.simulator.validation import bad_request

USUAL_LIMIT, FURTHEST = 100, 10_000  # rows; of limit + offset, and of a limited total count
SHORTEST_FRAGMENT, MOST_NUMBERS = 5, 10
DAYS_KEPT = 14

STATUSES = {
    "message-sending": "SENDING",
    "message-sent": "SENT",
    "message-delivered": "DELIVERED",
    "message-failed": "FAILED",
}
"""What the events of recipients say, in this interface's words."""

MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)")

Row = Mapping[str, Any]
Test = Callable[[Row], bool]


def search(
    messages: Iterable[Message], query: Mapping[str, str], *, shape: SearchShape, account_id: str, url: str
) -> Any:
    """The answer's body; raises Refusal 400. ``messages`` come oldest first; ``url`` is where this was asked."""
    if not query:
        raise bad_request("At least one query parameter is required")
    if unknown := query.keys() - FILTERS.keys() - {"limit", "pageToken", "limitTotalCount"}:
        raise bad_request(f"The simulator does not know the parameter {', '.join(sorted(unknown))}")
    tests = [FILTERS[name](name, value) for name, value in query.items() if name in FILTERS]
    rows = _rows(messages, shape=shape, account_id=account_id)
    page = _page([row for row in rows if all(test(row) for test in tests)], query, url=url)
    return [page] if shape is SearchShape.ARRAY else page


def _rows(messages: Iterable[Message], *, shape: SearchShape, account_id: str) -> Iterator[Row]:
    at = now()
    for message in reversed(tuple(messages)):
        if message.is_indexed(at) and at - message.time < timedelta(days=DAYS_KEPT):
            recipients = message.request.to[:1] if shape is SearchShape.ONE_ROW else message.request.to
            yield from (_row(message, recipient, at=at, account_id=account_id) for recipient in recipients)


def _row(message: Message, recipient: str, *, at: datetime, account_id: str) -> Row:
    request = message.request
    status, error_code = what_became_of(message, recipient, at=at)
    multimedia = bool(request.media) or len(request.to) > 1
    unknown = ("carrierName", "messageSize", "campaignClass", "campaignId", "bwLatency", "carrierLatency", "location")
    return dict.fromkeys(unknown) | {
        "messageId": message.id,
        "accountId": account_id,
        "sourceTn": request.sender,
        "destinationTn": recipient,
        "messageStatus": status,
        "messageDirection": "OUTBOUND",
        "messageType": "mms" if multimedia else "sms",
        "segmentCount": request.segments,
        "errorCode": error_code,
        "receiveTime": written(message.time),
        "messageLength": len(request.text or ""),
        "attachmentCount": len(request.media),
        "recipientCount": len(request.to),
        "callingNumberCountryA3": "USA",
        "calledNumberCountryA3": "USA",
        "product": "LOCAL_A2P",
    }


def what_became_of(message: Message, recipient: str, *, at: datetime) -> tuple[str, int]:
    """The recipient's messageStatus and errorCode at that time.

    A definite failure stands: the false "delivered" about an invalid number is in the callbacks only.
    """
    status, error_code = ("QUEUED" if at < message.goes_out(recipient) else "RECEIVED"), 0
    for happening in message.timelines[recipient]:
        if happening.at > at or (status == "FAILED" and not 9000 <= error_code <= 9999):
            break
        status, error_code = STATUSES[happening.step.type], happening.step.error_code or 0
    return status, error_code


def _page(rows: list[Row], query: Mapping[str, str], *, url: str) -> dict[str, Any]:
    limit = _integer("limit", query.get("limit", str(USUAL_LIMIT)))
    offset = _offset(query["pageToken"]) if "pageToken" in query else 0
    if not 1 <= limit <= FURTHEST - offset:
        raise bad_request(f"'limit' must be positive, and limit + offset at most {FURTHEST}")
    limited = _boolean("limitTotalCount", query.get("limitTotalCount", "false"))
    others: dict[str, str] = {}
    if offset:
        others |= _link("prev", max(offset - limit, 0), query, url=url)
    if offset + limit < len(rows):
        others |= _link("next", offset + limit, query, url=url)
    return {
        "totalCount": min(len(rows), FURTHEST) if limited else len(rows),
        "pageInfo": others,
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


def _is(name: str, value: str) -> Test:
    return lambda row: row[name] == value


def _is_integer(name: str, value: str) -> Test:
    wanted = _integer(name, value)
    return lambda row: row[name] == wanted


def _number(name: str, value: str) -> Test:
    """A fragment of a number, or whole numbers with commas between them."""
    numbers = value.split(",")
    if len(numbers) > MOST_NUMBERS or len(value) < SHORTEST_FRAGMENT:
        raise bad_request(
            f"'{name}' takes {SHORTEST_FRAGMENT} characters of a number, or at most {MOST_NUMBERS} numbers"
        )
    return lambda row: row[name] in numbers if len(numbers) > 1 else value in row[name]


def _time(name: str, value: str) -> str:
    """In UTC, as it is written in rows, so that the texts compare as the times do."""
    if not MILLISECONDS.fullmatch(value):
        raise bad_request(f"'{name}' must be an ISO 8601 date-time with milliseconds, such as 2024-01-01T00:00:00.000Z")
    try:
        return written(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        raise bad_request(f"'{name}' is not a date-time") from None


def _from(name: str, value: str) -> Test:
    earliest = _time(name, value)
    return lambda row: row["receiveTime"] >= earliest


def _until(name: str, value: str) -> Test:
    latest = _time(name, value)
    return lambda row: row["receiveTime"] <= latest


FILTERS: Mapping[str, Callable[[str, str], Test]] = {
    "messageId": _is,
    "sourceTn": _number,
    "destinationTn": _number,
    "messageStatus": _is,
    "messageDirection": _is,
    "messageType": _is,
    "errorCode": _is_integer,
    "fromDateTime": _from,
    "toDateTime": _until,
}
