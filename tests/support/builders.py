"""Makes events, callbacks and messages for the tests; everything not said has an ordinary value."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.core import times
from receiver.core.events import Event
from receiver.core.messages import Accepted, IdempotencyKey, OutboundMessage, Refused, SendResult
from receiver.core.pace import Rates
from receiver.core.tags import new_tag
from receiver.database.database import Database
from receiver.messages.call import Caller, Gateway
from receiver.messages.outbox import Attempt, add_submitting, record_result
from receiver.messages.sender import Sender
from receiver.settings import ApiKey, Credential, Settings

ALICE, BOB, CAROL = "+19195550101", "+19195550102", "+19195550103"
SENDER = "+19195550100"
MESSAGE_ID = "1795300147488bssu9wfcphe9qiay"
ACCEPTED = Accepted(message_id=MESSAGE_ID, segment_count=1)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

API_KEY, READ_ONLY_KEY = "an-api-key", "a-read-only-key"
CLIENT_ID, CLIENT_SECRET = "a-client", "hush-of-the-client"
BEARER = {"Authorization": f"Bearer {API_KEY}"}
CALLBACK_AUTH = ("bandwidth", "callback:password")


def make_settings(database_url: str, **changes: Any) -> Settings:
    """Settings that serve, with every secret made up; tokens come from the host that takes messages."""
    api_url = changes.get("bandwidth_api_url", "http://127.0.0.1:9/api/v2")
    values: dict[str, Any] = {
        "database_url": database_url,
        "bandwidth_account_id": "5000000",
        "bandwidth_client_id": CLIENT_ID,
        "bandwidth_client_secret": CLIENT_SECRET,
        "bandwidth_token_url": token_url(api_url),
        "bandwidth_username": None,
        "bandwidth_password": None,
        "bandwidth_application_id": "93de2206-9669-4e07-948d-329f4b722ee2",
        "bandwidth_from": SENDER,
        "bandwidth_api_url": api_url,
        "bandwidth_connect_timeout": 1.0,
        "bandwidth_read_timeout": 2.0,
        "callback_credentials": (Credential(*CALLBACK_AUTH),),
        "allow_unauthenticated_callbacks": False,
        "api_keys": (ApiKey("app", API_KEY),),
        "read_only_api_keys": (ApiKey("support", READ_ONLY_KEY),),
        "bandwidth_rate": None,
        "bandwidth_sender_rate": None,
        "overdue_after_hours": 27.0,
        "max_body_bytes": 4_194_304,
        "log_level": "info",
    }
    return Settings(**values | changes)


def token_url(api_url: str) -> str:
    """Where the simulator gives tokens, by the address of its API."""
    return api_url.removesuffix("/").removesuffix("/api/v2") + "/api/v1/oauth2/token"


def make_event(kind: str = "delivered", recipient: str = ALICE, **changes: Any) -> Event:
    """An event of the type ``message-<kind>``."""
    values: dict[str, Any] = {"message_id": MESSAGE_ID, "occurred_at": NOON, "description": "ok", "payload": "{}"}
    return Event(type=f"message-{kind}", recipient=recipient, **values | changes)


def make_element(kind: str = "delivered", recipient: str | None = ALICE, **changes: Any) -> dict[str, Any]:
    """One element of a callback, as Bandwidth documents it; ``tag`` and ``message_id`` go into its message."""
    message = {
        "id": changes.pop("message_id", MESSAGE_ID),
        "owner": SENDER,
        "applicationId": "93de2206-9669-4e07-948d-329f4b722ee2",
        "time": "2026-11-21T12:00:00.000Z",
        "segmentCount": 1,
        "direction": "out",
        "to": [ALICE, BOB, CAROL],
        "from": SENDER,
        "text": "",
        **{key: changes.pop(key) for key in ("tag",) if key in changes},
    }
    element = {"type": f"message-{kind}", "time": "2026-11-21T12:00:01.000Z", "description": "ok", "message": message}
    return element | ({} if recipient is None else {"to": recipient}) | changes


def make_body(*elements: dict[str, Any]) -> bytes:
    """A callback's body."""
    return json.dumps(elements).encode()


def make_message(*to: str, **changes: Any) -> OutboundMessage:
    values: dict[str, Any] = {"sender": SENDER, "application_id": "app", "text": "Lunch is at noon."}
    return OutboundMessage(to=to or (ALICE, BOB, CAROL), **values | changes)


def store_message(
    database: Database, *to: str, answer: SendResult | None = ACCEPTED, **changes: Any
) -> tuple[str, int]:
    """A message in the database, answered unless ``answer`` is None; returns its tag and key."""
    now = times.whole_millisecond(times.now())
    tag = new_tag(now)
    attempt = Attempt(at=now, deadline=now + timedelta(seconds=60), overdue_at=now + timedelta(hours=27))
    message = make_message(*to, **changes)
    pk = database.write(lambda session: add_submitting(session, message, tag=tag, attempt=attempt))
    if answer is not None:
        database.write(lambda session: record_result(session, pk, number=1, result=answer, now=times.now()))
    return tag, pk


def make_sender(database: Database, gateway: Gateway | None = None, **rates: float) -> Sender:
    """What sends, at these rates."""
    caller = Caller(database=database, gateway=gateway or FakeGateway(), overdue_after=timedelta(hours=27))
    return Sender(database=database, caller=caller, rates=Rates(**rates))


def make_key(key: str = "once", *, sha256: str = "0" * 64, expires_at: datetime | None = None) -> IdempotencyKey:
    return IdempotencyKey(api_key="app", key=key, sha256=sha256, expires_at=expires_at)


class FakeGateway:
    """Answers what it is told, and remembers what it was asked to send."""

    timeout = 3.0
    fingerprint = "0" * 64

    def __init__(self, answer: SendResult | None = None) -> None:
        self.answer: SendResult = answer or ACCEPTED
        self.sent: list[tuple[OutboundMessage, str]] = []

    def known_refusal(self) -> Refused | None:
        return None

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        self.sent.append((message, tag))
        return self.answer
