"""Every question of docs/support.md is answered by its query, on a database whose story is known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from receiver.bandwidth.callbacks import parse
from receiver.core.events import Unreadable
from receiver.core.messages import Accepted, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.database.database import Database
from receiver.maintenance import purge, resolve
from receiver.maintenance.purge import Terms
from tests.support import pages
from tests.support.builders import ALICE, BOB, CAROL, SENDER, make_event
from tests.support.stored import HOUR, answer, deliver, submit

INVALID, DAVE, ERIN, FRANK = "+12005564404", "+19195550104", "+19195550105", "+19195550106"
ID = "14762070468292kw2fuqty55yp2b2"
NOBODYS_TAG = "their-own-42"


def at(day: int, hour: int = 12, second: int = 0) -> datetime:
    """A time in November 2026."""
    return datetime(2026, 11, day, hour, 0, second, tzinfo=UTC)


def z(day: int, hour: int = 12, second: int = 0) -> str:
    return f"2026-11-{day}T{hour:02}:00:{second:02}.000000Z"


class Story:
    """A known story, stored in the order in which it would have happened."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tags: dict[str, str] = {}
        """The tag of each message, by reference."""

    def send(
        self, reference: str, when: datetime, *to: str, said: SendResult, overdue_in: timedelta = 27 * HOUR
    ) -> None:
        tag, pk = submit(self.database, *to, created_at=when, reference=reference, overdue_in=overdue_in)
        answer(self.database, pk, said, now=when)
        self.tags[reference] = tag

    def named(self, row: Iterable[object]) -> tuple[object, ...]:
        """The rows with references instead of tags, and days as text."""
        references = {tag: reference for reference, tag in self.tags.items()}
        return tuple(str(value) if isinstance(value, date) else references.get(value, value) for value in row)

    def hear(self, when: datetime, kind: str, recipient: str, **of_event: Any) -> None:
        deliver(self.database, make_event(kind, recipient, occurred_at=when, **of_event), now=when)

    def receive(self, when: datetime, sender: str, words: str, *others: str, media: tuple[str, ...] = ()) -> None:
        """Stores a message that a person sent, as Bandwidth posts it."""
        message = {"id": f"{sender} {when}", "from": sender, "to": [SENDER, *others], "text": words, "media": media}
        element = {"type": "message-received", "time": when.isoformat(), "to": SENDER, "message": message}
        deliver(self.database, *parse(json.dumps([element]).encode()), now=when)


@pytest.fixture
def story(database: Database) -> Story:
    told = Story(database)
    tell_of_days(told)
    tell_of_what_is_not_as_it_should_be(told)
    return told


def tell_of_days(told: Story) -> None:
    told.send("lunch-1", at(21), ALICE, INVALID, said=Accepted(message_id=ID))
    told.hear(at(21, second=1), "failed", INVALID, message_id=ID, error_code=4404)
    told.hear(at(21, second=2), "delivered", INVALID, message_id=ID)
    for second in (3, 4):
        told.hear(at(21, second=second), "delivered", ALICE, message_id=ID)
    told.receive(at(21, 13), ALICE, "See you \N{THUMBS UP SIGN}", INVALID, media=("https://example.com/a.jpg",))

    told.send("lunch-2", at(22), ALICE, BOB, CAROL, said=Accepted(message_id="second"))
    told.hear(at(22), "delivered", ALICE, message_id="second")
    told.hear(at(22), "failed", BOB, message_id="second", error_code=5600)
    told.hear(at(22, second=9), "delivered", BOB, message_id="second")
    told.hear(at(22), "failed", CAROL, message_id="second", error_code=4770)
    told.receive(at(22, 14), BOB, "Stop!")
    told.receive(at(22, 15), CAROL, "Please stop by at noon.")

    told.send("lunch-3", at(23), INVALID, ALICE, CAROL, said=Accepted(message_id="third"))
    told.hear(at(23), "failed", INVALID, message_id="third", error_code=4404)
    told.hear(at(23), "failed", ALICE, message_id="third", error_code=5600)
    told.hear(at(23), "failed", CAROL, message_id="third", error_code=4770)
    told.receive(at(23, 14), ERIN, "Start!")
    told.receive(at(23, 13), ERIN, "STOP")

    told.send("lunch-4", at(24), ALICE, DAVE, ERIN, said=Accepted(message_id="fourth"))
    told.hear(at(24), "failed", ALICE, message_id="fourth", error_code=5600)
    told.hear(at(24), "failed", DAVE, message_id="fourth", error_code=4775)
    told.hear(at(24), "failed", ERIN, message_id="fourth", error_code=9902)


def tell_of_what_is_not_as_it_should_be(told: Story) -> None:
    objection = Refused(because=RefusedBecause.BANDWIDTH, status=400, description="'from' is not yours.")
    told.send("refused", at(25, 1), FRANK, said=objection)
    told.send("unknown", at(25, 2), FRANK, said=Unknown(type="timed-out", description="Too slow."))
    told.send("decided", at(25, 3), FRANK, said=Unknown())
    resolve.resolve(told.database, told.tags["decided"], SendStatus.REFUSED, reason="Frank got nothing.", by="jane")
    told.send("overdue", at(25, 4), FRANK, DAVE, said=Accepted(message_id="fifth"), overdue_in=-HOUR)
    told.hear(at(25, 4), "sending", DAVE, message_id="fifth")
    told.send("twice", at(25, 5), FRANK, said=Unknown())
    for number in (1, 2):
        told.hear(at(25, 5), "delivered", FRANK, message_id=f"copy-{number}", tag=told.tags["twice"])
    told.hear(at(26), "delivered", ALICE, message_id="of-nobody", tag=NOBODYS_TAG)
    for _ in range(2):
        deliver(told.database, Unreadable(payload="42", reason="The element is not an object."), now=at(26, 1))


REMOVE = "Remove or correct this number, and send nothing to it before that."
TAKES_NONE = "Definitely not delivered. The number takes no messages, or is invalid."
OVERDUE = "It is overdue: more should be known by now."
OPTED_OUT = "Definitely not delivered. The recipient has opted out."

ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "What happened to this message?": [
        (z(21), "accepted", "Bandwidth has it: a 202, or an event that proves it.", 2, 1, 1, 0, 0, True)
    ],
    "Who in the group received it, who did not, why, and what should be done?": [
        (ALICE, "delivered", "Delivered. Handed to Bandwidth's network, no more.", None),
        (INVALID, "failed", TAKES_NONE, REMOVE),
    ],
    "What did Bandwidth report about it, in order of arrival?": [
        (z(21, second=1), "message-failed", INVALID, 4404, 1, "applied"),
        (z(21, second=2), "message-delivered", INVALID, None, 1, "extraneous"),
        (z(21, second=3), "message-delivered", ALICE, None, 2, "applied"),
    ],
    "What became of the messages with this reference of the application?": [
        ("lunch-1", z(21), "accepted", 2, 1, 1, True)
    ],
    "Which message has this id at Bandwidth?": [("lunch-1", "lunch-1", z(21), "accepted", 1, 1)],
    "What did we send on that day, and how did it go?": [(z(21), "lunch-1", "accepted", 2, 1, 1)],
    "What did we send to this number, and was it delivered?": [
        (z(23), "lunch-3", "failed", TAKES_NONE),
        (z(21), "lunch-1", "failed", TAKES_NONE),
    ],
    "Which numbers should leave our lists, and why?": [
        (INVALID, TAKES_NONE, 2, z(23)),
        (DAVE, OPTED_OUT, 1, z(24)),
    ],
    "Which numbers keep failing, and have received nothing since?": [
        (INVALID, 2, z(21)),
        (ALICE, 2, z(23)),
        (CAROL, 2, z(22)),
    ],
    "What did people reply to the group of this message?": [
        (z(21, 13), ALICE, "See you \N{THUMBS UP SIGN}", "https://example.com/a.jpg", f"{SENDER} {INVALID}")
    ],
    "What did people write to us on that day?": [
        (z(22, 14), BOB, SENDER, "Stop!", True),
        (z(22, 15), CAROL, SENDER, "Please stop by at noon.", False),
    ],
    "What was said between this number and ours, both ways and in order?": [
        (z(21), "out", "Lunch is at noon.", "delivered", "lunch-1"),
        (z(21, 13), "in", "See you \N{THUMBS UP SIGN}", None, None),
        (z(22), "out", "Lunch is at noon.", "delivered", "lunch-2"),
        (z(23), "out", "Lunch is at noon.", "failed", "lunch-3"),
        (z(24), "out", "Lunch is at noon.", "failed", "lunch-4"),
    ],
    "Who replied STOP or an equivalent word?": [(z(23, 13), ERIN, "STOP"), (z(22, 14), BOB, "Stop!")],
    "Who has opted out, and has not opted in again?": [(SENDER, BOB, "STOP", z(22, 14))],
    "Who has opted out according to Bandwidth or the carrier?": [(DAVE, 4775, z(24))],
    "How fast are messages being sent, and what delays them?": [
        ("Nothing is queued, and nothing holds up sending.", 0, None, 1, 0.0),
    ],
    "What was not sent, and why?": [
        ("decided", z(25, 3), "operator", "Not sent: a person decided so. Decided by jane: Frank got nothing."),
        ("refused", z(25, 1), "bandwidth", "Not sent: Bandwidth refused it. Bandwidth said: 'from' is not yours."),
    ],
    "Which messages may or may not have been sent?": [
        ("unknown", z(25, 2), "timed-out", "Too slow."),
    ],
    "Which unknown messages did a person resolve, and why?": [("decided", "refused", "Frank got nothing.", "jane")],
    "What is overdue?": [
        ("overdue", DAVE, "sending", f"On its way to the carrier. {OVERDUE}"),
        ("overdue", FRANK, "pending", f"Bandwidth has it, and has not said anything about this recipient. {OVERDUE}"),
    ],
    "Which messages were sent twice, so that everybody received two?": [("twice", z(25, 5), "copy-1 copy-2", 1)],
    "Where does Bandwidth contradict itself?": [(z(22, second=9), "lunch-2", BOB, "message-delivered", "failed")],
    "Which events belong to no message of ours?": [
        (z(26), "message-delivered", ALICE, "of-nobody", NOBODYS_TAG),
    ],
    "What did Bandwidth send that could not be read?": [(z(26, 1), 2, "The element is not an object.", "42")],
    "What failed each day?": [
        ("2026-11-24", 4775, "The recipient has opted out.", 1),
        ("2026-11-24", 5600, "The carrier is congested.", 1),
        ("2026-11-23", 4404, "The number takes no messages, or is invalid.", 1),
        ("2026-11-23", 4770, "The carrier blocked the message as spam.", 1),
        ("2026-11-23", 5600, "The carrier is congested.", 1),
        ("2026-11-22", 4770, "The carrier blocked the message as spam.", 1),
        ("2026-11-22", 5600, "The carrier is congested.", 1),
        ("2026-11-21", 4404, "The number takes no messages, or is invalid.", 1),
    ],
    "How many extraneous events arrived each day, and did they stop while invalid numbers still failed?": [
        ("2026-11-23", 0, 1),
        ("2026-11-21", 1, 1),
    ],
    "Which failures did we pay for in that month?": [
        (5600, "destination-carrier-queue-full", 3),
        (4770, "destination-spam-detected", 2),
        (4775, "destination-rejected-due-to-user-opt-out", 1),
        (9902, "delivery-receipt-expired", 1),
    ],
    "What does this error code mean?": [
        (
            *("rejected-forbidden-country", "Bandwidth client", False, "The account may not send to this country."),
            "Ask Bandwidth support to settle it before sending to this recipient alone again.",
        )
    ],
}
"""The rows of each query; a message's tag is written as its reference."""


def test_every_query_has_a_question() -> None:
    assert list(pages.SUPPORT.questions().values()) == [query.strip() for query in pages.SUPPORT.examples("sql")]
    assert list(pages.SUPPORT.questions()) == list(ANSWERS)


def asked(story: Story, question: str) -> list[tuple[object, ...]]:
    query = pages.SUPPORT.questions()[question].replace(pages.TAG, story.tags["lunch-1"])
    with story.database.read() as session:
        if session.connection().dialect.name == "postgresql":
            session.execute(text("SET LOCAL TIME ZONE 'UTC'"))
        return [story.named(row) for row in session.execute(text(query.rstrip(";")))]


def test_every_query_answers_its_question(story: Story) -> None:
    assert {question: asked(story, question) for question in ANSWERS} == ANSWERS


ABOUT_NUMBERS: dict[str, list[tuple[Any, ...]]] = {
    "Which numbers should leave our lists, and why?": [(DAVE, OPTED_OUT, 1, z(24))],
    "Which numbers keep failing, and have received nothing since?": [],
    "Who replied STOP or an equivalent word?": [],
    "Who has opted out, and has not opted in again?": [],
    "Who has opted out according to Bandwidth or the carrier?": [(DAVE, 4775, z(24))],
}
TRENDS = (
    "What failed each day?",
    "How many extraneous events arrived each day, and did they stop while invalid numbers still failed?",
    "Which failures did we pay for in that month?",
)


def test_what_was_redacted_is_no_number_of_a_list_and_still_counts(story: Story) -> None:
    for _ in purge.purge(story.database, Terms(before=at(24), redact=True, now=at(27))):
        pass

    assert {question: asked(story, question) for question in ABOUT_NUMBERS} == ABOUT_NUMBERS
    assert {question: asked(story, question) for question in TRENDS} == {each: ANSWERS[each] for each in TRENDS}
