"""The messages that exist before a run, and the events about them. All is made from numbers, so that pgbench, which
computes with nothing else, can name the same messages."""

import base64
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from receiver.core.tags import is_tag
from receiver.database import schema
from tests.support.builders import CALLBACK_AUTH, SENDER, make_element
from tests.support.processes import environment

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


def make_events(count: int, *, known: bool = True) -> list[dict[str, object]]:
    """Returns elements of callbacks, each about another recipient than all before, with two exceptions.

    Of each fifty, one repeats a recent event, and one says something else about a recent recipient: that it failed if
    it was delivered, else that it was delivered. 1 in 10 of the others says sending, 1 in 12 failed, the rest
    delivered. Unless ``known``, the application sent these messages itself: neither tags nor message ids are ours.
    """
    pairs = MESSAGES * RECIPIENTS
    if count > pairs:
        raise ValueError(f"there are only {pairs} recipients")
    events: list[dict[str, object]] = []
    for place in range(count):
        if place % 50 == 49:
            events.append(events[place - 20])
            continue
        is_second = place % 50 == 24
        pair = (place - 12 if is_second else place) * 7919 % pairs  # 7919 is prime: every recipient comes once
        number, position = divmod(pair, RECIPIENTS)
        kind, code = kind_of(number, position)
        if is_second:
            kind, code = ("failed", FAILURES[0]) if kind == "delivered" else ("delivered", 0)
        events.append(make_one(number, position, kind, code, known=known))
    return events


def kind_of(number: int, position: int) -> tuple[str, int]:
    """Returns what the first event about this recipient says, and its error code, or 0."""
    if (number * RECIPIENTS + position) % 10 == 0:
        return "sending", 0
    return ("failed", FAILURES[number % 4]) if (number + position) % 12 == 0 else ("delivered", 0)


def make_one(number: int, position: int, kind: str, code: int = 0, *, known: bool = True) -> dict[str, object]:
    """Returns an event about this recipient, of the type ``message-<kind>``."""
    said = {"errorCode": code, "description": "invalid"} if code else {"description": "ok"}
    tag, message_id = (tag_of(number), message_id_of(number)) if known else (f"order {number}", f"{number:028}x")
    element = make_element(kind, recipient_of(number, position), tag=tag, message_id=message_id, **said)
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


@cache
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

    def __init__(self, url: str, *, plain: bool, folder: Path | None = None) -> None:
        """Creates the tables: those of a receiver written by hand if ``plain``, else the service's.

        ``folder`` is the working tree of another version of the service, whose tables these are to be.
        """
        self.url = url
        self.plain = plain
        self.libpq_url = url.replace("+psycopg", "")
        if plain:
            with psycopg.connect(self.libpq_url, autocommit=True) as connection:
                connection.execute(PLAIN_TABLES.encode())
        elif folder:
            migrate = [sys.executable, "-m", "receiver.cli", "migrate"]
            subprocess.run(migrate, env=environment(url), cwd=folder, check=True, capture_output=True)
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

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""
        if self._file:
            with closing(sqlite3.connect(self._file)) as file:
                return file.execute(query).fetchall()
        with psycopg.connect(self.libpq_url) as connection:
            return connection.execute(query.encode()).fetchall()


def _as_sqlite(value: object) -> object:
    return "2026-11-21 12:00:00.000000" if value == WHEN else value
