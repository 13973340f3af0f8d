"""A worker loses nothing to credentials that Bandwidth refuses, and a single message stops nobody."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import TypeVar

import pytest
from sqlalchemy import select, text

from receiver.core import times
from receiver.core.messages import Accepted, OutboundMessage, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database, Session
from receiver.database.models import CredentialPauseRow
from receiver.errors import StorageUnavailable
from receiver.maintenance.doctor import traffic
from receiver.messages import credentials as credential_pauses
from receiver.messages import pace
from receiver.messages.credentials import Denial
from receiver.messages.sender import tidy
from tests.messages.test_worker import enqueue, states, wait_for_states, working
from tests.support.builders import ALICE, FakeGateway, make_message, make_sender
from tests.support.log_lines import Lines
from tests.support.processes import PATIENCE, wait_for
from tests.support.queue_steps import claim
from tests.support.stored import messages


def refusal(status: int | None, type_: str, **changes: bool) -> Refused:
    return Refused(because=RefusedBecause.BANDWIDTH, status=status, type=type_, **changes)


UNAUTHORIZED, CREDENTIALS = refusal(401, "unauthorized"), refusal(None, "credentials")
FORBIDDEN, NOT_FOUND = refusal(403, "forbidden"), refusal(404, "Not Found")
FROM_MEMORY = refusal(None, "credentials", is_remembered=True)
Result = TypeVar("Result")

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)

OURS, OTHERS = "0" * 64, "1" * 64

REFUSALS = pytest.mark.parametrize("refused", [UNAUTHORIZED, CREDENTIALS], ids=["401", "token endpoint"])
DENIALS = pytest.mark.parametrize("denied", [FORBIDDEN, NOT_FOUND], ids=["403", "404"])


class JudgingGateway(FakeGateway):
    """Answers each message what a test says of its text; notes the texts in the order in which they came."""

    def __init__(self, judge: Callable[[str], SendResult | None], *, fingerprint: str = OURS) -> None:
        super().__init__()
        self.judge = judge
        self.fingerprint = fingerprint
        self.texts: list[str] = []
        self._lock = threading.Lock()

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        with self._lock:
            self.texts.append(message.text or "")
        return self.judge(message.text or "") or Accepted(message_id=f"id-of-{tag}")


def always(answer: SendResult | None) -> Callable[[str], SendResult | None]:
    return lambda _: answer


def queue(database: Database, *texts: str) -> dict[str, str]:
    """Queues a message for each text; their tags by the texts."""
    return {each: enqueue(database, text=each)[0] for each in texts}


def pause(database: Database, credentials: str = OURS) -> CredentialPauseRow | None:
    """What stands against these credentials."""
    with database.read() as session:
        return session.scalar(select(CredentialPauseRow).where(CredentialPauseRow.credentials == credentials))


def is_paused(database: Database) -> bool:
    found = pause(database)
    return found is not None and found.paused_at is not None


def execute(database: Database, statement: str, **values: object) -> None:
    database.write(lambda session: session.execute(text(statement), values))


def begin_pause(database: Database, refused: Refused) -> CredentialPauseRow:
    """What stands against our credentials after a worker, which has ended, was told so."""
    with working(database, JudgingGateway(always(refused)), threads=1):
        wait_for(lambda: is_paused(database), "the pause")
    found = pause(database)
    assert found is not None
    return found


def hasten_probe(database: Database) -> None:
    """The next probe is due now."""
    execute(database, "UPDATE credential_pauses SET probe_at = '2026-01-01 00:00:00.000000'")


def delay_probe(database: Database) -> None:
    """The next probe is not due for nearly as long as any pause."""
    execute(database, "UPDATE credential_pauses SET probe_at = :at", at=_stored(database, times.now() + 55 * SECOND))


def hasten_message(database: Database) -> None:
    """What waits alone may be tried now."""
    long_ago = "'2026-01-01 00:00:00.000000'"
    execute(
        database,
        f"UPDATE messages SET claimable_at = {long_ago} WHERE send_status = 'queued' AND denied_at IS NOT NULL",
    )


def probe_until(database: Database, gateway: JudgingGateway, count: int) -> None:
    """Lets probes be made until so many messages were tried."""

    def tried() -> bool:
        found = pause(database)
        is_waiting = found is not None and found.probe_at is not None and found.probe_at > times.now()
        if len(gateway.texts) < count and is_waiting and not states(database)["submitting"]:
            hasten_probe(database)
        return len(gateway.texts) >= count and not states(database)["submitting"]

    wait_for(tried, f"{count} messages to be tried")


# ---- All are refused ----


@REFUSALS
def test_nothing_of_the_queue_is_lost_and_it_goes_on_by_itself(
    database: Database, refused: Refused, logged: Lines
) -> None:
    queue(database, *(str(number) for number in range(5)))
    gateway = JudgingGateway(always(refused))
    with working(database, gateway, threads=2, attempts=1):
        wait_for(lambda: is_paused(database), "the pause")
        probe_until(database, gateway, 15)  # each message twice at least
        assert states(database) == {"queued": 5}
        assert {row.failures for row in messages(database).values()} == {0}
        assert {row.error_type for row in messages(database).values()} == {refused.type}

        gateway.judge = always(None)
        hasten_probe(database)
        wait_for_states(database, accepted=5)

    assert pause(database) is None
    events = [line["event"] for line in logged]
    assert events.count("credentials refused") == 1
    assert events.count("credentials accepted again") == 1


@REFUSALS
def test_every_probe_is_the_next_message_of_the_queue_and_after_the_last_comes_the_first(
    database: Database, refused: Refused
) -> None:
    queue(database, "c", "d", "e")
    for each in ("a", "b"):
        enqueue(database, text=each, priority="high")
    gateway = JudgingGateway(always(refused))
    with working(database, gateway, threads=1):
        wait_for(lambda: is_paused(database) and not states(database)["submitting"], "the pause")
        begun = len(gateway.texts)  # one, and what was on its way already
        probe_until(database, gateway, begun + 10)

    probed = gateway.texts[begun:]
    order = "abcde"
    assert all(order[(order.index(before) + 1) % 5] == after for before, after in pairwise(probed))


def test_the_time_between_probes_doubles_from_a_second_to_a_minute(database: Database) -> None:
    queue(database, "a")
    [claimed] = claim(database)

    def deny(*, is_probe: bool) -> tuple[Denial, float | None]:
        tried = replace(claimed, is_probe=is_probe)
        denial = database.write(lambda session: credential_pauses.deny(session, OURS, tried, UNAUTHORIZED))
        found = pause(database)
        assert found is not None
        assert found.probe_at is not None
        assert found.probe_seconds is not None
        assert found.probe_at - found.updated_at <= timedelta(seconds=found.probe_seconds)
        return denial, found.probe_seconds

    assert deny(is_probe=False) == (Denial.BEGINS, 1)
    assert deny(is_probe=False) == (Denial.GOES_ON, 1)  # was on its way when the pause began
    assert [deny(is_probe=True) for _ in range(8)] == [
        (Denial.GOES_ON, seconds) for seconds in (2, 4, 8, 16, 32, 60, 60, 60)
    ]


def test_without_a_probe_nothing_is_sent_while_workers_pause(database: Database) -> None:
    queue(database, *"abcdefgh")
    gateway = JudgingGateway(always(UNAUTHORIZED))
    with working(database, gateway, threads=2):
        wait_for(lambda: is_paused(database), "the pause")
    delay_probe(database)
    tried = len(gateway.texts)
    with working(database, gateway, threads=2), working(database, gateway, threads=2):
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 2, "what two workers might send meanwhile")
    assert len(gateway.texts) == tried

    assert states(database) == {"queued": 8}


def test_one_probe_is_under_way_at_a_time_whoever_works(database: Database) -> None:
    queue(database, *"abcdefgh")
    gateway = JudgingGateway(always(UNAUTHORIZED))
    with working(database, gateway, threads=2):
        wait_for(lambda: is_paused(database) and not states(database)["submitting"], "the pause")
    held, let_go, most = threading.Event(), threading.Event(), [0]

    def hold(_: str) -> SendResult | None:
        most[0] = max(most[0], states(database)["submitting"])
        held.set()
        assert let_go.wait(PATIENCE)
        return None

    hasten_probe(database)
    with working(database, JudgingGateway(hold)), working(database, JudgingGateway(hold)):
        assert held.wait(PATIENCE)
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 1.5, "what others might try meanwhile")
        assert states(database)["submitting"] == 1
        let_go.set()
        wait_for_states(database, accepted=8)


def test_a_pause_binds_only_who_holds_the_same_credentials(database: Database) -> None:
    queue(database, *"abc")
    gateway = JudgingGateway(always(UNAUTHORIZED))
    with working(database, gateway):
        wait_for(lambda: is_paused(database), "the pause")

    with working(database, JudgingGateway(always(None), fingerprint=OTHERS)):
        wait_for_states(database, accepted=3)

    assert is_paused(database)  # of those that nobody holds any more
    execute(database, "UPDATE credential_pauses SET updated_at = :then", then=two_days_ago(database))
    tidy(database)
    assert pause(database) is None


def two_days_ago(database: Database) -> datetime | str:
    return _stored(database, times.now() - timedelta(days=2))


@REFUSALS
def test_a_synchronous_send_never_waits_for_a_pause_and_ends_it_if_it_is_accepted(
    database: Database, refused: Refused
) -> None:
    queue(database, *"abc")
    with working(database, JudgingGateway(always(refused))):
        wait_for(lambda: is_paused(database), "the pause")
    again = make_sender(database, JudgingGateway(always(refused))).send(make_message())
    assert again.message is not None
    assert again.message.error is not None
    assert (again.message.send_status, again.message.error.type) == ("refused", refused.type)
    assert is_paused(database)

    accepted = make_sender(database, JudgingGateway(always(None))).send(make_message())

    assert accepted.message is not None
    assert accepted.message.send_status == "accepted"
    assert pause(database) is None


@REFUSALS
def test_a_synchronous_send_that_is_refused_makes_no_worker_wait(database: Database, refused: Refused) -> None:
    make_sender(database, JudgingGateway(always(refused))).send(make_message())

    assert pause(database) is None


@pytest.mark.parametrize(
    "answer", [Unknown(status=502), Refused(because=RefusedBecause.UNREACHABLE, type="no-token")], ids=["502", "none"]
)
def test_a_probe_that_says_nothing_about_the_credentials_ends_nothing(database: Database, answer: SendResult) -> None:
    queue(database, *"abc")
    before = begin_pause(database, UNAUTHORIZED)
    gateway = JudgingGateway(always(answer))
    with working(database, gateway, threads=1):
        probe_until(database, gateway, 1)
        found = wait_for(lambda: pause(database), "the row")
        assert (found.paused_at, found.probe_seconds) == (before.paused_at, before.probe_seconds)
        wait_for(lambda: (row := pause(database)) and row.probe_at and row.probe_at <= times.now() + MINUTE, "the next")


@pytest.mark.parametrize("status", [400, 415, 429])
def test_any_other_refusal_shows_that_the_credentials_are_taken(database: Database, status: int) -> None:
    queue(database, *"abc")
    gateway = JudgingGateway(always(UNAUTHORIZED))
    with working(database, gateway, threads=1):
        wait_for(lambda: is_paused(database) and not states(database)["submitting"], "the pause")
        because = RefusedBecause.RATE_LIMITED if status == 429 else RefusedBecause.BANDWIDTH
        gateway.judge = always(Refused(because=because, status=status))
        hasten_probe(database)
        wait_for(lambda: pause(database) is None, "the end of the pause")


def test_what_is_answered_from_memory_is_no_probe_and_no_attempt(database: Database) -> None:
    queue(database, *"ab")
    before = begin_pause(database, CREDENTIALS)
    gateway = JudgingGateway(always(FROM_MEMORY))
    with working(database, gateway, threads=1, attempts=1):
        probe_until(database, gateway, 3)
        found = pause(database)
        assert found is not None
        assert found.probe_seconds == before.probe_seconds
        assert {row.failures for row in messages(database).values()} == {0}
        assert states(database) == {"queued": 2}

        gateway.judge = always(None)
        wait_for(lambda: (hasten_probe(database), states(database)["accepted"] == 2)[1], "all to be sent")


def test_an_answer_from_memory_is_waited_for_and_not_asked_for_in_a_loop(database: Database) -> None:
    queue(database, *"abcd")
    unreachable = Refused(because=RefusedBecause.UNREACHABLE, type="no-token", retry_after=30, is_remembered=True)
    gateway = JudgingGateway(always(unreachable))
    with working(database, gateway, threads=2, attempts=1):
        wait_for(lambda: gateway.texts and not states(database)["submitting"], "the first answers")
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 2, "what might be tried meanwhile")

    assert len(gateway.texts) <= 4
    assert states(database) == {"queued": 4}
    assert pause(database) is None


def test_a_worker_that_starts_in_a_pause_keeps_to_it(database: Database) -> None:
    queue(database, *"abcd")
    with working(database, JudgingGateway(always(UNAUTHORIZED))):
        wait_for(lambda: is_paused(database), "the pause")
    delay_probe(database)

    gateway = JudgingGateway(always(None))
    with working(database, gateway):
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 1.5, "what it might send")
        assert gateway.texts == []
        hasten_probe(database)
        wait_for_states(database, accepted=4)


def test_resume_ends_a_pause(database: Database) -> None:
    queue(database, "a")
    with working(database, JudgingGateway(always(UNAUTHORIZED))):
        wait_for(lambda: is_paused(database), "the pause")

    assert database.write(credential_pauses.resume)
    assert not database.write(credential_pauses.resume)
    assert pause(database) is None


def test_what_expires_in_a_pause_is_refused_and_the_others_wait(database: Database) -> None:
    [late] = enqueue(database, text="late", expiration=times.now() + timedelta(seconds=3))
    queue(database, "a")
    gateway = JudgingGateway(always(UNAUTHORIZED))
    with working(database, gateway, threads=1):
        wait_for(lambda: is_paused(database), "the pause")
        wait_for(lambda: messages(database)[late].expiration < times.now(), "its expiration")
        wait_for(lambda: (hasten_probe(database), states(database)["refused"] == 1)[1], "it to be refused")

    assert messages(database)[late].refused_because == "expired"
    assert states(database) == {"refused": 1, "queued": 1}


# ---- One is refused ----


@DENIALS
def test_a_message_that_alone_is_denied_waits_alone_and_stops_nobody(database: Database, denied: Refused) -> None:
    tags = queue(database, *"abXcdefgh")
    gateway = JudgingGateway(lambda text: denied if text == "X" else None)
    with working(database, gateway, threads=2, attempts=1):
        wait_for_states(database, accepted=8, queued=1)
        row = messages(database)[tags["X"]]
        assert (row.failures, row.error_status, row.refused_because) == (0, denied.status, None)
        assert timedelta(seconds=50) < row.claimable_at - times.now() <= timedelta(minutes=1)
        assert not is_paused(database)
        sent = make_sender(database, JudgingGateway(always(None))).send(make_message(ALICE))
        assert sent.message is not None
        assert sent.message.send_status == "accepted"
        assert pause(database) is None  # what passes forgets it

        gateway.judge = always(None)
        hasten_message(database)
        wait_for_states(database, accepted=10)


@pytest.mark.parametrize(
    ("first", "wait"),
    [
        (timedelta(minutes=1), timedelta(minutes=2)),
        (timedelta(minutes=3), timedelta(minutes=4)),
        (timedelta(minutes=31), timedelta(minutes=32)),
        (timedelta(hours=5), timedelta(hours=1)),
        (timedelta(hours=24, minutes=1), None),
    ],
)
def test_it_waits_twice_as_long_each_time_an_hour_at_most_and_is_refused_after_a_day(
    database: Database, first: timedelta, wait: timedelta | None
) -> None:
    [tag] = queue(database, "X").values()
    gateway = JudgingGateway(always(FORBIDDEN))
    with working(database, gateway, threads=1):
        wait_for(lambda: messages(database)[tag].denied_at, "the first refusal")
        execute(database, "UPDATE messages SET denied_at = :then", then=_stored(database, times.now() - first))
        hasten_message(database)
        wait_for(lambda: len(gateway.texts) == 2 and not states(database)["submitting"], "the second")
        row = messages(database)[tag]
        if wait is None:
            assert (row.send_status, row.refused_because, row.error_status) == ("refused", "bandwidth", 403)
        else:
            assert row.send_status == "queued"
            assert wait - timedelta(seconds=20) < row.claimable_at - times.now() <= wait + timedelta(seconds=1)
    assert not is_paused(database)


@DENIALS
def test_three_different_messages_in_a_row_make_workers_pause_and_none_is_lost(
    database: Database, denied: Refused
) -> None:
    queue(database, *"abcdef")
    gateway = JudgingGateway(always(denied))
    with working(database, gateway, threads=1, attempts=1):
        wait_for(lambda: is_paused(database) and not states(database)["submitting"], "the pause")
        alone = [row for row in messages(database).values() if row.denied_at is not None]
        assert len(alone) == 2
        wait_for(
            lambda: (hasten_probe(database), hasten_all(database), len(gateway.texts) >= 10)[2],
            "each to be tried again",
        )
        assert is_paused(database)
        gateway.judge = always(None)
        wait_for(
            lambda: (hasten_probe(database), hasten_all(database), states(database)["accepted"] == 6)[2],
            "all to be sent",
        )
    assert pause(database) is None


def hasten_all(database: Database) -> None:
    """Whatever is queued may be tried now."""
    execute(
        database,
        "UPDATE messages SET claimable_at = '2026-01-01 00:00:00.000000'"
        " WHERE send_status = 'queued' AND claimable_at > :soon",
        soon=_stored(database, times.now() + timedelta(seconds=40)),
    )


def test_messages_that_were_denied_alone_stop_no_queue_when_they_come_due_together(database: Database) -> None:
    """They are the oldest, and so its head."""
    queue(database, *["X"] * 10)
    gateway = JudgingGateway(lambda text: FORBIDDEN if text == "X" else None)
    execute(database, "UPDATE messages SET denied_at = :then", then=_stored(database, times.now() - 60 * SECOND))
    queue(database, *(str(number) for number in range(20)))

    with working(database, gateway, threads=2):
        wait_for_states(database, accepted=20, queued=10)

    assert not is_paused(database)


def test_many_denied_messages_at_the_head_of_the_queue_do_not_hide_the_good_ones(database: Database) -> None:
    queue(database, *["X"] * 40, *(str(number) for number in range(10)))
    gateway = JudgingGateway(lambda text: FORBIDDEN if text == "X" else None)
    with working(database, gateway, threads=2):
        wait_for(lambda: (hasten_probe(database), states(database)["accepted"] == 10)[1], "the good ones to be sent")

    assert states(database) == {"accepted": 10, "queued": 40}


def test_a_mixture_of_good_and_denied_messages_is_sent_without_a_word_from_anybody(database: Database) -> None:
    mixed = Random(16)
    queue(database, *("X" if mixed.random() < 0.3 else str(number) for number in range(60)))
    good = sum(row.text != "X" for row in messages(database).values())
    gateway = JudgingGateway(lambda text: FORBIDDEN if text == "X" else None)
    with working(database, gateway, threads=4):
        wait_for_states(database, accepted=good, queued=60 - good)

    assert Counter(gateway.texts).most_common(1)[0] == ("X", gateway.texts.count("X"))
    assert gateway.texts.count("X") <= 2 * (60 - good)


def test_a_pause_of_a_clock_that_was_ahead_ends_within_seconds(database: Database) -> None:
    queue(database, "a")
    with working(database, JudgingGateway(always(UNAUTHORIZED)), threads=1):
        wait_for(lambda: is_paused(database), "the pause")
    ahead = _stored(database, times.now() + timedelta(hours=1))
    execute(database, "UPDATE credential_pauses SET paused_at = :at, probe_at = :at, updated_at = :at", at=ahead)

    with working(database, JudgingGateway(always(None))):
        wait_for_states(database, accepted=1)


def _stored(database: Database, instant: datetime) -> datetime | str:
    is_sqlite = database.engine.dialect.name == "sqlite"
    return instant.replace(tzinfo=None).isoformat(" ", "microseconds") if is_sqlite else instant


def test_the_same_message_three_times_is_no_pause(database: Database) -> None:
    queue(database, "X")
    gateway = JudgingGateway(always(FORBIDDEN))
    with working(database, gateway, threads=1):
        for times_tried in (1, 2, 3, 4):
            wait_for(
                lambda times_tried=times_tried: (
                    len(gateway.texts) == times_tried and not states(database)["submitting"]
                ),
                "a refusal",
            )
            hasten_message(database)

    assert not is_paused(database)


def test_a_message_that_passes_in_between_begins_the_count_anew(database: Database) -> None:
    queue(database, *"XYaXYbXYc")
    gateway = JudgingGateway(lambda text: FORBIDDEN if text in "XY" else None)
    with working(database, gateway, threads=1):
        wait_for_states(database, accepted=3, queued=6)

    assert not is_paused(database)


@pytest.mark.parametrize(
    "between",
    [
        Refused(because=RefusedBecause.RATE_LIMITED, status=429),
        Refused(because=RefusedBecause.BANDWIDTH, status=500, type="t", description="d"),
        Refused(because=RefusedBecause.UNREACHABLE, type="connection-refused"),
        Refused(because=RefusedBecause.UNREACHABLE, type="no-token", is_remembered=True),
    ],
    ids=["429", "500", "no connection", "memory"],
)
def test_what_happens_in_between_does_not_begin_its_day_anew(database: Database, between: Refused) -> None:
    [tag] = queue(database, "X").values()
    gateway = JudgingGateway(always(FORBIDDEN))
    with working(database, gateway, threads=1):
        first = wait_for(lambda: messages(database)[tag].denied_at, "the first refusal")
        gateway.judge = always(between)
        hasten_message(database)
        wait_for(lambda: len(gateway.texts) >= 2 and not states(database)["submitting"], "what happens in between")

    assert messages(database)[tag].denied_at == first


def test_a_denied_message_that_waits_alone_is_no_sign_of_a_worker(database: Database) -> None:
    [tag] = queue(database, "X").values()
    with working(database, JudgingGateway(always(FORBIDDEN)), threads=1):
        wait_for(lambda: messages(database)[tag].denied_at, "the refusal")
    later = times.now() + timedelta(minutes=10)

    with database.read() as session:
        assert not traffic.read_queue_state(session, since=later - timedelta(minutes=3), now=times.now()).is_worked


def test_a_pause_over_an_empty_queue_writes_nothing(database: Database) -> None:
    queue(database, "a")
    gateway = JudgingGateway(always(UNAUTHORIZED))
    with working(database, gateway, threads=1):
        wait_for(lambda: is_paused(database) and not states(database)["submitting"], "the pause")
        execute(database, "UPDATE messages SET send_status = 'accepted'")
        hasten_probe(database)
        before = pause(database)
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 1.5, "what the worker might write")
        after = pause(database)

    assert before is not None
    assert after is not None
    assert (after.updated_at, after.probe_at) == (before.updated_at, before.probe_at)


class DeafDatabase(Database):
    """Commits, and says once that nobody heard of it: when a message was queued again."""

    is_deaf = True

    def write(self, work: Callable[[Session], Result]) -> Result:
        result = super().write(work)
        if self.is_deaf and is_paused(self):
            self.is_deaf = False
            raise StorageUnavailable
        return result


def test_that_workers_pause_is_said_although_its_commit_was_not_heard(database_url: str, logged: Lines) -> None:
    with DeafDatabase(database_url) as database:
        queue(database, "a")
        with working(database, JudgingGateway(always(UNAUTHORIZED)), threads=1):
            wait_for(lambda: any(line["event"] == "credentials refused" for line in logged), "it to be said")

        assert not database.is_deaf
        assert states(database) == {"queued": 1}


def test_refused_credentials_do_not_make_a_worker_believe_that_an_outage_is_over(
    database: Database, logged: Lines
) -> None:
    enqueue(database, 30, text="a")
    answers = itertools.cycle([Unknown(status=502), Unknown(status=502), FROM_MEMORY, UNAUTHORIZED])
    with working(database, JudgingGateway(lambda _: next(answers)), threads=1):
        wait_for(lambda: any(line["event"] == "worker backing off" for line in logged), "it to hold back")
        began = time.monotonic()
        wait_for(lambda: (hasten_probe(database), time.monotonic() - began > 4)[1], "some more answers")

    assert "worker resumed" not in [line["event"] for line in logged]


def test_a_recent_pause_is_reported_for_all_credentials(database: Database) -> None:
    queue(database, "a")
    with working(database, JudgingGateway(always(UNAUTHORIZED))):
        wait_for(lambda: is_paused(database), "the pause")

    def told(credentials: str) -> datetime | None:
        with database.read() as session:
            return credential_pauses.refused_since(session, credentials)

    assert told(OTHERS) == told(OURS) is not None
    execute(database, "UPDATE credential_pauses SET updated_at = :then", then=two_days_ago(database))
    assert told(OTHERS) is None
    assert told(OURS) is not None


def test_a_denied_message_of_a_clock_that_is_right_is_not_brought_forward(database: Database) -> None:
    [tag] = queue(database, "X").values()
    with working(database, JudgingGateway(always(FORBIDDEN)), threads=1):
        wait_for(lambda: messages(database)[tag].denied_at, "the refusal")
    in_an_hour = times.now() + timedelta(hours=1)
    execute(database, "UPDATE messages SET claimable_at = :at", at=_stored(database, in_an_hour))

    tidy(database)

    assert messages(database)[tag].claimable_at == in_an_hour


# ---- The pace ----


@pytest.fixture
def turns(database: Database) -> Callable[..., pace.Turn]:
    queue(database, "a")
    with working(database, JudgingGateway(always(UNAUTHORIZED))):
        wait_for(lambda: is_paused(database), "the pause")

    def take(credentials: str, *, heeds: bool, rates: pace.Rates) -> pace.Turn:
        turn = {"sender": "+1", "units": 1, "credentials": credentials, "heeds_refusal": heeds}
        return database.write(lambda session: pace.take_turn(session, rates, **turn))

    return take


@pytest.mark.parametrize("rates", [pace.Rates(), pace.Rates(account=5.0, sender=5.0)], ids=["none", "both"])
def test_a_turn_tells_what_stands_against_the_credentials(turns: Callable[..., pace.Turn], rates: pace.Rates) -> None:
    heeding, not_heeding = (turns(OURS, heeds=heeds, rates=rates) for heeds in (True, False))
    another = turns(OTHERS, heeds=True, rates=rates)

    assert (heeding.is_taken, heeding.is_refused, heeding.is_suspect) == (False, True, True)
    assert (not_heeding.is_taken, not_heeding.is_refused, not_heeding.is_suspect) == (True, False, True)
    assert (another.is_taken, another.is_refused, another.is_suspect) == (True, False, False)
