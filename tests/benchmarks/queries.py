"""What is asked of a long history: every filter of ``GET /messages``, and every support view by everything in it.

Each is asked for values that fill a page of 50, or match as many rows, in a short history as in a long one; and where a
plan may go wrong, for a frequent value, for a rare one, and for one that only the oldest messages have.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import text

from receiver.core import times
from receiver.core.send_status import SendStatus
from receiver.core.status import RecipientStatus
from receiver.database.database import Database
from receiver.reports import messages
from receiver.reports.messages import MessageFilter
from receiver.reports.overview import figures
from receiver.schemas.requests import MessagesQuerySchema, load_fields
from tests.benchmarks.history import (
    DAYS,
    FREQUENT_NUMBER,
    FREQUENT_SENDER,
    PER_CAMPAIGN,
    PLENTY,
    RETIRED_NUMBER,
    RETIRED_SENDER,
    History,
)

Ask = Callable[[Database, int], int]
"""A query for at most that many rows or messages; returns how many it found."""

PAGE, MOST = 50, 200
Values = dict[str, Any]


def queries(database: Database, history: History) -> dict[str, Ask]:
    """The queries of a history by name; every history has the same names with its own values."""
    one = sample(database, "support_recipients", history)
    asked: dict[str, Ask] = {
        "GET /messages/{tag}": lambda asked, _: len(messages.message(asked, one["tag"]).recipients),
        "GET /messages/{tag}/events": lambda asked, _: len(messages.events(asked, one["tag"])),
    }
    asked["GET /metrics: figures"] = _figures
    for name, query in filters(history, one).items():
        asked[f"GET /messages {name}"] = _list(query)
    for view in VIEWS:
        for name, (condition, values) in _conditions(view, sample(database, view, history), history).items():
            asked[f"{view} {name}"] = _select(view, condition, values)
    return asked


def filters(history: History, one: Values) -> dict[str, dict[str, str]]:
    """The queries of ``GET /messages``; ``one`` is a recipient in the middle of the history."""
    minutes_ago = times.rfc3339(history.end - timedelta(minutes=6))
    hour_ago = times.rfc3339(history.end - timedelta(hours=1))
    month_ago = times.rfc3339(history.end - timedelta(days=30))
    long_ago = times.rfc3339(history.end - timedelta(days=DAYS - 30))
    campaign = f"campaign-{history.messages // 2 // 5 // PER_CAMPAIGN}"
    return {
        "(no filter)": {},
        "limit=200": {"limit": "200"},
        "cursor: half-way": {"cursor": one["tag"]},
        "reference: 1 message": {"reference": one["reference"]},
        "reference: 50 messages": {"reference": campaign},
        "referencePrefix: a campaign": {"referencePrefix": campaign},
        "messageId": {"messageId": one["message_id"]},
        "messageId: nobody's": {"messageId": "0"},
        "to: frequent": {"to": FREQUENT_NUMBER},
        "to: 15 messages": {"to": one["recipient"]},
        "to: retired": {"to": RETIRED_NUMBER},
        "to: nobody's": {"to": "+12005559999"},
        "from: frequent": {"from": FREQUENT_SENDER},
        "from: retired": {"from": RETIRED_SENDER},
        **{f"sendStatus={each}": {"sendStatus": each} for each in SendStatus},
        **{f"status={each}": {"status": each} for each in RecipientStatus},
        "complete=true": {"complete": "true"},
        "complete=false": {"complete": "false"},
        "since: a month ago": {"since": month_ago},
        "until: long ago": {"until": long_ago},
        "since, until": {"since": long_ago, "until": month_ago},
        "updatedSince: minutes ago": {"updatedSince": minutes_ago},
        "updatedSince: an hour ago": {"updatedSince": hour_ago},
        "updatedSince: long ago": {"updatedSince": long_ago},
        "to: frequent, status=failed": {"to": FREQUENT_NUMBER, "status": "failed"},
        "to: frequent, status=sent": {"to": FREQUENT_NUMBER, "status": "sent"},
        "to: 15 messages, status=delivered": {"to": one["recipient"], "status": "delivered"},
        "to: frequent, updatedSince: long ago": {"to": FREQUENT_NUMBER, "updatedSince": long_ago},
        "from: frequent, since: a month ago": {"from": FREQUENT_SENDER, "since": month_ago},
        "from: frequent, complete=false": {"from": FREQUENT_SENDER, "complete": "false"},
        "sendStatus=accepted, status=pending": {"sendStatus": "accepted", "status": "pending"},
        "status=failed, until: long ago": {"status": "failed", "until": long_ago},
        "reference: 50 messages, complete=true": {"reference": campaign, "complete": "true"},
    }


def _list(query: dict[str, str]) -> Ask:
    wanted = load_fields(MessagesQuerySchema(), query)
    limit = wanted.pop("limit")
    return lambda asked, most: len(messages.messages(asked, MessageFilter(**wanted), limit=min(limit, most)).messages)


OURS = "recipient LIKE '+1919%' AND reference LIKE 'order-%' AND message_id IS NOT NULL"

VIEWS: dict[str, tuple[str, str]] = {
    "support_messages": ("reference LIKE 'order-%' AND message_id IS NOT NULL", "created_at"),
    "support_recipients": (OURS, "created_at"),
    "support_events": (OURS, "first_received_at"),
    "support_extraneous": (OURS, "first_received_at"),
    "support_conflicting": (OURS, "first_received_at"),
    "support_unlinked": ("recipient LIKE '+1919%'", "first_received_at"),
    "support_inbound": ("recipient LIKE '+1919%'", "first_received_at"),
    "support_unreadable": ("TRUE", "first_received_at"),
    "support_overdue": (OURS, "created_at"),
    "support_failures": ("TRUE", "day"),
    "support_resolutions": ("reference LIKE 'order-%'", "resolved_at"),
    "support_opt_outs": ("sender LIKE '+1919%'", "opted_out_at"),
    "support_conversations": ("direction = 'out' AND their_number LIKE '+1919%'", "said_at"),
}
"""For each view that grows: where to find a row whose values to query, and the order of its rows."""

SPANS = (timedelta(hours=1), timedelta(days=1), timedelta(days=DAYS))
"""How long after the middle of the history a row is looked for: some views cannot be read in the order of time."""

KEYS = ("tag", "reference", "message_id", "recipient", "sender", "their_number")


def sample(database: Database, view: str, history: History) -> Values:
    """A row of the view from the middle of the history."""
    condition, when = VIEWS[view]
    middle = history.created_at(history.messages // 2)
    with database.read() as session:
        for span in SPANS:
            span_of_time = f"{when} >= :first AND {when} < :last"
            query = f"SELECT * FROM {view} WHERE {condition} AND {span_of_time} ORDER BY {when} LIMIT 1"
            found = session.execute(text(query), {"first": middle, "last": middle + span}).mappings().first()
            if found is not None:
                return dict(found)
    raise LookupError(f"{view} has no row in the later half of the history")


def _figures(asked: Database, _: int) -> int:
    with asked.read() as session:
        figures(session, now=times.now(), overdue_after=timedelta(hours=27))
    return 1


def _conditions(view: str, row: Values, history: History) -> dict[str, tuple[str, Values]]:
    by_key = {f"by {key}": (f"{key} = :value", {"value": row[key]}) for key in KEYS if row.get(key) is not None}
    frequent = {"recipient": FREQUENT_NUMBER, "sender": FREQUENT_SENDER}
    by_frequent = {
        f"by frequent {key}": (f"{key} = :value", {"value": value}) for key, value in frequent.items() if key in row
    }
    return {"(newest)": ("TRUE", {}), **by_key, **by_frequent, "by day": _day(VIEWS[view][1], row, history)}


def _day(column: str, row: Values, history: History) -> tuple[str, Values]:
    """A span of a day; in a short history, long enough to fill a page."""
    if column == "day":
        return "day = :day", {"day": row["day"]}
    first = datetime.combine((history.end - timedelta(days=DAYS // 2)).date(), time(), UTC)
    days = max(1, DAYS * PLENTY // history.messages)
    return f"{column} >= :first AND {column} < :last", {"first": first, "last": first + timedelta(days=days)}


AS_IN_PSQL = text(
    "SELECT set_config('random_page_cost', boot_val, true), set_config('plan_cache_mode', 'force_custom_plan', true)"
    " FROM pg_settings WHERE name = 'random_page_cost'"
)
"""Queries as a person types them: with PostgreSQL's own settings, and a plan for the literal values."""


def _select(view: str, condition: str, values: Values) -> Ask:
    query = text(f"SELECT * FROM {view} WHERE {condition} ORDER BY {VIEWS[view][1]} DESC LIMIT :most")

    def ask(asked: Database, most: int) -> int:
        with asked.read() as session:
            session.execute(AS_IN_PSQL)
            return len(session.execute(query, values | {"most": min(PAGE, most)}).all())

    return ask
