"""The message ids of a message: kept, shown, and bound once."""

from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select

from receiver.core.messages import Accepted
from receiver.database.database import Database
from receiver.database.models import MessageId
from receiver.reports import messages
from tests.support.builders import ALICE, BOB, NOON, make_event, store_message
from tests.support.log_lines import Lines
from tests.support.stored import accepted, deliver, events, links, message_ids, statuses, submit, view


def shown(database: Database, tag: str) -> tuple[str | None, list[str], bool]:
    """As the API shows them; support staff see the same."""
    report = messages.message(database, tag)
    [row] = view(database, "support_messages", tag=tag)
    assert row["message_id"] == report.message_id
    assert (row["message_ids"] or "").split() == report.message_ids
    assert row["sent_twice"] is report.sent_twice
    return report.message_id, report.message_ids, report.sent_twice


def test_a_message_without_an_id_shows_none(database: Database) -> None:
    tag, _ = submit(database)

    assert shown(database, tag) == (None, [], False)


@pytest.mark.parametrize("order", list(permutations(["answer", "a", "c"])), ids=" ".join)
def test_the_answer_s_id_comes_before_lower_ones(database: Database, order: tuple[str, ...]) -> None:
    tag, pk = submit(database)
    for step in order:
        if step == "answer":
            accepted(database, pk, "b")
        else:
            deliver(database, make_event(message_id=step, tag=tag))

    assert shown(database, tag) == ("b", ["a", "b", "c"], True)


def test_the_answer_s_id_is_the_answer_s_even_if_an_event_brought_it_first(database: Database) -> None:
    tag, pk = submit(database)
    deliver(database, make_event(message_id="b", tag=tag), make_event(message_id="a", tag=tag))
    assert shown(database, tag) == ("a", ["a", "b"], True)

    accepted(database, pk, "b")

    assert shown(database, tag) == ("b", ["a", "b"], True)


def test_an_id_keeps_the_time_at_which_its_message_became_known(database: Database) -> None:
    tag, pk = submit(database)
    deliver(database, make_event(message_id="b", tag=tag), now=NOON)

    accepted(database, pk, "b")

    with database.read() as session:
        [row] = session.scalars(select(MessageId))
    assert (row.linked_at, row.answered) == (NOON, True)


@pytest.mark.parametrize("order", ["Baéø", "øéaB", "aøBé"])
def test_without_an_answer_the_lowest_id_by_its_bytes_is_shown(database: Database, order: str) -> None:
    tag, _ = submit(database)
    for message_id in order:
        deliver(database, make_event(message_id=message_id, tag=tag))

    assert shown(database, tag) == ("B", ["B", "a", "é", "ø"], True)


def test_every_id_of_a_message_links(database: Database) -> None:
    tag, pk = submit(database, ALICE, BOB)
    accepted(database, pk, "one")
    deliver(database, make_event("sending", message_id="two", tag=tag))

    deliver(database, make_event("failed", ALICE, message_id="two"), make_event("failed", BOB, message_id="one"))

    assert {message_pk for message_pk, _ in links(database)} == {pk}
    assert statuses(database, pk) == {ALICE: "failed", BOB: "failed"}


def test_an_id_without_a_tag_of_ours_is_not_the_message_s(database: Database) -> None:
    tag, _ = store_message(database, ALICE, answer=Accepted(message_id="ours"))
    deliver(database, make_event(message_id="other"), make_event(message_id="third", tag="their-own-42"))

    assert shown(database, tag) == ("ours", ["ours"], False)


class TestTwoOfOurTagsUnderOneId:
    """Bandwidth would have to err; the first binding stays and the clash is logged as an error."""

    def clashes(self, logged: Lines) -> list[Any]:
        return [line for line in logged if line["log_level"] == "error" and line["message_id"] == "one"]

    @pytest.fixture
    def two(self, database: Database) -> tuple[tuple[str, int], tuple[str, int]]:
        return submit(database, ALICE), submit(database, ALICE)

    @pytest.mark.parametrize("by", ["answer", "event"])
    @pytest.mark.parametrize("then_by", ["answer", "event", "event without a tag"])
    def test_one_after_the_other(self, database: Database, two: Any, logged: Lines, by: str, then_by: str) -> None:
        (first, second) = two
        for (tag, pk), how in ((first, by), (second, then_by)):
            assert self.clashes(logged) == []
            if how == "answer":
                accepted(database, pk, "one")
            else:
                deliver(database, make_event(message_id="one", tag=tag if how == "event" else None))

        assert message_ids(database) == {"one": first[1]}
        assert shown(database, first[0]) == ("one", ["one"], False)
        assert shown(database, second[0]) == (None, [], False)
        assert len(self.clashes(logged)) == (then_by != "event without a tag")

    def test_the_answer_of_one_does_not_make_it_the_answer_s_id_of_the_other(
        self, database: Database, two: Any
    ) -> None:
        (first, second) = two
        deliver(database, *(make_event(message_id=each, tag=first[0]) for each in ("one", "lower")))

        accepted(database, second[1], "one")

        assert shown(database, first[0]) == ("lower", ["lower", "one"], True)

    def test_in_one_batch(self, database: Database, two: Any, logged: Lines) -> None:
        (first, second) = two
        deliver(
            database,
            make_event("sending", message_id="one", tag=first[0]),
            make_event("delivered", message_id="one", tag=second[0]),
        )

        assert message_ids(database)["one"] in (first[1], second[1])
        assert {pk for pk, _ in links(database)} == {first[1], second[1]}
        assert len(self.clashes(logged)) == 1

    def test_an_event_follows_its_own_tag_and_later_ones_the_first_binding(
        self, database: Database, two: Any, logged: Lines
    ) -> None:
        (first, second) = two
        accepted(database, first[1], "one")
        deliver(database, make_event("failed", message_id="one", tag=second[0], error_code=4720))
        deliver(database, make_event("delivered", message_id="one"))

        assert {row.type: row.message_pk for row in events(database)} == {
            "message-failed": second[1],
            "message-delivered": first[1],
        }
        assert statuses(database, first[1]) == {ALICE: "delivered"}
        assert statuses(database, second[1]) == {ALICE: "failed"}
        assert len(self.clashes(logged)) == 1

    def test_of_two_tags_that_one_event_came_with_at_once_the_one_of_ours_counts(
        self, database: Database, two: Any, logged: Lines
    ) -> None:
        (first, second) = two
        accepted(database, first[1], "one")
        deliver(database, *(make_event("failed", message_id="one", tag=each) for each in ("their-own-42", second[0])))

        assert links(database) == [(second[1], "tag")]
        assert statuses(database, first[1]) == {ALICE: "pending"}
        assert statuses(database, second[1]) == {ALICE: "failed"}
        assert len(self.clashes(logged)) == 1

    def test_a_linked_event_is_never_linked_again(self, database: Database, two: Any, logged: Lines) -> None:
        (first, second) = two
        deliver(database, make_event(message_id="one", tag=first[0]))
        deliver(database, make_event(message_id="one", tag=second[0]))
        accepted(database, second[1], "one")

        assert links(database) == [(first[1], "tag")]
        assert statuses(database, first[1]) == {ALICE: "delivered"}
        assert statuses(database, second[1]) == {ALICE: "pending"}
        assert len(self.clashes(logged)) == 2
        assert ALICE not in str(logged)
