"""Which message an event belongs to, in every order of the answer and the events."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import pytest

from receiver.core.events import INBOUND_TYPES, Event
from receiver.core.messages import Accepted
from receiver.core.tags import new_tag
from receiver.core.times import now
from receiver.database.database import Database
from tests.support.builders import ALICE, BOB, CAROL, MESSAGE_ID, make_event, store_message
from tests.support.stored import (
    accepted,
    columns,
    deliver,
    events,
    links,
    message_ids,
    messages,
    statuses,
    submit,
    view,
)


@dataclass
class Sending:
    """A message to Alice, Bob and Carol whose answer the test brings when it likes."""

    database: Database
    tag: str
    pk: int

    def tagged(self, kind: str = "delivered", recipient: str = ALICE, **changes: Any) -> Event:
        return make_event(kind, recipient, tag=self.tag, **changes)

    def hear(self, *events: Event) -> None:
        deliver(self.database, *events)

    def answer(self, message_id: str | None = MESSAGE_ID) -> None:
        accepted(self.database, self.pk, message_id)

    @property
    def statuses(self) -> list[str]:
        return list(statuses(self.database, self.pk).values())

    @property
    def links(self) -> list[tuple[int | None, str | None]]:
        return links(self.database)


@pytest.fixture
def sending(database: Database) -> Sending:
    return Sending(database, *submit(database))


def test_a_tag_links_before_the_answer(sending: Sending) -> None:
    sending.hear(sending.tagged())

    assert sending.links == [(sending.pk, "tag")]
    assert sending.statuses == ["delivered", "pending", "pending"]
    assert message_ids(sending.database) == {MESSAGE_ID: sending.pk}


def test_an_event_without_a_tag_is_parked_and_linked_by_the_answer(sending: Sending) -> None:
    sending.hear(make_event())
    assert sending.links == [(None, None)]
    assert message_ids(sending.database) == {MESSAGE_ID: None}
    assert [row["recipient"] for row in view(sending.database, "support_unlinked")] == [ALICE]

    sending.answer()

    assert sending.links == [(sending.pk, "messageId")]
    assert sending.statuses == ["delivered", "pending", "pending"]
    assert view(sending.database, "support_unlinked") == []


def test_an_event_without_a_tag_is_linked_by_id_after_the_answer(sending: Sending) -> None:
    sending.answer()
    sending.hear(make_event())

    assert sending.links == [(sending.pk, "messageId")]
    assert sending.statuses == ["delivered", "pending", "pending"]


def test_parked_events_are_linked_by_the_tag_of_another_event(sending: Sending) -> None:
    sending.hear(make_event(), make_event("failed", BOB, error_code=4720))
    sending.hear(sending.tagged(recipient=CAROL))

    assert {pk for pk, _ in sending.links} == {sending.pk}
    assert sending.statuses == ["delivered", "failed", "delivered"]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
def test_a_repeat_s_own_tag_links_the_parked_event(sending: Sending, *, together: bool) -> None:
    if together:
        sending.hear(make_event(), sending.tagged())
    else:
        sending.hear(make_event())
        sending.hear(sending.tagged())

    [(pk, linked_by)] = sending.links
    assert pk == sending.pk
    assert linked_by is not None
    assert sending.statuses == ["delivered", "pending", "pending"]


@pytest.mark.parametrize("is_tagged_first", [True, False])
def test_a_repeat_does_not_change_by_what_its_event_was_linked(sending: Sending, *, is_tagged_first: bool) -> None:
    sending.answer()
    sending.hear(sending.tagged() if is_tagged_first else make_event())
    before = sending.links
    sending.hear(make_event() if is_tagged_first else sending.tagged())

    assert sending.links == before == [(sending.pk, "tag" if is_tagged_first else "messageId")]


UNUSABLE_TAGS: dict[str, Callable[[], str | None]] = {
    "absent": lambda: None,
    "empty": lambda: "",
    "of somebody else": lambda: "their-own-42",
    "like ours but unknown": lambda: new_tag(now()),
    "1,024 characters long": lambda: "t" * 1024,
    "not ASCII": lambda: "étiquette 標籤 🏷",
}


@pytest.mark.parametrize("make_tag", UNUSABLE_TAGS.values(), ids=UNUSABLE_TAGS)
def test_a_tag_that_is_not_ours_leaves_it_to_the_id(sending: Sending, make_tag: Callable[[], str | None]) -> None:
    tag = make_tag()
    sending.hear(make_event(tag=tag))
    assert sending.links == [(None, None)]
    sending.answer()
    sending.hear(make_event("failed", BOB, tag=tag))

    assert sending.links == [(sending.pk, "messageId")] * 2
    assert [row.tag for row in events(sending.database)] == [tag, tag]
    assert sending.statuses == ["delivered", "failed", "pending"]


def test_our_tag_in_lower_case_is_a_foreign_one(sending: Sending) -> None:
    sending.hear(make_event(tag=sending.tag.lower()))

    assert sending.links == [(None, None)]


STEPS: dict[str, Callable[[Sending, str], None]] = {
    "answer": lambda sending, message_id: sending.answer(message_id),
    "untagged": lambda sending, message_id: sending.hear(make_event(message_id=message_id)),
    "tagged": lambda sending, message_id: sending.hear(
        sending.tagged("failed", BOB, error_code=4720, message_id=message_id)
    ),
    "foreign": lambda sending, message_id: sending.hear(
        make_event("sending", CAROL, tag="their-own-42", message_id=message_id)
    ),
}


def test_every_order_of_answer_and_events_ends_alike(database: Database) -> None:
    for number, order in enumerate(permutations(STEPS)):
        sending = Sending(database, *submit(database))
        for step in order:
            STEPS[step](sending, f"id-{number}")

        assert sending.statuses == ["delivered", "failed", "sending"], order
        [message] = view(database, "support_messages", tag=sending.tag)
        assert columns(message, "message_id", "sent_twice", "send_status") == (f"id-{number}", False, "accepted"), order
    assert view(database, "support_unlinked") == []


@pytest.mark.parametrize("event_type", sorted(INBOUND_TYPES))
def test_inbound_is_never_linked_even_under_our_id_or_tag(sending: Sending, event_type: str) -> None:
    untagged = Event(type=event_type, message_id=MESSAGE_ID, recipient=ALICE)
    tagged = Event(type=event_type, message_id=MESSAGE_ID, recipient=BOB, tag=sending.tag)

    sending.hear(untagged, tagged)
    assert message_ids(sending.database) == {}
    assert messages(sending.database)[sending.tag].send_status == "submitting"
    sending.answer()
    sending.hear(untagged, tagged, Event(type=event_type, message_id=MESSAGE_ID, recipient=CAROL, tag=sending.tag))

    assert sending.links == [(None, None)] * 3
    assert sending.statuses == ["pending"] * 3
    assert [row["disposition"] for row in view(sending.database, "support_inbound")] == ["inbound"] * 3
    assert view(sending.database, "support_unlinked") == []


@pytest.mark.parametrize("answer_first", [True, False])
def test_what_inbound_says_beside_an_event_of_ours_stays_unlinked(sending: Sending, *, answer_first: bool) -> None:
    if answer_first:
        sending.answer()
    sending.hear(make_event("received"), make_event())
    if not answer_first:
        sending.answer()

    assert {row.type: row.message_pk for row in events(sending.database)} == {
        "message-received": None,
        "message-delivered": sending.pk,
    }


def test_an_unreadable_answer_learns_its_id_from_the_first_event(sending: Sending) -> None:
    sending.answer(message_id=None)
    sending.hear(make_event(recipient=BOB))
    assert sending.statuses == ["pending"] * 3

    sending.hear(sending.tagged())

    assert sending.statuses == ["delivered", "delivered", "pending"]
    assert message_ids(sending.database) == {MESSAGE_ID: sending.pk}


def test_any_linked_outbound_event_proves_acceptance(database: Database) -> None:
    for kind, recipient in product(["unheard-of", "delivered", "failed"], [ALICE, "", "+19995550199"]):
        tag, _ = submit(database)
        deliver(database, make_event(kind, recipient, tag=tag, message_id=f"id of {tag}"))

        assert messages(database)[tag].send_status == "accepted", (kind, recipient)


def test_many_messages_are_linked_in_one_batch(database: Database) -> None:
    tagged, untagged = submit(database, ALICE), submit(database, BOB)
    _, answered = store_message(database, CAROL, answer=Accepted(message_id="three"))
    accepted(database, untagged[1], "two")

    deliver(
        database,
        make_event(recipient=CAROL, message_id="three"),
        make_event(recipient=BOB, message_id="two"),
        make_event(recipient=ALICE, message_id="one", tag=tagged[0]),
        make_event(recipient=ALICE, message_id="four"),
    )

    assert {row.message_id: (row.message_pk, row.linked_by) for row in events(database)} == {
        "three": (answered, "messageId"),
        "two": (untagged[1], "messageId"),
        "one": (tagged[1], "tag"),
        "four": (None, None),
    }
    assert message_ids(database) == {"one": tagged[1], "two": untagged[1], "three": answered, "four": None}
