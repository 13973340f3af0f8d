"""`receiver resolve`: a person decides about an unknown message."""

from datetime import timedelta

import pytest

from receiver.core import times
from receiver.core.messages import Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.tags import new_tag
from receiver.database.database import Database
from receiver.database.lookup import message_tagged
from receiver.errors import MessageNotFound, NotResolvable
from receiver.maintenance import recompute
from receiver.maintenance import resolve as resolving
from receiver.maintenance.resolve import add_resolution
from receiver.reports import messages
from tests.support.agreement import assert_views_agree
from tests.support.builders import ACCEPTED, ALICE, BOB, make_event, store_message
from tests.support.stored import MINUTE, answer, change, columns, deliver, statuses, submit, view

TIMED_OUT = Unknown(type="timed-out", description="No answer in time.")
UNREACHABLE = Refused(because=RefusedBecause.UNREACHABLE, type="connection-refused")


def resolve(database: Database, tag: str, send_status: str, *, reason: str = "Bandwidth's support said so.") -> None:
    resolving.resolve(database, tag, SendStatus(send_status), reason=reason, by="jane")


def check(database: Database, tag: str) -> tuple[str, str | None]:
    """The send status and why it was refused; API, views and core agree on them."""
    assert_views_agree(database, tag)
    assert [batch.differences for batch in recompute.recompute(database, check=True)] == [[]]
    report = messages.message(database, tag)
    return report.send_status, report.refused_because


def test_an_unknown_message_is_resolved_as_refused(database: Database) -> None:
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT, reference="lunch-1")

    resolve(database, tag, "refused")

    assert check(database, tag) == ("refused", "operator")
    assert statuses(database, pk) == {ALICE: "not_sent", BOB: "not_sent"}
    assert messages.message(database, tag).error is not None
    [resolution] = view(database, "support_resolutions", tag=tag)
    assert columns(resolution, "reference", "send_status", "reason", "resolved_by") == (
        "lunch-1",
        "refused",
        "Bandwidth's support said so.",
        "jane",
    )
    assert abs(resolution["resolved_at"] - times.now()) < MINUTE


def test_an_unknown_message_is_resolved_as_accepted(database: Database) -> None:
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)

    resolve(database, tag, "accepted")

    assert check(database, tag) == ("accepted", None)
    assert statuses(database, pk) == {ALICE: "pending", BOB: "pending"}


def test_a_submitting_past_its_deadline_is_resolved_like_any_unknown(database: Database) -> None:
    tag, pk = submit(database, ALICE, deadline_in=timedelta(seconds=-1))

    resolve(database, tag, "refused")

    assert check(database, tag) == ("refused", "operator")
    answer(database, pk, TIMED_OUT)
    assert check(database, tag) == ("refused", "operator")
    answer(database, pk, ACCEPTED)
    assert check(database, tag) == ("accepted", None)


def test_that_it_was_refused_can_be_taken_back_and_both_are_kept(database: Database) -> None:
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    resolve(database, tag, "refused", reason="Nobody got it.")

    resolve(database, tag, "accepted", reason="Alice got it after all.")

    assert check(database, tag) == ("accepted", None)
    assert statuses(database, pk) == {ALICE: "pending", BOB: "pending"}
    kept = [(each.send_status, each.reason) for each in messages.resolutions(database, tag)]
    assert kept == [("refused", "Nobody got it."), ("accepted", "Alice got it after all.")]


@pytest.mark.parametrize("send_status", ["accepted", "refused"])
def test_an_event_that_comes_later_has_the_last_word(database: Database, send_status: str) -> None:
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    resolve(database, tag, send_status)

    deliver(database, make_event(tag=tag))

    assert check(database, tag) == ("accepted", None)
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "pending"}


@pytest.mark.parametrize("send_status", ["accepted", "refused"])
@pytest.mark.parametrize(
    ("said", "words"), [(ACCEPTED, "Bandwidth has it"), (UNREACHABLE, "refused (unreachable)"), (None, "deadline")]
)
def test_what_is_known_is_not_decided(
    database: Database, said: SendResult | None, words: str, send_status: str
) -> None:
    tag, _ = store_message(database, ALICE, answer=said)
    before = check(database, tag)

    with pytest.raises(NotResolvable) as refusal:
        resolve(database, tag, send_status)

    assert words in str(refusal.value)
    assert (check(database, tag), view(database, "support_resolutions")) == (before, [])


def test_what_is_queued_is_cancelled_and_not_decided(database: Database) -> None:
    tag, pk = submit(database, ALICE)
    change(database, "UPDATE messages SET send_status = 'queued' WHERE pk = :pk", pk=pk)

    with pytest.raises(NotResolvable, match="cancel"):
        resolve(database, tag, "refused")


def test_a_decision_is_not_repeated(database: Database) -> None:
    tag, _ = store_message(database, ALICE, answer=TIMED_OUT)
    resolve(database, tag, "refused")

    with pytest.raises(NotResolvable, match="operator"):
        resolve(database, tag, "refused")

    assert len(view(database, "support_resolutions", tag=tag)) == 1


def test_an_unknown_tag_is_reported(database: Database) -> None:
    with pytest.raises(MessageNotFound):
        resolve(database, new_tag(times.now()), "refused")


@pytest.mark.parametrize("send_status", ["accepted", "refused"])
def test_an_event_that_comes_at_the_same_moment_wins(database: Database, send_status: str) -> None:
    """The event is stored after the person's transaction has read the message and before it writes."""
    tag, pk = store_message(database, ALICE, BOB, answer=TIMED_OUT)
    with database.read() as session:
        read_before = message_tagged(session, tag)
    assert read_before is not None
    deliver(database, make_event(tag=tag))

    written = database.write(
        lambda session: add_resolution(
            session, read_before, SendStatus(send_status), reason="r", by="jane", now=times.now()
        )
    )

    assert written is False
    assert (check(database, tag), view(database, "support_resolutions")) == (("accepted", None), [])
    assert statuses(database, pk) == {ALICE: "delivered", BOB: "pending"}


def test_what_a_database_does_not_take_is_replaced_or_cut(database: Database) -> None:
    tag, _ = store_message(database, ALICE, answer=TIMED_OUT)

    resolving.resolve(database, tag, SendStatus.REFUSED, reason="a\x00b\ud800", by="j" * 300)

    kept = [(each.reason, each.resolved_by) for each in messages.resolutions(database, tag)]
    assert kept == [("a\ufffdb\ufffd", "j" * 255)]
