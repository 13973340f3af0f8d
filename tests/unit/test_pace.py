"""The pace: turns of a lane, pauses after a 429, and the wait between two attempts."""

from datetime import timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.pace import (
    BURST,
    DENIED_FOR,
    FIRST_BACKOFF,
    FIRST_DENIED,
    FIRST_PAUSE,
    FIRST_PROBE,
    LONGEST_BACKOFF,
    LONGEST_DENIED,
    LONGEST_PAUSE,
    LONGEST_PROBE,
    PATIENCE,
    Lane,
    Pause,
    backoff,
    denied_wait,
    next_pause,
    next_probe,
)
from tests.support.builders import NOON

SECOND = timedelta(seconds=1)
MIDDLE = 0.5
"""The jitter that changes nothing."""
MARGIN = timedelta(milliseconds=1)
"""Turns are instants of whole microseconds; over all turns of a test their rounding adds up to less than this."""

rates = st.floats(0.1, 1000)
units = st.integers(1, 10)
jitters = st.floats(0, 1)
asks = st.lists(st.tuples(st.floats(0, 5), units), min_size=1, max_size=60)
"""Messages, each with the seconds since the one before and its units."""


def start(rate: float, *, idle: timedelta = timedelta(days=1)) -> Lane:
    return Lane(rate=rate, next_at=NOON - idle)


class TestLane:
    @pytest.mark.parametrize(
        ("next_in", "turn_in", "free_in"),
        [(-3600.0, -0.5, 0.5), (-0.5, -0.5, 0.5), (-0.2, -0.2, 0.8), (0.0, 0.0, 1.0), (7.0, 7.0, 8.0)],
    )
    def test_a_turn_is_when_the_lane_is_free_but_idle_time_counts_for_half_a_second(
        self, next_in: float, turn_in: float, free_in: float
    ) -> None:
        lane = Lane(rate=10, next_at=NOON + next_in * SECOND)

        assert lane.turn(NOON) == NOON + turn_in * SECOND
        assert lane.taken(NOON, units=10) == NOON + free_in * SECOND

    def test_half_a_second_of_burst_and_half_a_second_of_patience_are_one_second(self) -> None:
        assert BURST + PATIENCE == SECOND

    @given(rate=rates, asked=asks)
    def test_in_no_span_goes_more_than_its_length_and_half_a_second_allow(
        self, rate: float, asked: list[tuple[float, int]]
    ) -> None:
        """Each goes at its turn, or at once if that has passed. The last may go beyond: a group cannot be cut up."""
        lane, now = start(rate), NOON
        gone = []
        for gap, size in asked:
            now += gap * SECOND
            gone.append((max(now, lane.turn(now)), size))
            lane = Lane(rate=rate, next_at=lane.taken(now, units=size))

        for first in range(len(gone)):
            before = accumulate((size for _, size in gone[first:]), initial=0)
            for (at, _), so_far in zip(gone[first:], before, strict=False):
                assert lane.lasts(so_far) <= at - gone[first][0] + BURST + MARGIN

    @given(rate=rates, sizes=st.lists(units, min_size=1, max_size=60), lateness=st.floats(0, 0.5))
    def test_while_there_is_something_to_send_the_rate_is_kept_however_late_one_wakes_up(
        self, rate: float, sizes: list[int], lateness: float
    ) -> None:
        """Late by BURST at most, at every single turn."""
        lane = Lane(rate=rate, next_at=NOON)
        for size in sizes:
            now = lane.next_at + lateness * SECOND
            lane = Lane(rate=rate, next_at=lane.taken(now, units=size))

        assert abs(lane.next_at - NOON - lane.lasts(sum(sizes))) <= MARGIN


class TestPause:
    def test_it_doubles_up_to_a_minute_while_one_follows_the_other(self) -> None:
        pause, now, lengths = None, NOON, []
        for _ in range(9):
            pause = next_pause(pause, now=now, retry_after=None, jitter=MIDDLE)
            lengths.append((pause.until - now).total_seconds())
            now = pause.until

        assert lengths == [1, 2, 4, 8, 16, 32, 60, 60, 60]

    @pytest.mark.parametrize(("later", "length"), [(0.0, 8.0), (4.0, 8.0), (4.001, 1.0), (900.0, 1.0)])
    def test_it_begins_anew_once_sending_went_well_for_as_long_as_the_last_pause(
        self, later: float, length: float
    ) -> None:
        last = Pause(until=NOON, length=4 * SECOND)

        following = next_pause(last, now=NOON + later * SECOND, retry_after=None, jitter=MIDDLE)

        assert following.length == length * SECOND

    @given(jitter=jitters, length=st.floats(1, 60))
    def test_jitter_is_a_quarter_either_way(self, jitter: float, length: float) -> None:
        last = Pause(until=NOON, length=length * SECOND)

        following = next_pause(last, now=NOON, retry_after=None, jitter=jitter)

        assert following.length == min(2 * last.length, LONGEST_PAUSE)
        assert 0.75 * following.length <= following.until - NOON + MARGIN
        assert following.until - NOON <= 1.25 * following.length + MARGIN

    def test_hosts_that_pause_at_the_same_time_do_not_come_back_at_the_same_time(self) -> None:
        ends = [next_pause(None, now=NOON, retry_after=None, jitter=jitter).until for jitter in (0.0, MIDDLE, 1.0)]

        assert [(end - NOON).total_seconds() for end in ends] == [0.75, 1, 1.25]

    @pytest.mark.parametrize("jitter", [0.0, 1.0])
    @pytest.mark.parametrize("last", [None, Pause(until=NOON, length=32 * SECOND)])
    def test_what_bandwidth_asks_for_is_honoured_to_the_second(self, last: Pause | None, jitter: float) -> None:
        assert next_pause(last, now=NOON, retry_after=300, jitter=jitter).until == NOON + 300 * SECOND

    def test_asked_to_come_back_at_once_it_doubles_all_the_same(self) -> None:
        last = Pause(until=NOON, length=4 * SECOND)

        assert next_pause(last, now=NOON, retry_after=0, jitter=MIDDLE).until == NOON + 8 * SECOND

    @given(jitter=jitters, left=st.floats(0.001, 75), length=st.floats(1, 60))
    def test_what_was_on_its_way_when_it_began_adds_nothing(self, jitter: float, left: float, length: float) -> None:
        last = Pause(until=NOON + left * SECOND, length=length * SECOND)

        assert next_pause(last, now=NOON, retry_after=None, jitter=jitter) == last

    def test_of_two_that_overlap_the_longer_counts(self) -> None:
        last = Pause(until=NOON + 10 * SECOND, length=SECOND)

        untils = [next_pause(last, now=NOON, retry_after=seconds, jitter=MIDDLE).until for seconds in (0, 9, 11)]

        assert [(until - NOON).total_seconds() for until in untils] == [10, 10, 11]


class TestBackoff:
    def test_it_doubles_up_to_ten_minutes(self) -> None:
        waits = [backoff(failures, jitter=MIDDLE).total_seconds() for failures in range(1, 12)]

        assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]

    @pytest.mark.parametrize(("jitter", "hours"), [(0.0, 1.46), (MIDDLE, 1.95), (1.0, 2.44)])
    def test_twenty_attempts_take_about_two_hours(self, jitter: float, hours: float) -> None:
        """As `receiver worker --help` says of the default."""
        waits = [backoff(failures, jitter=jitter) for failures in range(1, 20)]

        assert sum(waits, timedelta()) / timedelta(hours=1) == pytest.approx(hours, abs=0.01)

    @given(failures=st.integers(1, 10_000), jitter=jitters)
    def test_it_is_always_within_its_bounds(self, failures: int, jitter: float) -> None:
        assert 0.75 * FIRST_BACKOFF <= backoff(failures, jitter=jitter) <= 1.25 * LONGEST_BACKOFF

    @given(jitter=jitters)
    def test_with_the_same_jitter_it_never_falls(self, jitter: float) -> None:
        waits = [backoff(failures, jitter=jitter) for failures in range(1, 30)]

        assert all(one <= other for one, other in pairwise(waits))


def test_the_first_pause_is_a_second() -> None:
    assert FIRST_PAUSE == SECOND


class TestProbes:
    def test_they_are_a_second_apart_then_twice_as_long_each_time_up_to_a_minute(self) -> None:
        spans = [FIRST_PROBE]
        for _ in range(8):
            spans.append(next_probe(spans[-1]))

        assert [span.total_seconds() for span in spans] == [1, 2, 4, 8, 16, 32, 60, 60, 60]

    @given(last=st.timedeltas(timedelta(days=-1), timedelta(days=1)))
    def test_they_are_always_within_their_bounds(self, last: timedelta) -> None:
        assert FIRST_PROBE <= next_probe(last) <= LONGEST_PROBE


class TestDeniedAlone:
    def test_it_waits_for_a_minute_then_twice_as_long_each_time_up_to_an_hour_for_a_day(self) -> None:
        since, waits = timedelta(0), []
        while wait := denied_wait(since):
            waits.append(wait / timedelta(minutes=1))
            since += wait

        assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert timedelta(days=1) <= since < timedelta(days=1, hours=1)

    @given(since=st.timedeltas(timedelta(days=-2), timedelta(days=2)))
    def test_a_clock_that_was_set_back_changes_no_bound(self, since: timedelta) -> None:
        wait = denied_wait(since)

        assert (wait is None) == (since >= DENIED_FOR)
        assert wait is None or FIRST_DENIED <= wait <= LONGEST_DENIED
