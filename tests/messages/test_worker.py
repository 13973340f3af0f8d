"""The worker, with gateways that answer what a test wants, on both databases."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from sqlalchemy import text

from receiver.core import times
from receiver.core.messages import Accepted, OutboundMessage, Refused, SendResult, Unknown
from receiver.core.send_status import RefusedBecause
from receiver.database.database import Database
from receiver.database.pipeline import Pipeline
from receiver.errors import StorageUnavailable, TooFast
from receiver.messages.call import Gateway
from receiver.messages.sender import cancel
from receiver.messages.worker import Worker
from receiver.reports import messages as reporting
from tests.support.builders import ALICE, BOB, FakeGateway, make_event, make_message, make_sender
from tests.support.processes import PATIENCE, wait_for
from tests.support.queue_steps import claim
from tests.support.stored import deliver, messages

UNREACHABLE = Refused(because=RefusedBecause.UNREACHABLE, description="Connection refused.")
TOO_MANY = Refused(because=RefusedBecause.RATE_LIMITED, status=429, type="max-message-queue-size-exceeded")
BROKEN = Refused(because=RefusedBecause.BANDWIDTH, status=500, type="internal-server-error", description="Sorry.")
INVALID = Refused(because=RefusedBecause.BANDWIDTH, status=400, type="request-validation")
TIMED_OUT = Unknown(type="timed-out", description="Read timed out.")


class ScriptedGateway(FakeGateway):
    """Gives these answers first, whatever the message; then it accepts."""

    def __init__(self, *answers: SendResult) -> None:
        super().__init__()
        self._answers = list(answers)

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        super().create_message(message, tag=tag)
        with suppress(IndexError):
            return self._answers.pop(0)
        return Accepted(message_id=f"id-of-{tag}", segment_count=1)

    @property
    def tags(self) -> Counter[str]:
        """How often each message was sent."""
        return Counter(tag for _, tag in self.sent)


class HeldGateway(ScriptedGateway):
    """Answers nothing until it is let go; counts who waits."""

    def __init__(self, *answers: SendResult) -> None:
        super().__init__(*answers)
        self.let_go = threading.Event()

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        answer = super().create_message(message, tag=tag)
        assert self.let_go.wait(PATIENCE)
        return answer


class RaisingGateway(ScriptedGateway):
    """Has a bug."""

    def create_message(self, message: OutboundMessage, *, tag: str) -> SendResult:
        super().create_message(message, tag=tag)
        raise ZeroDivisionError


@contextmanager
def working(
    database: Database, gateway: Gateway, *, threads: int = 2, attempts: int = 20, lease: float = 30, **rates: float
) -> Iterator[Worker]:
    """A worker that runs, and is stopped at the end."""
    sender = make_sender(database, gateway, **rates)
    worker = Worker(
        sender.caller,
        rates=sender.rates,
        threads=threads,
        attempts=attempts,
        lease=timedelta(seconds=lease),
        poll_seconds=0.05,
    )
    running = threading.Thread(target=worker.run)
    running.start()
    try:
        yield worker
    finally:
        worker.stop()
        running.join(PATIENCE)
        assert not running.is_alive()


def enqueue(database: Database, count: int = 1, **changes: object) -> list[str]:
    sender = make_sender(database)
    return [sender.queue(make_message(ALICE, **changes)).tag for _ in range(count)]


def states(database: Database) -> Counter[str]:
    return Counter(row.send_status for row in messages(database).values())


def wait_for_states(database: Database, **expected: int) -> None:
    wait_for(lambda: states(database) == Counter(expected), f"{expected}")


def free(database: Database) -> int:
    """How many messages a worker may claim now."""
    queued = [row for row in messages(database).values() if row.send_status == "queued"]
    return sum(row.claimable_at <= times.now() for row in queued)


def hurry(database: Database) -> None:
    """Ends the pause before the next attempt."""
    long_ago = "'2026-01-01 00:00:00.000000'"
    database.write(
        lambda session: session.execute(
            text(f"UPDATE messages SET claimable_at = {long_ago} WHERE send_status = 'queued' AND failures > 0")
        )
    )


def test_what_is_queued_is_sent_once_each_in_the_order_of_urgency_then_age(database: Database) -> None:
    tags = enqueue(database, 3) + enqueue(database, 2, priority="high") + enqueue(database, 3)
    gateway = HeldGateway()

    with working(database, gateway, threads=1):
        wait_for(lambda: states(database)["submitting"] == 2, "a request under way, and one that is ready")
        begun = {tag for tag, row in messages(database).items() if row.send_status == "submitting"}
        gateway.let_go.set()
        wait_for_states(database, accepted=8)

    assert gateway.tags == Counter(tags)
    assert begun == set(tags[3:5])
    assert messages(database)[tags[0]].attempt == 1


def test_it_keeps_as_many_requests_under_way_as_it_was_told(database: Database) -> None:
    enqueue(database, 9)
    gateway = HeldGateway()
    with working(database, gateway, threads=4):
        wait_for(lambda: len(gateway.sent) == 4, "four requests under way")
        wait_for(lambda: states(database)["submitting"] == 7, "three more that are ready")
        assert len(gateway.sent) == 4
        gateway.let_go.set()
        wait_for_states(database, accepted=9)


@pytest.mark.parametrize("answer", [UNREACHABLE, BROKEN], ids=["unreachable", "Bandwidth's own 500"])
class TestTryingAgain:
    def test_what_is_known_not_to_have_been_sent_is_sent_again_with_its_tag(
        self, database: Database, answer: Refused
    ) -> None:
        [tag] = enqueue(database)
        gateway = ScriptedGateway(answer, answer)
        with working(database, gateway):
            for failures in (1, 2):
                row = wait_for(lambda failures=failures: _failed(database, tag, failures), "a failure")
                assert (row.send_status, row.refused_because, row.error_status) == ("queued", None, answer.status)
                assert row.claimable_at > times.now()
                hurry(database)
            wait_for_states(database, accepted=1)

        assert gateway.tags == {tag: 3}
        row = messages(database)[tag]
        assert (row.attempt, row.failures, row.error_status, row.error_description) == (3, 2, None, None)

    def test_after_the_last_attempt_it_is_refused_with_the_last_error(
        self, database: Database, answer: Refused
    ) -> None:
        [tag] = enqueue(database)
        gateway = ScriptedGateway(*[answer] * 9)
        with working(database, gateway, attempts=3):
            for failures in (1, 2):
                wait_for(lambda failures=failures: _failed(database, tag, failures), "a failure")
                hurry(database)
            wait_for_states(database, refused=1)

        assert gateway.tags == {tag: 3}
        report = reporting.message(database, tag)
        assert (report.refused_because, report.summary["not_sent"]) == (answer.because, 1)
        assert report.error is not None
        assert (report.error.status, report.error.description) == (answer.status, answer.description)

    def test_an_outage_does_not_use_up_the_attempts_of_the_whole_queue(
        self, database: Database, answer: Refused
    ) -> None:
        """After as many failures in a row as there are requests under way, nothing is sent for a while."""
        enqueue(database, 40)
        gateway = ScriptedGateway(*[answer] * 999)
        with working(database, gateway, threads=2):
            wait_for(lambda: len(gateway.sent) >= 3, "the first failures")
            began = time.monotonic()
            wait_for(lambda: time.monotonic() - began > 3, "three seconds of outage")

        assert 3 <= len(gateway.sent) <= 20
        assert states(database) == {"queued": 40}


def test_at_a_pace_no_turn_is_taken_before_its_request_can_be_made(database: Database) -> None:
    """Turns that were taken behind a slow request would all be used at once when it ends."""
    enqueue(database, 6)
    gateway = HeldGateway()
    with working(database, gateway, threads=1, account=1000.0):
        wait_for(lambda: gateway.sent, "the first request")
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 1, "what the other threads might do meanwhile")
        assert states(database) == {"submitting": 1, "queued": 5}

        gateway.let_go.set()
        wait_for_states(database, accepted=6)


@pytest.mark.parametrize("answer", [Unknown(status=502), TIMED_OUT], ids=["502", "time-out"])
def test_an_outage_does_not_make_the_whole_queue_unknown(database: Database, answer: SendResult) -> None:
    enqueue(database, 40)
    gateway = ScriptedGateway(*[answer] * 999)
    with working(database, gateway, threads=2):
        wait_for(lambda: len(gateway.sent) >= 3, "the first failures")
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 3, "three seconds of outage")

    assert states(database)["queued"] >= 20
    assert max(gateway.tags.values()) == 1


def _failed(database: Database, tag: str, failures: int) -> object:
    row = messages(database)[tag]
    return row if row.failures == failures and row.send_status == "queued" else None


@pytest.mark.parametrize(
    ("answer", "status"), [(TIMED_OUT, "unknown"), (Unknown(status=502), "unknown"), (INVALID, "refused")]
)
def test_nothing_else_is_ever_sent_again(database: Database, answer: SendResult, status: str) -> None:
    [tag] = enqueue(database)
    gateway = ScriptedGateway(answer)
    with working(database, gateway):
        wait_for_states(database, **{status: 1})
        [last] = enqueue(database)
        wait_for(lambda: messages(database)[last].send_status == "accepted", "the next message")

    assert gateway.tags == {tag: 1, last: 1}


def test_a_gateway_that_raises_leaves_the_message_unknown_and_the_worker_alive(database: Database) -> None:
    tags = enqueue(database, 5)
    gateway = RaisingGateway()
    with working(database, gateway):
        wait_for_states(database, unknown=5)

    assert gateway.tags == Counter(tags)


class Test429:
    def test_it_loses_nothing_and_is_no_failure(self, database: Database) -> None:
        tags = enqueue(database, 6)
        gateway = ScriptedGateway(*[TOO_MANY] * 3)
        with working(database, gateway, attempts=1):
            wait_for_states(database, accepted=6)

        assert gateway.tags.total() == 9
        assert set(gateway.tags) == set(tags)
        assert {row.failures for row in messages(database).values()} == {0}

    def test_it_makes_everybody_wait_those_that_send_at_once_too(self, database: Database) -> None:
        enqueue(database, 20)
        gateway = ScriptedGateway(Refused(because=RefusedBecause.RATE_LIMITED, status=429, retry_after=300))
        with working(database, gateway, threads=1):
            wait_for(lambda: _paused(database), "the pause")
            with pytest.raises(TooFast) as raised:
                make_sender(database).send(make_message(BOB))
            wait_for(lambda: free(database) == states(database)["queued"], "all to be given back")

        assert 290 <= raised.value.retry_after <= 300
        assert len(gateway.sent) <= 4
        assert states(database)["queued"] >= 17

    def test_one_that_was_sent_at_once_makes_workers_wait(self, database: Database) -> None:
        refused = Refused(because=RefusedBecause.RATE_LIMITED, status=429, retry_after=300)
        make_sender(database, ScriptedGateway(refused)).send(make_message(BOB))
        enqueue(database, 2)
        gateway = ScriptedGateway()
        with working(database, gateway):
            wait_for(lambda: _given_back(database) == 2, "all to have been claimed, and given back")

        assert gateway.sent == []


def _given_back(database: Database) -> int:
    """How many are free again that were claimed before."""
    queued = [row for row in messages(database).values() if row.send_status == "queued"]
    return sum(row.created_at < row.claimable_at <= times.now() for row in queued)


def _paused(database: Database) -> bool:
    from receiver.messages.pace import paused_until

    with database.read() as session:
        return paused_until(session) is not None


class TestExpiration:
    def test_what_has_expired_is_never_sent(self, database: Database) -> None:
        [late] = enqueue(database, expiration=times.now())
        [in_time] = enqueue(database, expiration=times.now() + timedelta(hours=1))
        gateway = ScriptedGateway()
        with working(database, gateway):
            wait_for_states(database, accepted=1, refused=1)

        assert gateway.tags == {in_time: 1}
        row = messages(database)[late]
        assert (row.refused_because, row.attempt) == ("expired", 0)

    def test_not_even_if_it_expires_behind_a_slow_request(self, database: Database) -> None:
        enqueue(database, 1)
        gateway = HeldGateway()
        with working(database, gateway, threads=1):
            wait_for(lambda: gateway.sent, "the first request")
            [late] = enqueue(database, expiration=times.now() + timedelta(seconds=4))
            wait_for(lambda: messages(database)[late].send_status == "submitting", "the second to be submitting")
            wait_for(lambda: messages(database)[late].expiration < times.now(), "its expiration")
            gateway.let_go.set()
            wait_for_states(database, accepted=1, refused=1)

        assert late not in gateway.tags
        assert messages(database)[late].refused_because == "expired"


class TestStop:
    def test_while_requests_are_under_way_their_answers_are_stored_and_the_rest_is_free(
        self, database: Database
    ) -> None:
        enqueue(database, 12)
        gateway = HeldGateway()
        with working(database, gateway, threads=2) as worker:
            wait_for(lambda: states(database)["submitting"] == 4, "two requests, and two that are ready")
            worker.stop()
            wait_for(lambda: free(database) == 10, "the rest to be free, and what was ready")
            gateway.let_go.set()

        assert states(database) == {"accepted": 2, "queued": 10}
        assert gateway.tags.total() == 2

    def test_while_a_message_waits_for_its_turn_it_is_given_back(self, database: Database) -> None:
        enqueue(database, 3)
        gateway = ScriptedGateway()
        with working(database, gateway, account=2.5):  # a turn is 0.4 s
            wait_for(lambda: gateway.sent, "the first")
        sent = len(gateway.sent)

        assert states(database) == Counter(accepted=sent, queued=3 - sent)
        assert free(database) == 3 - sent

    @pytest.mark.parametrize("rate", [None, 0.01], ids=["idle", "held by the pace"])
    def test_with_nothing_to_send_it_ends_at_once(self, database: Database, rate: float | None) -> None:
        rates = {} if rate is None else {"account": rate}
        enqueue(database, 0 if rate is None else 3)
        gateway = ScriptedGateway()
        with working(database, gateway, **rates):
            if rate is not None:
                wait_for(lambda: gateway.sent, "the first")
            began = time.monotonic()

        assert time.monotonic() - began < 5
        assert states(database)["queued"] == (0 if rate is None else 2)

    def test_twice_is_as_good_as_once(self, database: Database) -> None:
        with working(database, ScriptedGateway()) as worker:
            worker.stop()
            worker.stop()


@pytest.fixture(autouse=True)
def _pipelines_of_away_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets what travels in one round trip fail while an AwayDatabase does not answer."""
    run = Pipeline.run

    def run_unless_away(pipeline: Pipeline, *parameters: bytes) -> bytes:
        if getattr(pipeline.database, "away", False):
            raise StorageUnavailable(reason="away", in_doubt=True)
        return run(pipeline, *parameters)

    monkeypatch.setattr(Pipeline, "run", run_unless_away)


class AwayDatabase(Database):
    """One that may stop answering."""

    away = False

    def write(self, work: Callable[..., object]) -> object:  # type: ignore[override]
        if self.away:
            raise StorageUnavailable(reason="away")
        return super().write(work)


class TestDatabaseAway:
    def test_for_a_while_nothing_is_lost_or_doubled(self, database_url: str) -> None:
        with AwayDatabase(database_url) as database:
            tags = enqueue(database, 10)
            gateway = HeldGateway()
            with working(database, gateway, threads=2):
                wait_for(lambda: states(database)["submitting"] == 4, "two requests, and two that are ready")
                database.away = True
                gateway.let_go.set()
                wait_for(lambda: len(gateway.sent) == 4, "those that were ready")
                database.away = False
                wait_for_states(database, accepted=10)

            assert gateway.tags == Counter(tags)

    def test_at_the_stop_it_ends_in_bounded_time_and_what_was_sent_is_not_sent_again(self, database_url: str) -> None:
        with AwayDatabase(database_url) as database:
            enqueue(database, 10)
            gateway = HeldGateway()
            with working(database, gateway, threads=2) as worker:
                wait_for(lambda: states(database)["submitting"] == 4, "two requests, and two that are ready")
                database.away = True
                worker.stop()
                gateway.let_go.set()
                began = time.monotonic()
            assert time.monotonic() - began < 2 * 8 + 5  # twice RECORD_SECONDS, one after the other

            database.away = False
            sent = set(gateway.tags)
            assert len(sent) == 2
            assert not sent & {each.tag for each in claim(database, now=times.now() + timedelta(days=1), limit=99)}


class AwayOnceClaimed(AwayDatabase):
    """Stops answering when a message was claimed; counts what it refused, and what it stored once it was back."""

    refused = back = 0

    def write(self, work: Callable[..., object]) -> object:  # type: ignore[override]
        self.refused += self.away
        done = super().write(work)
        self.back += self.refused > 0 and done is None  # as the storing of an answer does
        self.away = self.away or (bool(done) and isinstance(done, list) and not self.refused)
        return done


class TestSharing:
    def test_a_worker_that_could_not_begin_leaves_alone_what_another_has_begun_since(self, database_url: str) -> None:
        """Its lease ended while its database was away: the attempt under way is the other's, of the same number."""
        gateway = HeldGateway()
        with AwayOnceClaimed(database_url) as away, Database(database_url) as database:
            [tag] = enqueue(database)
            with working(away, ScriptedGateway(), threads=1, lease=0.5):
                wait_for(lambda: away.refused, "a first that cannot begin")
                with working(database, gateway):
                    wait_for(lambda: gateway.sent, "the second's request")
                    away.away = False
                    wait_for(lambda: away.back, "the first to go on")
                    assert states(database) == {"submitting": 1}
                    gateway.let_go.set()
                    wait_for_states(database, accepted=1)

        assert gateway.tags == {tag: 1}

    def test_two_workers_send_each_message_once(self, database: Database) -> None:
        tags = enqueue(database, 60)
        gateway = ScriptedGateway()
        with working(database, gateway), working(database, gateway):
            wait_for_states(database, accepted=60)

        assert gateway.tags == Counter(tags)

    def test_a_lease_that_ends_while_its_owner_is_slow_does_not_double_anything(self, database: Database) -> None:
        """The first holds claimed messages behind a slow request; the second takes them over."""
        tags = enqueue(database, 8)
        slow, quick = HeldGateway(), ScriptedGateway()
        with working(database, slow, threads=1, lease=0.5):
            wait_for(lambda: slow.sent, "the slow request")
            with working(database, quick, threads=2):
                wait_for(lambda: states(database)["accepted"] >= 5, "the others, sent by the second")
            slow.let_go.set()
            wait_for_states(database, accepted=8)

        assert slow.tags + quick.tags == Counter(tags)

    def test_an_event_that_overtakes_the_answer_wins(self, database: Database) -> None:
        [tag] = enqueue(database)
        gateway = HeldGateway(UNREACHABLE)
        with working(database, gateway):
            wait_for(lambda: gateway.sent, "the request")
            deliver(database, make_event(tag=tag))
            gateway.let_go.set()

        assert states(database) == {"accepted": 1}
        assert gateway.tags == {tag: 1}

    def test_a_cancelled_message_is_not_sent_although_it_is_claimed(self, database: Database) -> None:
        tags = enqueue(database, 3)
        gateway = HeldGateway()
        with working(database, gateway, threads=1):
            wait_for(lambda: states(database)["submitting"] == 2, "all but one")
            [queued] = [tag for tag, row in messages(database).items() if row.send_status == "queued"]
            cancel(database, queued)
            gateway.let_go.set()
            wait_for_states(database, accepted=2, refused=1)

        assert gateway.tags == Counter(set(tags) - {queued})


class TestPace:
    def test_workers_and_those_that_send_at_once_share_the_rate(self, database: Database) -> None:
        enqueue(database, 6)
        gateway = ScriptedGateway()
        began = times.now()
        with working(database, gateway, account=10.0), working(database, gateway, account=10.0):
            for _ in range(4):
                make_sender(database, gateway, account=10.0).send(make_message(BOB))
            wait_for_states(database, accepted=10)
        took = (times.now() - began).total_seconds()

        assert took >= 0.4  # ten units at ten a second, of which half a second's worth may go at once

    def test_a_slow_sender_does_not_hold_up_another(self, database: Database) -> None:
        slow = enqueue(database, 30, sender="+19195550110")
        quick = enqueue(database, 10, sender="+19195550111")
        gateway = ScriptedGateway()
        with working(database, gateway, sender=0.5):
            wait_for(lambda: any(tag in gateway.tags for tag in quick), "the other sender's first")

        assert sum(gateway.tags[tag] for tag in slow) <= 2
