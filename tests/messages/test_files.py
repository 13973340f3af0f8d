"""Many messages at once: what is in a file is queued, each line once, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from receiver.core import times
from receiver.database.database import Database
from receiver.errors import WrongFile
from receiver.messages.files import CHUNK, MOST_PROBLEMS, FileReport, Line, MessageFile, check, queue_lines
from tests.support.builders import ALICE, BOB, CAROL, SENDER, make_key, make_message, make_sender, make_settings
from tests.support.loop import select
from tests.support.stored import change, messages

SETTINGS = make_settings("sqlite:///not-used")
PAST = "2020-01-01T00:00:00Z"


def lunch(**fields: Any) -> dict[str, Any]:
    return {"to": [ALICE], "text": "Lunch"} | fields


def make_batch(name: str = "lunch.csv") -> MessageFile:
    return MessageFile(name=name, reference="lunch", settings=SETTINGS)


def lines(*asked: Any) -> Iterator[Line]:
    return (Line(number=number, body=each) for number, each in enumerate(asked, start=1))


def queue(database: Database, *asked: Any, batch: str = "lunch.csv") -> FileReport:
    return queue_lines(make_sender(database), lines(*asked), make_batch(batch), dry_run=False)


def stored(database: Database) -> list[tuple[str, str]]:
    """The reference and text of every message."""
    return select(
        database.engine.url.render_as_string(hide_password=False), "SELECT reference, text FROM messages ORDER BY pk"
    )


def test_a_file_is_queued_once_however_often_it_is_given(database: Database) -> None:
    asked = [lunch(to=[ALICE, BOB]), lunch(text="Dinner", reference="mine"), lunch(tag="my-tag")]

    outcomes = [queue(database, *asked) for _ in range(3)]

    assert [(each.lines, each.queued, each.wrong) for each in outcomes] == [(3, 3, 0), (3, 0, 0), (3, 0, 0)]
    assert stored(database) == [("lunch-1", "Lunch"), ("mine", "Dinner"), ("my-tag", "Lunch")]


def test_what_was_refused_without_being_sent_is_queued_again_and_nothing_else(database: Database) -> None:
    """A wrong password, or an outage longer than all attempts: whoever gives the file again wants it sent."""
    asked = [lunch(text=text) for text in ("sent", "no password", "unreachable", "withdrawn", "unknown")]
    queue(database, *asked)
    for text, status, because in (
        ("sent", "accepted", None),
        ("no password", "refused", "bandwidth"),
        ("unreachable", "refused", "unreachable"),
        ("withdrawn", "refused", "cancelled"),
        ("unknown", "unknown", None),
    ):
        reason = f"'{because}'" if because else "NULL"
        change(
            database, f"UPDATE messages SET send_status = '{status}', refused_because = {reason} WHERE text = '{text}'"
        )

    outcome = queue(database, *asked)

    assert (outcome.lines, outcome.queued, outcome.wrong) == (5, 2, 0)
    rows = {row.text: (row.send_status, row.refused_because) for row in messages(database).values()}
    assert rows == {
        "sent": ("accepted", None),
        "no password": ("queued", None),
        "unreachable": ("queued", None),
        "withdrawn": ("refused", "cancelled"),
        "unknown": ("unknown", None),
    }
    assert queue(database, *asked).queued == 0


def test_what_is_checked_is_not_queued(database: Database) -> None:
    outcome = queue_lines(make_sender(database), lines(lunch()), make_batch(), dry_run=True)

    assert (outcome.lines, outcome.queued) == (1, 0)
    assert stored(database) == []


def test_a_line_is_known_again_wherever_it_stands_and_equal_lines_are_counted(database: Database) -> None:
    queue(database, lunch(), lunch(text="Dinner"), lunch())

    assert queue(database, lunch(text="New"), lunch(text="Dinner"), lunch(), lunch()).queued == 1
    assert queue(database, lunch(), lunch(), lunch()).queued == 1
    assert sorted(text for _, text in stored(database)) == ["Dinner", "Lunch", "Lunch", "Lunch", "New"]


def test_the_order_of_fields_and_nulls_make_no_other_line(database: Database) -> None:
    queue(database, {"to": [ALICE], "text": "Lunch"})

    assert queue(database, {"text": "Lunch", "media": None, "to": [ALICE]}).queued == 0


def test_another_batch_is_another_sending(database: Database) -> None:
    queue(database, lunch())

    assert queue(database, lunch(), batch="tomorrow").queued == 1


@pytest.mark.parametrize("name", ["a" * 300, "\udcff.csv", "mémoire:1"])
def test_a_batch_may_be_called_anything(database: Database, name: str) -> None:
    assert [queue(database, lunch(), lunch(), batch=name).queued for _ in range(2)] == [2, 0]


def test_a_run_that_breaks_off_is_completed_by_the_next(database: Database) -> None:
    asked = [lunch(reference=f"order-{number}") for number in range(2 * CHUNK + 10)]

    def breaking_off() -> Iterator[Line]:
        yield from lines(*asked[: CHUNK + 10])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue_lines(make_sender(database), breaking_off(), make_batch(), dry_run=False)

    assert queue(database, *asked).queued == CHUNK + 10
    assert len({reference for reference, _ in stored(database)}) == len(stored(database)) == len(asked)


def test_two_runs_at_once_queue_each_line_once(database: Database) -> None:
    asked = [lunch(reference=f"order-{number}") for number in range(3 * CHUNK)]

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(lambda _: queue(database, *asked), range(2)))

    assert sum(each.queued for each in outcomes) == len(asked)
    assert len({reference for reference, _ in stored(database)}) == len(stored(database)) == len(asked)


def test_a_line_that_was_queued_is_not_wrong_afterwards(database: Database) -> None:
    """As when its expiration has passed, or a setting that it relied on is gone."""
    queue(database, lunch())
    without_sender = make_settings("sqlite:///not-used", bandwidth_from=None)
    batch = MessageFile(name="lunch.csv", reference="lunch", settings=without_sender)

    outcome = queue_lines(make_sender(database), lines(lunch(), lunch(text="Dinner")), batch, dry_run=False)

    assert (outcome.lines, outcome.queued) == (2, 0)
    assert [line.number for line in outcome.first_wrong] == [2]


def test_a_key_that_has_expired_is_free(database: Database) -> None:
    sender, now = make_sender(database), times.now()
    keys = [make_key(str(days), expires_at=now + timedelta(days=days)) for days in (-1, 1)]
    for key in keys:
        sender.queue(make_message(ALICE), key=key)

    assert sender.known(keys) == {keys[1].identity}
    assert sender.queue_all([(make_message(ALICE), key) for key in keys]) == 1


def test_every_wrong_line_is_reported_by_number_and_field(database: Database) -> None:
    asked: Iterable[Line] = [
        Line(number=2, body=lunch()),
        Line(number=3, body=lunch(to=[ALICE, "12"], color="red")),
        Line(number=5, problem="Not UTF-8."),
        Line(number=6, body=[]),
        Line(number=7, body=lunch(expiration=PAST)),
        Line(number=8, body=lunch(to=[ALICE, ALICE])),
    ]
    outcome = queue_lines(make_sender(database), asked, make_batch(), dry_run=True)

    assert outcome.wrong == 5
    assert {line.number: line.problem for line in outcome.first_wrong} == {
        3: "color: Is not a field of a message.\nto[1]: Must be an E.164 number such as +19195551234.",
        5: "Not UTF-8.",
        6: "body: Must be a JSON object.",
        7: "expiration: Must be in the future.",
        8: "to: Must not repeat a number.",
    }


def test_of_many_wrong_lines_the_first_are_kept(database: Database) -> None:
    wrong = [lunch(to=[])] * (2 * MOST_PROBLEMS + CHUNK)
    outcome = queue_lines(make_sender(database), lines(*wrong), make_batch(), dry_run=True)

    assert outcome.wrong == len(wrong)
    assert [line.number for line in outcome.first_wrong] == list(range(1, MOST_PROBLEMS + 1))


def test_a_file_without_a_line_is_refused(database: Database) -> None:
    with pytest.raises(WrongFile, match="no message"):
        queue(database)


@pytest.mark.parametrize(
    ("asked", "shared"),
    [
        ([lunch()], ["lunch-1"]),
        ([lunch(), lunch(to=[BOB])], ["lunch-"]),
        ([lunch(reference="order-1"), lunch(reference="order-21"), lunch(tag="order-3")], ["order-"]),
        ([lunch(reference="a"), lunch(reference="b")], [""]),
        ([lunch(to=[])], []),
    ],
)
def test_what_the_references_share_is_what_to_watch(database: Database, asked: list[Any], shared: list[str]) -> None:
    assert queue_lines(make_sender(database), lines(*asked), make_batch(), dry_run=True).references == shared


def test_the_reference_that_a_line_gets_does_not_tell_it_from_another() -> None:
    (first,) = check(lines(lunch()), make_batch())
    (second,) = check(
        [Line(number=9, body=lunch())], MessageFile(name="lunch.csv", reference="other", settings=SETTINGS)
    )

    assert first.message is not None
    assert second.message is not None
    assert (first.message.reference, second.message.reference) == ("lunch-1", "other-9")
    assert first.key == second.key


def test_the_recipients_of_a_line_are_one_group() -> None:
    (checked,) = check(lines(lunch(to=[ALICE, BOB, CAROL])), make_batch())

    assert checked.message is not None
    assert checked.message.to == (ALICE, BOB, CAROL)
    assert checked.message.application_id == SETTINGS.bandwidth_application_id


def test_a_line_that_its_sender_would_get_or_whose_media_is_no_url_is_reported_and_not_queued(
    database: Database,
) -> None:
    asked = [
        lunch(to=[ALICE, SENDER]),
        lunch(to=[BOB], **{"from": BOB}),
        lunch(media=["https://example.com/caf\u00e9.jpg"]),
        lunch(media=['https://example.com/"a".jpg']),
        lunch(),
    ]

    outcome = queue(database, *asked)

    assert (outcome.lines, outcome.queued, outcome.wrong) == (5, 1, 4)
    assert [each.problem.partition(":")[0] for each in outcome.first_wrong] == ["to", "to", "media[0]", "media[0]"]
    assert len(stored(database)) == 1
