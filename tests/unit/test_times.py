import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.core import times
from tests.support.strategies import instants


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


READABLE = [
    # The layouts of Bandwidth's own examples, 2016 to 2026.
    ("2016-09-14T18:20:16Z", utc(2016, 9, 14, 18, 20, 16)),
    ("2020-06-25T18:42:36.979Z", utc(2020, 6, 25, 18, 42, 36, 979000)),
    ("2024-02-15T16:34:52.255182Z", utc(2024, 2, 15, 16, 34, 52, 255182)),
    ("2017-01-11T18:25:27.047+0000", utc(2017, 1, 11, 18, 25, 27, 47000)),
    ("2021-02-01T11:29:18-05:00", utc(2021, 2, 1, 16, 29, 18)),
    # Others that name an instant as clearly.
    ("2016-09-14T18:20:16+00:00", utc(2016, 9, 14, 18, 20, 16)),
    ("2016-09-14T18:20:16-00:00", utc(2016, 9, 14, 18, 20, 16)),
    ("2016-09-14T18:20:16+05:30", utc(2016, 9, 14, 12, 50, 16)),
    ("2016-09-14t18:20:16z", utc(2016, 9, 14, 18, 20, 16)),
    ("2016-09-14 18:20:16Z", utc(2016, 9, 14, 18, 20, 16)),
    ("2016-09-14T18:20:16.123456789Z", utc(2016, 9, 14, 18, 20, 16, 123456)),
    # Without a zone it is UTC.
    ("2016-09-14T18:20:16", utc(2016, 9, 14, 18, 20, 16)),
    ("2016-09-14T18:20:16.5", utc(2016, 9, 14, 18, 20, 16, 500000)),
    # The edges of 2000 to 2100, which are those of UTC.
    ("2000-01-01T00:00:00Z", utc(2000, 1, 1)),
    ("1999-12-31T23:30:00-01:00", utc(2000, 1, 1, 0, 30)),
    ("2100-12-31T23:59:59.999999Z", utc(2100, 12, 31, 23, 59, 59, 999999)),
    ("2101-01-01T00:30:00+01:00", utc(2100, 12, 31, 23, 30)),
    ("2024-02-29T00:00:00Z", utc(2024, 2, 29)),
]

UNREADABLE: list[tuple[Any, str]] = [
    (None, "absent"),
    ("", "empty, as in a fixture of 2024"),
    (1476207046829, "epoch milliseconds"),
    (1476207046.829, "epoch seconds"),
    (True, "a boolean"),
    (["2016-09-14T18:20:16Z"], "an array, as the tables of the documentation call it"),
    ({"time": "2016-09-14T18:20:16Z"}, "an object"),
    ("1476207046829", "epoch milliseconds in a string"),
    ("2016-09-14", "a date alone"),
    ("2016-09-14Z", "a date and a zone"),
    ("18:20:16Z", "a time of day alone"),
    ("Wed, 14 Sep 2016 18:20:16 GMT", "the layout of HTTP headers"),
    ("yesterday", "a word"),
    ("2016-13-14T18:20:16Z", "month 13"),
    ("2023-02-29T18:20:16Z", "a day that its year does not have"),
    ("2016-09-14T25:20:16Z", "hour 25"),
    ("2016-12-31T23:59:60Z", "a leap second"),
    ("2016-09-14T18:20:16+25:00", "a zone beyond a day"),
    ("2016-09-14T18:20:16ZZ", "two zones"),
    ("2016-09-14T18:20:16Z and more", "text after it"),
    ("1999-12-31T23:59:59.999999Z", "the microsecond before 2000"),
    ("2000-01-01T00:30:00+01:00", "1999 in UTC"),
    ("2101-01-01T00:00:00Z", "the instant after 2100"),
    ("2100-12-31T23:30:00-01:00", "2101 in UTC"),
    ("1970-01-01T00:00:00Z", "the epoch"),
    ("0001-01-01T00:00:00+23:59", "before the first instant that can be counted"),
    ("9999-12-31T23:59:59-23:59", "after the last instant that can be counted"),
    ("10000-01-01T00:00:00Z", "a year of five digits"),
    ("-2016-09-14T18:20:16Z", "a year before Christ"),
    ("\u0662\u0660\u0661\u0666-09-14T18:20:16Z", "digits that are not ASCII"),
    ("2016-09-14T18:20:1\u0666Z", "a digit that is not ASCII"),
    ("2016-09-14T18:20:16\ud800", "a lone surrogate"),
    ("2016-09-14\ud80018:20:16Z", "a lone surrogate between date and time"),
    ("\x002016-09-14T18:20:16Z", "a NUL before it"),
    ("2016-09-14T18:20:16\u00df", "a letter that grows when it is made upper case"),
]


@pytest.mark.parametrize(("text", "instant"), READABLE)
def test_every_layout_that_names_an_instant_is_read(text: str, instant: datetime) -> None:
    read = times.parse(text)
    assert read == instant
    assert read is not None
    assert read.tzinfo is UTC


@pytest.mark.parametrize(("value", "why"), UNREADABLE)
def test_what_names_no_instant_from_2000_to_2100_is_none(value: Any, why: str) -> None:
    assert times.parse(value) is None, why


@pytest.fixture
def in_new_york() -> Iterator[None]:
    """A machine whose own zone is not UTC."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_the_zone_of_the_machine_does_not_matter() -> None:
    assert times.parse("2016-09-14T18:20:16") == utc(2016, 9, 14, 18, 20, 16)
    assert times.rfc3339(utc(2016, 9, 14, 18, 20, 16)) == "2016-09-14T18:20:16.000000Z"
    assert times.now().tzinfo is UTC
    assert abs(times.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_time_that_ends_in_nul_cannot_be_read() -> None:
    assert times.parse("2016-09-14T18:20:16Z\x00") is None


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=())),
        st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:?[0-5]?[0-9]?.{0,12}\Z"),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats(), st.lists, max_leaves=3),
    )
)
@settings(max_examples=300, deadline=None)
def test_no_value_makes_the_reading_of_a_time_fail(value: object) -> None:
    instant = times.parse(value)
    assert instant is None or (instant.tzinfo is UTC and 2000 <= instant.year <= 2100)


offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(instants)
@settings(max_examples=100, deadline=None)
def test_what_is_written_reads_back_as_the_same_instant(instant: datetime) -> None:
    assert times.parse(times.rfc3339(instant)) == instant


@given(instants, offsets)
@settings(max_examples=200, deadline=None)
def test_a_time_means_the_same_in_every_zone(instant: datetime, zone: timezone) -> None:
    there = instant.astimezone(zone)
    assert times.parse(there.isoformat()) == instant
    assert times.rfc3339(there) == times.rfc3339(instant)


@given(instants, instants)
@settings(max_examples=200, deadline=None)
def test_written_times_sort_as_their_instants(one: datetime, other: datetime) -> None:
    assert (times.rfc3339(one) < times.rfc3339(other)) == (one < other)


def test_a_time_is_written_in_utc_ends_in_z_and_has_one_width() -> None:
    assert times.rfc3339(utc(2026, 11, 21, 21, 53, 14, 123456)) == "2026-11-21T21:53:14.123456Z"
    assert times.rfc3339(utc(2000, 1, 1)) == "2000-01-01T00:00:00.000000Z"


@given(instants)
@settings(max_examples=100, deadline=None)
def test_a_whole_millisecond_is_the_last_one_begun(instant: datetime) -> None:
    whole = times.whole_millisecond(instant)
    assert whole.microsecond % 1000 == 0
    assert timedelta(0) <= instant - whole < timedelta(milliseconds=1)


def test_now_is_aware_and_utc() -> None:
    before = datetime.now(UTC)
    assert before <= times.now() <= datetime.now(UTC)
    assert times.now().tzinfo is UTC
