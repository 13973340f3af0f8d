"""What people wrote is read later where the previous version stored it, on both engines, while replies keep coming."""

import threading
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from receiver.core import times
from receiver.database import schema
from receiver.database.database import Database
from receiver.database.models import REDACTED, StoredEvent
from receiver.errors import StorageUnavailable
from receiver.events import replies
from receiver.maintenance.doctor import traffic
from receiver.maintenance.doctor.findings import Mark
from tests.support.builders import ALICE, SENDER, make_settings
from tests.support.locks import Held, wait_until
from tests.support.plans import plans
from tests.support.stored import change, columns, view
from tests.support.unparsed_replies import store_payload, store_reply

READ = ("sender", "text", "group_members", "opt_out")


def shown(database: Database) -> dict[str, tuple[Any, ...]]:
    return {row["message_id"]: columns(row, *READ) for row in view(database, "support_inbound")}


def unparsed_now(database: Database) -> int:
    with database.read() as session:
        return replies.count_unparsed(session)


def test_a_reply_of_the_version_before_is_unread_and_then_read(database: Database) -> None:
    store_reply(database, "STOP")
    assert (shown(database), unparsed_now(database)) == ({"inbound": (None, None, None, None)}, 1)

    assert replies.read_page(database) == 1

    assert (shown(database), unparsed_now(database)) == ({"inbound": (ALICE, "STOP", SENDER, True)}, 0)
    assert replies.read_page(database) == 0


@pytest.mark.parametrize(
    "payload",
    ["{}", "[", "1", '{"message": []}', '{"type": "message-received", "message": {"id": ""}}', "[" * 5000, "1, 2"],
)
def test_what_says_nothing_is_looked_at_once(database: Database, payload: str) -> None:
    store_payload(database, payload, "odd")
    store_reply(database, "Hello", "ordinary")

    assert (replies.read_page(database), replies.read_page(database)) == (2, 0)

    found = shown(database)
    assert (found["odd"][:2], found["ordinary"][:2]) == ((None, None), (ALICE, "Hello"))


def test_a_reply_without_a_text_is_read_once(database: Database) -> None:
    store_reply(database, None, "without")

    assert (replies.read_page(database), replies.read_page(database)) == (1, 0)
    assert shown(database)["without"] == (ALICE, None, SENDER, False)


def test_outbound_events_are_nothing_to_read(database: Database) -> None:
    store_payload(database, '{"message": {"from": "x", "text": "x"}}', "outbound")
    change(database, "UPDATE events SET type = 'message-delivered'")

    assert (unparsed_now(database), replies.read_page(database)) == (0, 0)


def test_at_most_a_thousand_are_read_in_a_transaction(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replies.PAGE == 1000
    monkeypatch.setattr(replies, "PAGE", 2)
    for number in range(5):
        store_reply(database, "Hello", f"id-{number}")

    assert [replies.read_page(database) for _ in range(4)] == [2, 2, 1, 0]


def test_what_the_version_before_redacts_beside_this_one_is_blanked(database: Database) -> None:
    store_reply(database, "STOP")
    replies.read_page(database)
    change(database, "UPDATE events SET payload = :payload, recipient = 'redacted-1'", payload=REDACTED)
    assert unparsed_now(database) == 1

    assert (replies.read_page(database), replies.read_page(database)) == (1, 0)

    with database.read() as session:
        event = session.scalars(select(StoredEvent)).one()
    assert (event.sender, event.text, event.media, event.members, event.keyword) == (None, None, None, None, "")
    assert shown(database) == {"inbound": (None, None, None, None)}


def test_several_processes_read_at_the_same_time_and_none_waits_for_another(postgres: Database) -> None:
    for number in range(3):
        store_reply(postgres, "Hello", f"id-{number}")
    held = Held(lambda session: replies.lock_unparsed(session, limit=2))
    other = threading.Thread(target=lambda: postgres.write(held))
    other.start()
    held.wait()

    assert replies.read_page(postgres) == 1

    held.release()
    other.join()
    assert replies.read_page(postgres) == 2


def test_what_is_unread_is_found_by_an_index_of_its_own(database: Database) -> None:
    for number in range(300):
        store_reply(database, "Hello", f"id-{number}")
    while replies.read_page(database):
        pass
    store_reply(database, "Hello", "unparsed")

    one, page = replies.first_unparsed(limit=1), replies.first_unparsed(limit=1000)
    for ask in (
        lambda session: session.execute(one).first() is not None,
        replies.count_unparsed,
        lambda session: session.execute(page).all(),
    ):
        [plan] = plans(database, ask)
        assert "events_unread_index" in plan, plan


def test_the_doctor_counts_what_is_unread(database: Database) -> None:
    def finding() -> Any:
        return next(each for each in traffic.check_traffic(database, make_settings("")) if each.check == "replies")

    assert finding().mark is Mark.OK
    store_reply(database, "STOP")
    assert (finding().mark, "yet: 1" in finding().found) == (Mark.WARNING, True)
    replies.read_page(database)
    assert finding().mark is Mark.OK


def test_a_reader_goes_on_after_an_error(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([StorageUnavailable(), ValueError()])

    def failing(work: Any) -> Any:
        for error in errors:
            raise error
        return Database.write(database, work)

    monkeypatch.setattr(replies, "EVERY_SECONDS", 0)
    monkeypatch.setattr(database, "write", failing)
    store_other = Database(str(database.engine.url.render_as_string(hide_password=False)))
    with store_other, replies.ReplyReader(database):
        store_reply(store_other, "Hello")
        wait_until(lambda: unparsed_now(store_other) == 0)


def test_replies_that_keep_coming_during_an_upgrade_are_all_read(database_url: str) -> None:
    """The old version stores before, while and after the database is migrated, beside the new one."""
    schema.downgrade(database_url, "0002")
    stopping, stored, failed = threading.Event(), 0, 0

    def keep_storing(old: Database) -> None:
        nonlocal stored, failed
        for number in count():
            if stopping.is_set():
                return
            try:
                store_reply(old, f"text {number}", f"id-{number}", at=times.now() - timedelta(hours=1))
                stored += 1
            except StorageUnavailable:  # Bandwidth sends it again
                failed += 1

    with Database(database_url) as old, Database(database_url) as new:
        thread = threading.Thread(target=keep_storing, args=(old,))
        thread.start()
        wait_until(lambda: stored > 20)
        schema.upgrade(database_url)
        before = stored
        with replies.ReplyReader(new):
            wait_until(lambda: stored > before + 20)
            stopping.set()
            thread.join()
            while replies.read_page(new):
                pass
        found = shown(new)

    assert len(found) == stored > failed
    assert {name: row[1] for name, row in found.items()} == {name: name.replace("id-", "text ") for name in found}
