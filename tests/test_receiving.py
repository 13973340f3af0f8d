"""A callback in portions, and a database file that is not there any more."""

from pathlib import Path

import pytest

from receiver.errors import StorageUnavailable
from receiver.receiving import PORTION, receive
from receiver.storage.database import Database
from receiver.storage.migrations import upgrade
from receiver.storage.reading import message_tagged
from receiver.storage.recording import Tally
from tests.builders import ALICE, BOB, make_body, make_element, store_message


def test_a_callback_of_several_portions_is_counted_as_one(database_url: str) -> None:
    with Database(database_url) as database:
        tag, _ = store_message(database, ALICE, BOB)
        many = [make_element("of-tomorrow", ALICE, message_id=f"id {number}") for number in range(PORTION)]
        body = make_body(*many, make_element("delivered", ALICE, tag=tag), {"type": 7}, *many[:10])

        assert receive(database, body) == Tally(recorded=PORTION + 1, duplicates=10, unlinked=PORTION, unreadable=1)
        assert receive(database, body) == Tally(duplicates=PORTION + 11, unreadable=1)

        with database.read() as session:
            stored = message_tagged(session, tag)
        assert stored is not None
        assert [each.status for each in stored.recipients] == ["delivered", "pending"]


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_nothing_is_answered_200_that_went_into_a_file_nobody_can_find(sqlite_url: str, *, replaced: bool) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    body = make_body(make_element())
    with Database(sqlite_url) as database:
        receive(database, body)
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        if not replaced:
            with pytest.raises(StorageUnavailable):
                receive(database, body)
        upgrade(sqlite_url)

        assert receive(database, body).recorded == 1

    with Database(sqlite_url) as another:
        assert receive(another, body).duplicates == 1
