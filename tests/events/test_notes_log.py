"""Lines about events that came again, or after another outcome was known: old status, new status, delay."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest

from receiver.core import times
from receiver.core.events import Event
from receiver.database.database import Database, Session
from receiver.errors import StorageUnavailable
from receiver.events.committer import Committer
from receiver.events.notes import publish
from receiver.events.store import record
from tests.support.builders import ALICE, BOB, make_body, make_element, make_event
from tests.support.log_lines import Lines
from tests.support.stored import submit


def deliver(database: Database, *events: Event, now: datetime | None = None) -> None:
    result = database.write(lambda session: record(session, events, now=now or times.now()))
    publish(result, seconds=0)


def told(logged: Lines) -> list[tuple[Any, ...]]:
    return [(line["event"], line["type"], line["old_status"], line["new_status"]) for line in logged]


AGAIN, AFTER = "event repeated", "late event"


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        (["sending", "sent", "delivered"], []),
        (["failed 4720"], []),
        (["sent", "sending"], []),
        (["delivered", "delivered"], [(AGAIN, "message-delivered", "delivered", "delivered")]),
        (["failed 4720", "delivered"], [(AFTER, "message-delivered", "failed", "delivered")]),
        (["delivered", "failed 4720"], [(AFTER, "message-failed", "delivered", "failed")]),
        (["delivered", "sending"], [(AFTER, "message-sending", "delivered", "sending")]),
        (["delivered", "failed 9902"], [(AFTER, "message-failed", "delivered", "unconfirmed")]),
        (["failed 4720", "failed 4432"], []),
        (["failed 9902", "delivered"], []),
        (["delivered", "read"], []),
        (["sending", "delivered", "sending"], [(AGAIN, "message-sending", "delivered", "sending")]),
        (["of-tomorrow", "of-tomorrow"], [(AGAIN, "message-of-tomorrow", "pending", None)]),
    ],
    ids=str,
)
@pytest.mark.parametrize("together", [False, True])
def test_what_comes_again_or_after_the_outcome_is_reported(
    database: Database, logged: Lines, events: list[str], lines: list[Any], *, together: bool
) -> None:
    tag, _ = submit(database, ALICE, BOB)
    said = [_event(each, tag) for each in events]
    for batch in [said] if together else [[each] for each in said]:
        deliver(database, *batch)

    assert told(logged) == lines
    for line in logged:
        assert (line["tag"], line["recipient"]) == (tag, "…0101")
        assert 0 <= line["delay_seconds"] < 60
        assert line["deliveries"] == (2 if line["event"] == AGAIN else 1)


def _event(kind: str, tag: str) -> Event:
    name, _, code = kind.partition(" ")
    return make_event(name, tag=tag, error_code=int(code or 0))


@pytest.mark.parametrize(
    ("before", "together", "delays"),
    [
        ("delivered", ["sending", "failed 4720"], [60, 60]),
        ("sending", ["delivered", "sent"], [0]),
        ("sending", ["of-tomorrow", "delivered", "sent", "failed 4720", "delivered"], [0, 0, 0]),
    ],
)
def test_the_delay_of_a_late_event_begins_when_its_recipient_changed_even_by_the_same_batch(
    database: Database, logged: Lines, before: str, together: list[str], delays: list[int]
) -> None:
    tag, _ = submit(database, ALICE)
    now = times.now()
    deliver(database, _event(before, tag), now=now)
    deliver(database, *(_event(each, tag) for each in together), now=now + timedelta(minutes=1))

    assert [line["delay_seconds"] for line in logged] == delays


def test_one_recipients_outcome_is_no_news_about_another(database: Database, logged: Lines) -> None:
    tag, _ = submit(database, ALICE, BOB)
    deliver(database, make_event("delivered", ALICE, tag=tag))
    deliver(database, make_event("sending", ALICE, tag=tag), make_event("failed", BOB, tag=tag, error_code=4720))

    assert [line["recipient"] for line in logged] == ["…0101"]


def test_a_repeat_of_what_is_no_message_of_ours_is_reported_without_a_status(database: Database, logged: Lines) -> None:
    for event in (make_event("delivered", tag="another's"), make_event("received", message_id="inbound")):
        deliver(database, event)
        deliver(database, event)

    assert [(line["event"], line["tag"], line["old_status"]) for line in logged] == [(AGAIN, None, None)] * 2
    assert "another" not in str(logged)


Result = TypeVar("Result")


class Losing(Database):
    """Undoes each transaction at first; all but the last of them are tried again."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_lost = False

    def write(self, work: Callable[[Session], Result]) -> Result:
        def undone(session: Session) -> None:
            work(session)
            raise StorageUnavailable

        with suppress(StorageUnavailable):
            super().write(undone)
        if self.is_lost:
            raise StorageUnavailable
        return super().write(work)


def test_only_what_is_durable_is_reported_and_only_once_however_often_it_was_tried(
    database: Database, database_url: str, logged: Lines
) -> None:
    tag, _ = submit(database, ALICE)
    first = make_body(make_element("delivered", tag=tag))
    second = make_body(make_element("failed", tag=tag, errorCode=4720))
    with Losing(database_url) as losing, Committer(losing) as committer:
        for body in (first, first, second):
            committer.receive(body)
        losing.is_lost = True
        with pytest.raises(StorageUnavailable):
            committer.receive(second)

    assert [line["event"] for line in logged if line["event"] in (AGAIN, AFTER)] == [AGAIN, AFTER]
