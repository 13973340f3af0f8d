import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.core import times
from receiver.core.tags import is_tag, new_tag
from tests.support.strategies import instants

CREATED = datetime(2026, 11, 21, 21, 53, 14, 123000, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

whole_milliseconds = instants.map(times.whole_millisecond)


def read_milliseconds(tag: str) -> int:
    """The creation time of a ULID, by its specification and not by our code."""
    number = 0
    for character in tag[:10]:
        number = number * 32 + CROCKFORD.index(character)
    return number


@given(instants)
@settings(max_examples=100, deadline=None)
def test_a_tag_is_26_url_safe_characters(created_at: datetime) -> None:
    tag = new_tag(created_at)
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", tag)
    assert is_tag(tag)
    assert quote(tag, safe="") == tag


@given(instants | whole_milliseconds)
@settings(max_examples=200, deadline=None)
def test_a_tag_begins_with_the_millisecond_of_its_creation(created_at: datetime) -> None:
    assert read_milliseconds(new_tag(created_at)) == (created_at - EPOCH) // MILLISECOND


@pytest.mark.parametrize("year", [2000, 2026, 2038, 2100])
def test_no_millisecond_of_a_second_is_taken_for_the_one_before(year: int) -> None:
    second = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    instants = [second + place * MILLISECOND for place in range(1000)]
    assert [read_milliseconds(new_tag(instant)) for instant in instants] == [
        (instant - EPOCH) // MILLISECOND for instant in instants
    ]


@given(whole_milliseconds, st.integers(1, 10**12))
@settings(max_examples=200, deadline=None)
def test_tags_sort_as_their_messages_were_created(created_at: datetime, milliseconds_later: int) -> None:
    later = created_at + timedelta(milliseconds=milliseconds_later)
    assert new_tag(created_at) < new_tag(later)
    assert new_tag(created_at).encode() < new_tag(later).encode()


def test_tags_sort_over_the_years_in_any_time_zone() -> None:
    months = [datetime(year, month, 1, tzinfo=UTC) for year in range(2000, 2101) for month in range(1, 13)]
    tags = [new_tag(instant) for instant in months]
    assert tags == sorted(tags)
    east = datetime.fromisoformat("2026-11-21T23:53:14.123+02:00")
    assert new_tag(east)[:10] == new_tag(CREATED)[:10]


def test_ten_thousand_tags_of_one_millisecond_all_differ() -> None:
    assert len({new_tag(CREATED) for _ in range(10_000)}) == 10_000


def test_a_tag_has_80_random_bits() -> None:
    tags = [new_tag(CREATED) for _ in range(500)]
    assert len({tag[:10] for tag in tags}) == 1
    for place in range(10, 26):
        # 500 draws of 32 characters miss one of them in one run of 240,000, and three of them practically never
        assert len({tag[place] for tag in tags}) >= 30, f"character {place} is not random"


def test_neighbouring_tags_are_not_neighbouring_numbers() -> None:
    one, other = new_tag(CREATED), new_tag(CREATED)
    assert sum(a != b for a, b in zip(one[10:], other[10:], strict=True)) > 4


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("0" * 25, "too short"),
        ("0" * 27, "too long"),
        ("8" + "0" * 25, "more than 128 bits"),
        ("Z" * 26, "more than 128 bits"),
        ("01jdbx1v9baaaaaaaaaaaaaaaa", "lower case: the same text on the wire, in the API and in SQL"),
        ("01JDBX1V9BAAAAAAAAAAAAAAAI", "I is not in the alphabet"),
        ("01JDBX1V9BAAAAAAAAAAAAAAAL", "L is not in the alphabet"),
        ("01JDBX1V9BAAAAAAAAAAAAAAAO", "O is not in the alphabet"),
        ("01JDBX1V9BAAAAAAAAAAAAAAAU", "U is not in the alphabet"),
        ("01JDBX1V9BAAAAAAAAAAAAAAAA\n", "a line end after it"),
        (" 01JDBX1V9BAAAAAAAAAAAAAAA", "a space"),
        ("01JDBX1V9BAAAAAAAAAAAAAA\N{ARABIC-INDIC DIGIT TWO}A", "a digit that is not ASCII"),
        ("v2 lab", "the tag of Bandwidth's own examples"),
        ("606e69c8cb126c0009c7a03d", "somebody else's tag, seen in the wild"),
        ("x" * 1024, "the longest that Bandwidth takes"),
    ],
)
def test_a_foreign_tag_has_not_the_shape_of_ours(text: str, why: str) -> None:
    assert not is_tag(text), why


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_text_is_too_odd_to_be_judged(text: str) -> None:
    assert is_tag(text) == bool(re.match(rf"[0-7][{CROCKFORD}]{{25}}\Z", text))
