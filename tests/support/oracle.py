"""The rules of receiver/core/status.py a second time: as plain as possible, slow, and sharing nothing with the core."""

from collections.abc import Collection, Iterable
from typing import Any

from receiver.core.events import Event

RANKS = ("sending", "sent", "unconfirmed", "delivered", "failed")
INVALID_RECIPIENT_CODES = (4303, 4350, 4404, 4406, 4408, 4720, 4721)


def stated(event: Event) -> str | None:
    """The status that the event states about its recipient; None if it states none."""
    if event.type in ("message-sending", "message-queued"):
        return "sending"
    if event.type == "message-sent":
        return "sent"
    if event.type in ("message-delivered", "message-read"):
        return "delivered"
    if event.type == "message-failed":
        return "unconfirmed" if 9000 <= event.error_code <= 9999 else "failed"
    if event.type.startswith("message-rejected-"):
        return "failed"
    return None


def key(event: Event) -> tuple[Any, ...]:
    """Sorts statements from the highest standing down."""
    status = stated(event)
    assert status is not None
    return (
        -RANKS.index(status),
        event.error_code == 0,
        (event.occurred_at is None, event.occurred_at),
        event.error_code,
        event.message_id.encode("utf-8"),
        event.type.encode("utf-8"),
    )


def is_failure(event: Event) -> bool:
    return event.type == "message-failed" or event.type.startswith("message-rejected-")


def winner(events: Iterable[Event]) -> Event | None:
    return min((event for event in events if stated(event)), key=key, default=None)


def status(events: Iterable[Event]) -> str:
    best = winner(events)
    return "pending" if best is None else str(stated(best))


def invalid_recipient(events: Iterable[Event]) -> bool:
    return any(is_failure(event) and event.error_code in INVALID_RECIPIENT_CODES for event in events)


def disposition(event: Event, *, linked: Collection[Event], recipients: Collection[str]) -> str:
    """The event's disposition, given all events linked to its message and the message's recipients."""
    to_the_same = [other for other in linked if other.recipient == event.recipient]
    rules = (
        ("inbound", event.type in ("message-received", "suggestion-response", "requested-location-response")),
        ("unlinked", event not in linked),
        ("unrecognized", stated(event) is None),
        ("unexpected_recipient", event.recipient not in recipients),
        ("extraneous", contradicts_failure(event, to_the_same) and invalid_recipient(to_the_same)),
        ("conflicting", contradicts_failure(event, to_the_same)),
        ("superseded", is_failure(event) and winner(to_the_same) != event),
        ("applied", True),
    )
    return next(name for name, fits in rules if fits)


def contradicts_failure(event: Event, to_the_same: Collection[Event]) -> bool:
    return stated(event) == "delivered" and status(to_the_same) == "failed"
