"""Lanes in the database: everybody who sends takes turns at them, and a pause holds everybody up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text

from receiver.core import times
from receiver.core.pace import BURST, Rates
from receiver.database.database import Database, Session
from receiver.database.models import LaneRow
from receiver.messages import pace
from receiver.messages.pace import ACCOUNT, Turn
from tests.support.locks import Counted, Held, one_waits_for_the_other, onlooker, threads, wait_until
from tests.support.processes import wait_for

ALPHA, BETA = "+19195550110", "+19195550111"
HOUR = timedelta(hours=1)
RATE = 0.01
"""A unit in a hundred seconds, so that the time a test takes does not count."""


def taking(rates: Rates, sender: str = ALPHA, *, units: int = 1) -> Callable[[Session], Turn]:
    return lambda session: pace.take_turn(
        session, rates, sender=sender, units=units, credentials="", heeds_refusal=False
    )


def take(database: Database, rates: Rates, sender: str = ALPHA, *, units: int = 1) -> Turn:
    return database.write(taking(rates, sender, units=units))


def lanes(database: Database) -> dict[str, LaneRow]:
    with database.read() as session:
        return {row.sender: row for row in session.scalars(select(LaneRow))}


def later(database: Database, seconds: float) -> None:
    """Lets that much time pass for every lane."""
    span = timedelta(seconds=seconds)

    def work(session: Session) -> None:
        for row in session.scalars(select(LaneRow)):
            row.next_at -= span
            row.paused_until = row.paused_until and row.paused_until - span

    database.write(work)


def seconds(turn: Turn) -> float:
    """How long it has to wait, to the nearest ten."""
    return round(turn.wait.total_seconds(), -1)


def pause(database: Database, retry_after: int | None = None) -> None:
    database.write(lambda session: pace.pause(session, retry_after=retry_after, jitter=0.5))


def test_without_a_rate_everything_goes_at_once_and_nothing_is_written(database: Database) -> None:
    turns = [take(database, Rates(), units=10) for _ in range(3)]

    assert {(turn.wait, turn.is_taken) for turn in turns} == {(timedelta(0), True)}
    assert lanes(database) == {}


@pytest.mark.parametrize("units", [1, 3, 10])
def test_a_turn_lasts_as_long_as_its_units_take_at_that_rate(database: Database, units: int) -> None:
    first, second = (take(database, Rates(account=RATE), units=units) for _ in range(2))
    later(database, 100 * units)

    assert (first.is_taken, seconds(first)) == (True, 0)
    assert (second.is_taken, seconds(second)) == (False, 100 * units)
    assert take(database, Rates(account=RATE)).is_taken


def test_the_account_is_shared_by_all_its_senders_and_each_has_a_rate_of_its_own(database: Database) -> None:
    rates = Rates(account=0.05, sender=RATE)
    take(database, rates, ALPHA)

    turns = [take(database, rates, sender) for sender in (ALPHA, BETA, "LUNCH")]
    assert [(seconds(turn), turn.is_taken, turn.is_senders) for turn in turns] == [
        (100, False, True),
        (20, False, False),
        (20, False, False),
    ]

    later(database, 20)
    assert [take(database, rates, sender).is_taken for sender in (ALPHA, BETA, "LUNCH")] == [False, True, False]


def test_a_sender_may_have_a_rate_although_the_account_has_none(database: Database) -> None:
    turns = [take(database, Rates(sender=RATE), sender) for sender in (ALPHA, BETA, ALPHA)]

    assert [(seconds(turn), turn.is_taken) for turn in turns] == [(0, True), (0, True), (100, False)]


def test_a_turn_too_far_ahead_is_left_to_others(database: Database) -> None:
    take(database, Rates(account=RATE))
    before = lanes(database)[ACCOUNT].next_at

    turn = take(database, Rates(account=RATE))

    assert not turn.is_taken
    assert turn.ask_again_in == turn.wait.total_seconds() - 0.5
    assert lanes(database)[ACCOUNT].next_at == before


def test_who_has_no_turn_does_not_ask_again_at_once_but_before_those_that_are_taken_end(database: Database) -> None:
    rates = Rates(account=4.0)
    while (turn := take(database, rates)).is_taken:
        pass

    assert turn.wait.total_seconds() - 0.5 < 0.25
    assert turn.ask_again_in == 0.25


def test_a_sender_without_a_turn_is_closed_until_it_has_one(database: Database) -> None:
    rates = Rates(account=1000.0, sender=RATE)
    assert _closed(database) == set()
    take(database, rates, ALPHA)
    take(database, rates, BETA, units=2)
    assert _closed(database) == {ALPHA, BETA}

    later(database, 100)
    assert _closed(database) == {BETA}


def _closed(database: Database, *, rate: float = RATE) -> set[str]:
    with database.read() as session:
        return set(session.scalars(pace.closed_senders(session, rate)))


def test_a_lane_that_was_taken_at_a_far_lower_rate_is_free_again_soon(database: Database) -> None:
    """The operator corrects the rate: what went before at the old one must not hold up everybody for its hours."""
    take(database, Rates(account=0.01, sender=0.01), ALPHA, units=10)
    rates = Rates(account=100.0, sender=100.0)

    assert _closed(database, rate=0.01) == {ALPHA}
    assert _closed(database, rate=100.0) == set()
    assert not take(database, rates, ALPHA).is_taken
    assert {(row.next_at - times.now()).total_seconds() < 1.5 for row in lanes(database).values()} == {True}
    wait_for(lambda: take(database, rates, ALPHA).is_taken, "a turn", seconds=5)


class TestPause:
    @pytest.mark.parametrize("rates", [Rates(), Rates(account=1.0), Rates(sender=1.0), Rates(account=1.0, sender=1.0)])
    def test_it_holds_up_everybody(self, database: Database, rates: Rates) -> None:
        pause(database, retry_after=300)

        turn = take(database, rates)

        assert (turn.is_taken, turn.is_senders, seconds(turn)) == (False, False, 300)

    def test_it_is_reported_until_it_has_passed(self, database: Database) -> None:
        with database.read() as session:
            assert pace.paused_until(session) is None
        pause(database, retry_after=300)

        with database.read() as session:
            until = pace.paused_until(session)
        assert until is not None
        assert abs(until - times.now() - timedelta(seconds=300)) < timedelta(seconds=5)

        later(database, 300)
        with database.read() as session:
            assert pace.paused_until(session) is None

    def test_those_that_follow_at_once_double(self, database: Database) -> None:
        lengths = []
        for _ in range(3):
            pause(database)
            lengths.append(lanes(database)[ACCOUNT].pause_seconds)
            later(database, 2 ** len(lengths) / 2)

        assert lengths == [1, 2, 4]

    def test_several_429s_of_the_same_moment_are_one(self, database: Database) -> None:
        for _ in range(8):
            pause(database)

        assert lanes(database)[ACCOUNT].pause_seconds == 1

    def test_at_its_end_no_more_than_half_a_second_of_the_rate_goes_at_once(self, database: Database) -> None:
        """A turn that is taken shortly before is one of the time after."""
        pause(database, retry_after=300)
        later(database, 299.6)
        until = lanes(database)[ACCOUNT].paused_until

        assert take(database, Rates(account=10.0)).is_taken

        assert until is not None
        assert lanes(database)[ACCOUNT].next_at >= until - BURST + timedelta(seconds=0.1)


class TestAtTheSameTime:
    @pytest.mark.parametrize("are_there", [False, True], ids=["new lanes", "lanes that are there"])
    def test_two_take_one_turn_after_the_other(self, postgres: Database, are_there: bool) -> None:
        rates = Rates(account=RATE, sender=RATE)
        if are_there:
            take(postgres, rates)
            later(postgres, 100)
        turns: list[Turn] = []
        one, other = (Counted(lambda session: turns.append(taking(rates)(session))) for _ in range(2))

        one_waits_for_the_other(postgres, one, other)

        assert [(seconds(turn), turn.is_taken) for turn in turns] == [(0, True), (100, False)]
        assert (one.begun, other.begun) == (1, 1)

    def test_what_was_taken_and_not_committed_is_not_taken(self, database: Database) -> None:
        def taken_in_vain(session: Session) -> None:
            taking(Rates(account=RATE))(session)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            database.write(taken_in_vain)

        assert take(database, Rates(account=RATE)).is_taken

    def test_many_of_many_senders_share_one_turn(self, database: Database) -> None:
        rates = Rates(account=RATE, sender=1000.0)
        with ThreadPoolExecutor(max_workers=8) as pool:
            turns = list(pool.map(lambda sender: take(database, rates, sender), [ALPHA, BETA] * 20))

        assert sorted(turn.is_taken for turn in turns) == [False] * 39 + [True]

    def test_a_pause_and_a_turn_wait_for_each_other(self, postgres: Database) -> None:
        turns: list[Turn] = []
        rates = Rates(account=1.0)

        one_waits_for_the_other(
            postgres,
            lambda session: pace.pause(session, retry_after=300, jitter=0.5),
            lambda session: turns.append(taking(rates)(session)),
        )

        assert [(turn.is_taken, seconds(turn)) for turn in turns] == [(False, 300)]


OTHER_CLOCK = """CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''"""
FIRST_OURS = (
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$"
)


def test_the_clock_is_the_databases(postgres_url: str) -> None:
    """Here that of the database is an hour ahead of ours."""
    with Database(postgres_url) as database:
        for statement in (OTHER_CLOCK, FIRST_OURS):
            database.write(lambda session, statement=statement: session.execute(text(statement)))
    with Database(postgres_url) as database:
        turns = [take(database, Rates(account=RATE)) for _ in range(2)]
        next_at: datetime = lanes(database)[ACCOUNT].next_at

    assert [seconds(turn) for turn in turns] == [0, 100]
    assert abs(next_at - times.now() - HOUR) < timedelta(minutes=5)


def test_a_transaction_that_waited_for_its_lane_looks_at_the_clock_after_that(postgres: Database) -> None:
    """The time of a transaction is that of its beginning; with it, those who waited would have their turn late."""
    rates = Rates(account=0.5)
    take(postgres, rates)
    free_at = lanes(postgres)[ACCOUNT].next_at
    turns: list[Turn] = []
    held = Held(lambda session: session.execute(text("SELECT FROM lanes FOR UPDATE")))
    with onlooker(postgres.engine.url.render_as_string(hide_password=False)) as watching, threads() as pool:
        one = pool.submit(lambda: postgres.write(held))
        held.wait()
        assert times.now() < free_at
        other = pool.submit(lambda: turns.append(take(postgres, rates)))
        try:
            watching.wait_for(1)
            wait_until(lambda: times.now() > free_at)
        finally:
            held.release()
        one.result()
        other.result()

    assert [turn.wait for turn in turns] == [timedelta(0)]
