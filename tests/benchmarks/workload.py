"""The messages that exist before a run, and the events about them. All is made from numbers, so that pgbench, which
computes with nothing else, can name the same messages."""

import base64
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing

import psycopg
from psycopg import sql

from receiver.core.tags import is_tag
from receiver.database import schema
from tests.support.builders import CALLBACK_AUTH, SENDER, make_element

MESSAGES, RECIPIENTS = 20_000, 3
PK = 800_000_000
"""Added to a message's number, it makes its key: long enough to differ from every other number in a statement."""
FAILURES = (4720, 4432, 4750, 9902)
WHEN = "2026-11-21 12:00:00+00"

Identity = tuple[str, str, str, int]
"""(message id, recipient, type, error code or 0)"""


def tag_of(number: int) -> str:
    return f"01M80000000000{number:012}"


def message_id_of(number: int) -> str:
    return f"1795300147488{number:012}bench"


def recipient_of(number: int, position: int) -> str:
    return f"+1919{number * RECIPIENTS + position:07}"


def make_events(count: int) -> list[dict[str, object]]:
    """Elements of callbacks, each about another recipient, or of another kind, than all before; but every fiftieth
    repeats a recent one. 1 in 10 says sending, 1 in 12 failed, the others delivered."""
    pairs = MESSAGES * RECIPIENTS
    if count > 2 * pairs:
        raise ValueError(f"there are only {2 * pairs} different events")
    events: list[dict[str, object]] = []
    for place in range(count):
        if place % 50 == 49:
            events.append(events[place - 25])
            continue
        pair = place * 7919 % pairs  # 7919 is prime, so every recipient comes once before any comes again
        events.append(make_one(*divmod(pair, RECIPIENTS), sending=(pair % 10 == 0) == (place < pairs)))
    return events


def make_one(number: int, position: int, *, sending: bool = False, code: int = 0) -> dict[str, object]:
    """An event about this recipient: sending, or its outcome."""
    code = code or (FAILURES[number % 4] if (number + position) % 12 == 0 and not sending else 0)
    kind = "sending" if sending else "failed" if code else "delivered"
    said = {"errorCode": code, "description": "invalid"} if code else {"description": "ok"}
    element = make_element(
        kind, recipient_of(number, position), tag=tag_of(number), message_id=message_id_of(number), **said
    )
    element["message"]["to"] = [recipient_of(number, each) for each in range(RECIPIENTS)]
    return element


def identity_of(event: dict[str, object]) -> Identity:
    message: dict[str, str] = event["message"]  # type: ignore[assignment]
    return message["id"], str(event["to"]), str(event["type"]), int(str(event.get("errorCode", 0)))


def make_body_of(event: dict[str, object]) -> bytes:
    return json.dumps([event]).encode()


def make_request(event: dict[str, object]) -> bytes:
    """The bytes of a request as Bandwidth sends it: an array of one event, with credentials."""
    body = make_body_of(event)
    credentials = base64.b64encode(":".join(CALLBACK_AUTH).encode())
    head = (
        b"POST /callbacks/bandwidth HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic %b\r\n"
        b"Content-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
    )
    return head % (credentials, len(body)) + body


PLAIN_TABLES = """
CREATE TABLE messages (pk bigint PRIMARY KEY, tag text NOT NULL UNIQUE, message_id text NOT NULL UNIQUE);
CREATE TABLE recipients (message_pk bigint NOT NULL REFERENCES messages, recipient text NOT NULL,
    status text NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (message_pk, recipient));
CREATE TABLE events (pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id text NOT NULL,
    recipient text NOT NULL, type text NOT NULL, error_code integer NOT NULL, message_pk bigint REFERENCES messages,
    payload text NOT NULL, received_at timestamptz NOT NULL, UNIQUE (message_id, recipient, type, error_code));
"""
"""The tables of a receiver written by hand, with the indexes it needs and no others."""

Rows = dict[str, list[dict[str, object]]]


def seed_rows(*, plain: bool, messages: int = MESSAGES) -> Rows:
    """The rows of the messages, by table, parents first."""
    found: Rows = {"messages": [], "recipients": []} if plain else {"messages": [], "message_ids": [], "recipients": []}
    ours = {"application_id": "app", "sender": SENDER, "text": "Lunch.", "media": "[]", "receipts": False}
    ours |= {
        "send_status": "accepted",
        "urgency": 1,
        "units": RECIPIENTS,
        "attempt": 1,
        "failures": 0,
        "created_at": WHEN,
        "updated_at": WHEN,
    }
    waiting: dict[str, object] = {"status": "pending", "updated_at": WHEN}
    for number in range(messages):
        pk, tag, message_id = PK + number, tag_of(number), message_id_of(number)
        assert is_tag(tag)
        more = {"message_id": message_id} if plain else ours
        found["messages"].append({"pk": pk, "tag": tag, **more})
        if not plain:
            linked = {"message_pk": pk, "answered": True, "linked_at": WHEN}
            found["message_ids"].append({"message_id": message_id, **linked})
        for position in range(RECIPIENTS):
            row = {"message_pk": pk, "recipient": recipient_of(number, position), **waiting}
            unsaid = {"position": position, "standing": b"", "invalid_recipient": False, "created_at": WHEN}
            found["recipients"].append(row if plain else row | unsaid)
    return found


class Store:
    """The database of a contestant, and the messages in it."""

    def __init__(self, url: str, *, plain: bool) -> None:
        self.url = url
        self.plain = plain
        self.libpq_url = url.replace("+psycopg", "")
        if plain:
            with psycopg.connect(self.libpq_url, autocommit=True) as connection:
                connection.execute(PLAIN_TABLES.encode())
        else:
            schema.upgrade(url)
        self._rows = seed_rows(plain=plain)
        self._file = url.removeprefix("sqlite:///") if url.startswith("sqlite") else None

    def reset(self) -> None:
        """Stores the messages and no event, so that every run starts from the same rows."""
        if self._file:
            self._fill_file(self._file)
            return
        with psycopg.connect(self.libpq_url, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {', '.join(['events', *self._rows])} RESTART IDENTITY CASCADE".encode())
            for table, rows in self._rows.items():
                columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
                copy = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
                with connection.cursor().copy(copy) as into:
                    for row in rows:
                        into.write_row(list(row.values()))
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def _fill_file(self, path: str) -> None:
        """Fills a new file once."""
        with closing(sqlite3.connect(path)) as file, file:
            for table, rows in self._rows.items():
                columns = ", ".join(rows[0])
                marks = ", ".join("?" * len(rows[0]))
                values = [[_as_sqlite(value) for value in row.values()] for row in rows]
                file.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)

    def count(self) -> Counter[Identity]:
        """How often each event is stored."""
        query = "SELECT message_id, recipient, type, error_code FROM events"
        if self._file:
            with closing(sqlite3.connect(self._file)) as file:
                rows = file.execute(query).fetchall()
        else:
            with psycopg.connect(self.libpq_url) as connection:
                rows = connection.execute(query).fetchall()
        return Counter((each[0], each[1], each[2], each[3]) for each in rows)


def _as_sqlite(value: object) -> object:
    return "2026-11-21 12:00:00.000000" if value == WHEN else value


def problem(answered: Iterable[Identity], stored: Counter[Identity]) -> str | None:
    """A sentence about what is wrong with the stored events, or None."""
    missing = set(answered) - stored.keys()
    doubled = [identity for identity, times in stored.items() if times > 1]
    if missing:
        return f"{len(missing)} events were answered 2xx and are not stored, for instance {min(missing)}"
    return f"{len(doubled)} events are stored more than once, for instance {doubled[0]}" if doubled else None
