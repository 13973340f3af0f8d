"""A call to Bandwidth is made in its time, or not at all."""

from datetime import timedelta

import pytest

from receiver import metrics
from receiver.core import times
from receiver.core.messages import Refused, SendResult, Unknown
from receiver.database.database import Database
from receiver.messages import call, outbox
from receiver.messages.outbox import Attempt
from tests.support.builders import ACCEPTED, FakeGateway, make_message, make_sender
from tests.support.log_lines import Lines

HOUR = timedelta(hours=1)


def attempt(*, deadline_in: timedelta) -> Attempt:
    now = times.now()
    return Attempt(at=now, deadline=now + deadline_in, overdue_at=now + HOUR)


def test_a_call_in_time_is_made(sqlite: Database) -> None:
    gateway = FakeGateway()
    message = make_message(expiration=times.now() + HOUR)

    assert make_sender(sqlite, gateway).caller.call(message, tag="t", attempt=attempt(deadline_in=HOUR)) == ACCEPTED

    assert gateway.sent == [(message, "t")]


@pytest.mark.parametrize(
    ("expires_in", "deadline_in", "because"), [(HOUR, -HOUR, "unreachable"), (-HOUR, HOUR, "expired")]
)
def test_after_its_deadline_or_its_expiration_nothing_is_sent(
    sqlite: Database, expires_in: timedelta, deadline_in: timedelta, because: str
) -> None:
    """By then others may have decided what became of it: it shows as unknown, and a person may have resolved it."""
    gateway = FakeGateway()
    message = make_message(expiration=times.now() + expires_in)

    answer = make_sender(sqlite, gateway).caller.call(message, tag="t", attempt=attempt(deadline_in=deadline_in))

    assert isinstance(answer, Refused)
    assert answer.because == because
    assert gateway.sent == []


@pytest.mark.parametrize("broken", [(metrics, "meters"), (call, "identifier")], ids=["count", "line"])
def test_a_result_that_cannot_be_logged_is_stored_all_the_same(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch, logged: Lines, broken: tuple[object, str]
) -> None:
    monkeypatch.setattr(*broken, None)

    answer = make_sender(sqlite, FakeGateway()).caller.call(make_message(), tag="t", attempt=attempt(deadline_in=HOUR))

    assert answer == ACCEPTED
    assert [line["error"] for line in logged if "error" in line] in (["AttributeError"], ["TypeError"])


@pytest.mark.parametrize(("result", "is_raised"), [(ACCEPTED, False), (Unknown(), True)])
def test_only_a_result_that_proves_the_credentials_ends_a_suspicion(
    sqlite: Database, result: SendResult, *, is_raised: bool
) -> None:
    caller = make_sender(sqlite).caller
    caller.suspicion.is_raised = True

    assert caller.store("t", result, lambda _session: "stored") == "stored"

    assert caller.suspicion.is_raised is is_raised


def test_a_result_that_a_defect_keeps_from_being_stored_is_logged_and_a_suspicion_stays(
    sqlite: Database, logged: Lines
) -> None:
    caller = make_sender(sqlite).caller
    caller.suspicion.is_raised = True

    assert caller.store("t", ACCEPTED, lambda _session: 1 // 0) is None

    assert caller.suspicion.is_raised
    [line] = logged
    assert (line["log_level"], line["event"]) == ("error", "result not stored")
    assert (line["tag"], line["error"]) == ("t", "ZeroDivisionError")


def test_a_defect_while_an_acceptance_is_stored_in_one_round_trip_is_logged_and_leaves_it_to_the_longer_way(
    postgres: Database, monkeypatch: pytest.MonkeyPatch, logged: Lines
) -> None:
    submission = make_sender(postgres).send(make_message())
    assert submission.message is not None
    monkeypatch.setattr(outbox, "run_pipeline", None)

    is_stored = make_sender(postgres).caller.accept(submission.message.key, number=1, result=ACCEPTED, now=times.now())

    assert not is_stored
    assert [line["error"] for line in logged if line["event"] == "internal error"] == ["TypeError"]
