"""The examples of the API's description: those of docs/api.md, which run against config/development.env."""

import json
from typing import Any

from receiver.core.status import RecipientStatus

TAG = "01M803PMPZHK79K198H9DPFJ7A"
ALICE, INVALID, TWICE = "+19195550101", "+12005564404", "+12005610002"
MESSAGE_ID = "14762070468292kw2fuqty55yp2b2"

LUNCH = {"to": [ALICE, INVALID, TWICE], "text": "Lunch is at noon.", "reference": "lunch-1"}
DINNER = {"to": [ALICE], "text": "Dinner is at eight.", "priority": "high"}
EVENTS = [{"type": "message-delivered", "to": ALICE, "message": {"id": MESSAGE_ID}}]

SERVER = "http://127.0.0.1:8080"
MAY_WRITE, MAY_READ = "-H 'Authorization: Bearer development-key'", "-H 'Authorization: Bearer read-only-key'"
CALLBACK = "-u bandwidth:development"

CURL: dict[str, list[str]] = {
    "messages.create": [
        f"curl -s {SERVER}/messages \\\n"
        f"  {MAY_WRITE} \\\n"
        "  -H 'Idempotency-Key: \"lunch-1\"' \\\n"
        f"  -d '{json.dumps(LUNCH)}'",
        f"curl -s {SERVER}/messages \\\n"
        f"  {MAY_WRITE} -H 'Prefer: respond-async' -H 'Idempotency-Key: \"dinner-1\"' \\\n"
        f"  -d '{json.dumps(DINNER)}'",
    ],
    "messages.cancel": [f"curl -s -X DELETE {SERVER}/messages/$TAG {MAY_WRITE}"],
    "messages.search": [
        f"curl -s '{SERVER}/messages?reference=lunch-1' {MAY_READ}",
        f"curl -s '{SERVER}/messages?to={INVALID}&status=failed&limit=10' {MAY_READ}",
    ],
    "messages.show": [f"curl -s {SERVER}/messages/$TAG {MAY_READ}"],
    "messages.events": [f"curl -s {SERVER}/messages/$TAG/events {MAY_READ}"],
    "health.queue": [f"curl -s {SERVER}/queue {MAY_READ}"],
    "health.metrics": [f"curl -s {SERVER}/metrics {MAY_READ}"],
    "callbacks.receive": [f"curl -s {SERVER}/callbacks/bandwidth {CALLBACK} \\\n  -d '{json.dumps(EVENTS)}'"],
    "health.ready": [f"curl -s {SERVER}/health/ready"],
    "documentation.document": [f"curl -s {SERVER}/openapi.json"],
}
"""The curl commands of docs/api.md, by endpoint."""

_CREATED, _DELIVERED = "2026-11-21T12:00:00.251000Z", "2026-11-21T12:00:01.480000Z"


def _recipient(to: str, status: str, **more: Any) -> dict[str, Any]:
    nothing = {"errorCode": None, "errorName": None, "description": None, "confirmedBy": None}
    times = {"occurredAt": _DELIVERED, "updatedAt": _DELIVERED}
    return {"to": to, "status": status, **nothing, "invalidRecipient": False, "overdue": False, **times, **more}


def _summary(**counts: int) -> dict[str, int]:
    return {"total": 0, **{each.value: 0 for each in RecipientStatus}, "overdue": 0, **counts}


_NUMBER_REFUSED = {
    "errorCode": 4404,
    "errorName": "rejected-forbidden-to-number",
    "description": "rejected-forbidden-to-number",
    "invalidRecipient": True,
}

MESSAGE: dict[str, Any] = {
    "tag": TAG,
    "reference": "lunch-1",
    "messageId": MESSAGE_ID,
    "messageIds": [MESSAGE_ID],
    "sentTwice": False,
    "applicationId": "93de2206-9669-4e07-948d-329f4b722ee2",
    "from": "+19195550100",
    "text": "Lunch is at noon.",
    "media": [],
    "priority": None,
    "expiration": None,
    "segmentCount": 1,
    "sendStatus": "accepted",
    "refusedBecause": None,
    "error": None,
    "askedBy": "app",
    "createdAt": _CREATED,
    "submittedAt": _CREATED,
    "updatedAt": _DELIVERED,
    "summary": _summary(total=3, delivered=2, failed=1),
    "complete": True,
    "recipients": [
        _recipient(ALICE, "delivered", confirmedBy="bandwidth"),
        _recipient(INVALID, "failed", **_NUMBER_REFUSED),
        _recipient(TWICE, "delivered", confirmedBy="bandwidth"),
    ],
}

EVENT = {
    "type": "message-delivered",
    "to": ALICE,
    "errorCode": None,
    "description": "ok",
    "occurredAt": _DELIVERED,
    "firstReceivedAt": "2026-11-21T12:00:01.512000Z",
    "lastReceivedAt": "2026-11-21T12:00:01.512000Z",
    "deliveries": 1,
    "disposition": "applied",
    "linkedBy": "tag",
    "source": "callback",
    "payload": {
        "type": "message-delivered",
        "time": "2026-11-21T12:00:01.480Z",
        "to": ALICE,
        "description": "ok",
        "message": {"id": MESSAGE_ID, "tag": TAG},
    },
}

QUEUE = {
    "queued": 1,
    "oldestQueuedAt": _CREATED,
    "oldestQueuedSeconds": 0.8,
    "unknown": 0,
    "pace": {
        "rate": 20.0,
        "senderRate": None,
        "lastMinute": 0.05,
        "pausedUntil": None,
        "credentialsRefusedSince": None,
    },
}

CANCELLED = {
    **MESSAGE,
    "messageId": None,
    "messageIds": [],
    "segmentCount": None,
    "sendStatus": "refused",
    "refusedBecause": "cancelled",
    "submittedAt": None,
    "summary": _summary(total=1, not_sent=1),
    "recipients": [_recipient(ALICE, "not_sent", occurredAt=None)],
}

TALLY = {"recorded": 1, "duplicates": 0, "unlinked": 0, "unreadable": 0}
