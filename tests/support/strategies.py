"""Makes events, and Hypothesis strategies for the worst events that Bandwidth might send."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from receiver.core.events import Event

STATEMENT_TYPES = (
    "message-queued",
    "message-sending",
    "message-sent",
    "message-delivered",
    "message-read",
    "message-failed",
    "message-rejected-forbidden-country",
    "message-rejected-",
)
INBOUND_TYPES = ("message-received", "suggestion-response", "requested-location-response")
UNKNOWN_TYPES = ("message-expired", "message-rejected", "Message-Delivered", "message-delivered ", "\U0001f4e8")

CODES = (0, 1, 4303, 4350, 4404, 4406, 4408, 4432, 4720, 4721, 8999, 9000, 9902, 9999, 10000, 99999)

NASTY_TEXTS = (
    *("a", "aa", "ab", "a ", "A", "b", "~", "\x01", "a\x01", "\x7f", "a\x7f"),
    *("\x80", "\xff", "a\xff", "\u0100", "e\u0301", "\u00e9", "\ud7ff", "\ue000", "\uffff"),
    *("\U00010000", "\U0010ffff", "a\U0010ffff", "\U0010ffff\U0010ffff"),
)
"""Texts that collations order differently: prefixes of one another, both sides of every length in UTF-8."""

# What a readable key may hold: neither NUL nor a lone surrogate.
texts = st.one_of(
    st.sampled_from(NASTY_TEXTS),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=6),
)

T0 = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)

FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

near_t0 = st.integers(-2, 2).map(lambda microseconds: T0 + microseconds * MICROSECOND)
instants = near_t0 | st.integers(0, (LAST - FIRST) // MICROSECOND).map(lambda gone: FIRST + gone * MICROSECOND)

one_recipient = st.just("+12345678902")
statement_types = st.one_of(st.sampled_from(STATEMENT_TYPES), texts.map("message-rejected-".__add__))


def event(event_type: str, error_code: int = 0, **others: Any) -> Event:
    """An event of that type; by default always about the same recipient of the same message."""
    fields: dict[str, Any] = {"message_id": "a", "recipient": "+12345678902"} | others
    return Event(type=event_type, error_code=error_code, **fields)


def events(
    *,
    types: st.SearchStrategy[str] = statement_types,
    message_ids: st.SearchStrategy[str] = texts,
    recipients: st.SearchStrategy[str] = one_recipient,
) -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        type=types,
        message_id=message_ids,
        recipient=recipients,
        error_code=st.one_of(st.sampled_from(CODES), st.integers(0, 99999)),
        occurred_at=st.none() | instants,
    )
