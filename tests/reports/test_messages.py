"""Every filter of the list of messages."""

import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from receiver.core import times
from receiver.core.messages import Accepted, Refused, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import RecipientStatus
from receiver.database.database import Database, Session
from receiver.events.store import record
from receiver.messages.outbox import record_result
from receiver.reports import find, messages
from receiver.reports.messages import MessageFilter, messages_page
from tests.support.builders import ALICE, BOB, CAROL, SENDER, make_event
from tests.support.plans import plans
from tests.support.stored import MINUTE, answer, deliver, submit, submitting

REFUSED = Refused(because=RefusedBecause.BANDWIDTH, status=400)

CREATED = datetime(2026, 11, 21, 12, 0, 0, 500_000, tzinfo=UTC)
MILLISECOND, MICROSECOND = timedelta(milliseconds=1), timedelta(microseconds=1)


def store_one_of_each(session: Session) -> dict[str, str]:
    """Messages that differ in every field that a filter has; their names by tag."""
    now = times.now()
    names: dict[str, str] = {}

    def add(name: str, *to: str, **changes: Any) -> int:
        tag, pk = submitting(session, *to, created_at=CREATED + len(names) * MILLISECOND, **changes)
        names[tag] = name
        return pk

    def settle(pk: int, said: Any) -> None:
        record_result(session, pk, number=1, result=said, now=now)

    settle(add("pending", ALICE, BOB, reference="r1"), Accepted(message_id="id-pending"))
    mixed = add("mixed", ALICE, BOB, CAROL, reference="r2", sender="LUNCH")
    settle(mixed, Accepted(message_id="id-mixed"))
    settle(add("done", CAROL, reference="r2"), Accepted(message_id="id-done"))
    settle(add("refused", BOB, sender="123456"), REFUSED)
    settle(add("unknown", BOB), Unknown(status=502))
    add("lapsed", ALICE, deadline_in=-MINUTE)
    add("under way", ALICE, reference="R1")
    [mixed_tag] = [tag for tag, name in names.items() if name == "mixed"]
    elements = [
        make_event("delivered", ALICE, message_id="id-mixed"),
        make_event("failed", BOB, message_id="id-mixed", error_code=4720),
        make_event("sending", CAROL, message_id="id-mixed-2", tag=mixed_tag),
        make_event("failed", CAROL, message_id="id-done", error_code=9999),
        make_event("delivered", ALICE, message_id="id of nobody"),
        make_event("received", ALICE, message_id="id-inbound"),
    ]
    record(session, elements, now=now)
    return names


EVERYTHING = ["under way", "lapsed", "unknown", "refused", "done", "mixed", "pending"]

FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, EVERYTHING),
    ({"reference": "r1"}, ["pending"]),
    ({"reference": "r2"}, ["done", "mixed"]),
    ({"reference": "r"}, []),
    ({"reference_prefix": "r"}, ["done", "mixed", "pending"]),
    ({"reference_prefix": "r2"}, ["done", "mixed"]),
    ({"reference_prefix": "r22"}, []),
    ({"reference_prefix": "_2"}, []),
    ({"reference_prefix": "%"}, []),
    ({"reference_prefix": "r", "reference": "r1", "to": BOB}, ["pending"]),
    ({"message_id": "id-pending"}, ["pending"]),
    ({"message_id": "id-mixed"}, ["mixed"]),
    ({"message_id": "id-mixed-2"}, ["mixed"]),
    ({"message_id": "id of nobody"}, []),
    ({"message_id": "id-inbound"}, []),
    ({"to": ALICE}, ["under way", "lapsed", "mixed", "pending"]),
    ({"to": CAROL}, ["done", "mixed"]),
    ({"to": SENDER}, []),
    ({"to": "%"}, []),
    ({"sender": "LUNCH"}, ["mixed"]),
    ({"sender": "lunch"}, []),
    ({"sender": "123456"}, ["refused"]),
    ({"send_status": SendStatus.QUEUED}, []),
    ({"send_status": SendStatus.SUBMITTING}, ["under way"]),
    ({"send_status": SendStatus.ACCEPTED}, ["done", "mixed", "pending"]),
    ({"send_status": SendStatus.REFUSED}, ["refused"]),
    ({"send_status": SendStatus.UNKNOWN}, ["lapsed", "unknown"]),
    ({"status": RecipientStatus.PENDING}, ["under way", "lapsed", "unknown", "pending"]),
    ({"status": RecipientStatus.SENDING}, ["mixed"]),
    ({"status": RecipientStatus.SENT}, []),
    ({"status": RecipientStatus.UNCONFIRMED}, ["done"]),
    ({"status": RecipientStatus.DELIVERED}, ["mixed"]),
    ({"status": RecipientStatus.FAILED}, ["mixed"]),
    ({"status": RecipientStatus.NOT_SENT}, ["refused"]),
    ({"complete": True}, ["refused", "done"]),
    ({"complete": False}, ["under way", "lapsed", "unknown", "mixed", "pending"]),
    ({"since": CREATED}, EVERYTHING),
    ({"since": CREATED + 6 * MILLISECOND}, ["under way"]),
    ({"until": CREATED}, []),
    ({"until": CREATED + MILLISECOND}, ["pending"]),
    ({"since": CREATED + MILLISECOND, "until": CREATED + 3 * MILLISECOND}, ["done", "mixed"]),
    ({"to": ALICE, "status": RecipientStatus.FAILED}, ["mixed"]),
    ({"reference": "r2", "complete": True}, ["done"]),
    ({"sender": SENDER, "send_status": SendStatus.ACCEPTED, "to": BOB}, ["pending"]),
    ({"reference": "r1", "to": CAROL}, []),
]


def test_every_filter_finds_what_it_names_newest_first(database: Database) -> None:
    names = database.write(store_one_of_each)
    with database.read() as session:
        for wanted, expected in FILTERS:
            found = messages_page(session, MessageFilter(**wanted), limit=50, now=times.now())
            assert [names[each.tag] for each in found] == expected, wanted


def test_every_filter_is_in_the_table_above_or_tested_below() -> None:
    tested = {name for wanted, _ in FILTERS for name in wanted} | {"updated_since", "after_tag"}

    assert {field.name for field in fields(MessageFilter)} == tested


@pytest.mark.parametrize(
    ("bound", "since", "until"),
    [
        (CREATED - MICROSECOND, True, False),
        (CREATED, True, False),
        (CREATED + MICROSECOND, False, True),
        (CREATED + MILLISECOND, False, True),
        (CREATED.astimezone(tz=None), True, False),
    ],
)
def test_since_and_until_part_at_the_instant_of_creation(
    database: Database, bound: datetime, *, since: bool, until: bool
) -> None:
    """Created at or after ``since``, and before ``until``: two neighbouring spans share nothing and miss nothing."""
    submit(database, created_at=CREATED)

    with database.read() as session:
        for wanted, expected in ((MessageFilter(since=bound), since), (MessageFilter(until=bound), until)):
            assert len(messages_page(session, wanted, limit=9, now=times.now())) == expected


class TestPages:
    def test_they_neither_miss_nor_repeat_while_new_messages_arrive(self, database: Database) -> None:
        def several(session: Session) -> list[str]:
            # Three share each millisecond, in which tags are random: they are listed as they were stored.
            return [submitting(session, ALICE, created_at=CREATED + n // 3 * MILLISECOND)[0] for n in range(25)]

        first = database.write(several)
        seen: list[list[str]] = []
        wanted = MessageFilter(to=ALICE)
        while True:
            page = messages.messages(database, wanted, limit=4)
            seen.append([each.tag for each in page.messages])
            submit(database, ALICE)
            if page.next_cursor is None:
                break
            wanted = replace(wanted, after_tag=page.next_cursor)

        assert [tag for page_ in seen for tag in page_] == first[::-1]
        assert [len(page_) for page_ in seen] == [4] * 6 + [1]

    @pytest.mark.parametrize(("limit", "pages"), [(1, 3), (2, 2), (3, 1), (4, 1)])
    def test_the_last_one_names_no_other(self, database: Database, limit: int, pages: int) -> None:
        database.write(lambda session: [submitting(session, ALICE) for _ in range(3)])
        count, cursor = 0, None
        while count == 0 or cursor is not None:
            count, cursor = (
                count + 1,
                messages.messages(database, MessageFilter(after_tag=cursor), limit=limit).next_cursor,
            )

        assert count == pages

    def test_none_of_nothing(self, database: Database) -> None:
        assert messages.messages(database, MessageFilter(), limit=50) == messages.MessagePage([], None)

    def test_a_filter_holds_across_them(self, database: Database) -> None:
        database.write(lambda session: [submitting(session, to) for to in (ALICE, BOB) * 5])
        page = messages.messages(database, MessageFilter(to=BOB), limit=3)
        rest = messages.messages(database, MessageFilter(to=BOB, after_tag=page.next_cursor), limit=3)

        assert len(page.messages + rest.messages) == 5
        assert {each.recipients[0].to for each in page.messages + rest.messages} == {BOB}


def test_one_page_is_one_state_of_the_database(database: Database) -> None:
    """Whatever is written while it is read."""
    tag, pk = submit(database, ALICE)
    with database.read() as session:
        [before] = messages_page(session, MessageFilter(), limit=9, now=times.now())
        answer(database, pk, REFUSED)
        deliver(database, make_event(tag=tag))
        session.expire_all()
        [after] = messages_page(session, MessageFilter(), limit=9, now=times.now())

        assert after.send_status == "submitting"
        assert [each.status for each in after.recipients] == ["pending"]
        assert before.tag == after.tag


def test_messages_of_one_millisecond_are_listed_and_found_last_stored_first_by_every_name(database: Database) -> None:
    """Tags of one millisecond are random, so they do not show the order."""

    def several(session: Session) -> list[str]:
        return [submitting(session, ALICE, created_at=CREATED, reference="batch")[0] for _ in range(20)]

    stored = database.write(several)
    assert stored != sorted(stored)
    names: list[dict[str, Any]] = [{}, {"to": ALICE}, {"reference": "batch"}, {"sender": SENDER}, {"complete": False}]

    for name in names:
        seen: list[str] = []
        wanted = MessageFilter(**name)
        while page := messages.messages(database, wanted, limit=3):
            seen += [each.tag for each in page.messages]
            if page.next_cursor is None:
                break
            wanted = replace(wanted, after_tag=page.next_cursor)
        assert seen == stored[::-1], name
    for word in (ALICE, "batch"):
        assert [each.message.tag for each in find.find(database, word, limit=20)[0]] == stored[::-1]


def test_a_page_in_the_middle_is_read_by_the_index_of_what_is_asked_for(database: Database) -> None:
    def several(session: Session, hour: int) -> list[str]:
        return [submitting(session, ALICE, created_at=CREATED - hour * timedelta(hours=1))[0] for _ in range(20)]

    tags = [tag for hour in range(30) for tag in database.write(partial(several, hour=hour))]
    asked = [MessageFilter(), MessageFilter(sender=SENDER), MessageFilter(to=ALICE)]

    for wanted in (replace(each, after_tag=tags[300]) for each in asked):
        plan = plans(database, lambda session, wanted=wanted: messages_page(session, wanted, limit=5, now=CREATED))[0]
        assert "_created_at_index" in plan, plan
        assert "Seq Scan on messages" not in plan, plan
        assert "'USE TEMP B-TREE FOR ORDER BY'" not in plan, plan
        assert not re.search(r"(?<!Incremental )Sort  ", plan), plan
