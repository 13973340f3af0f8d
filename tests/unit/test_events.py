import hashlib
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.core.events import (
    MAX_ERROR_CODE,
    MAX_MESSAGE_ID,
    MAX_RECIPIENT,
    MAX_TAG,
    MAX_TYPE,
    Event,
    Gathered,
    Unreadable,
    clean_text,
    earliest,
    gather,
    is_storable,
)
from tests.support.strategies import INBOUND_TYPES, STATEMENT_TYPES, T0, UNKNOWN_TYPES, events, instants

FAILED = Event(
    type="message-failed", message_id="14762070468292kw2fuqty55yp2b2", recipient="+52345678903", error_code=4432
)
SECOND = timedelta(seconds=1)


def test_the_limits_are_those_of_the_design() -> None:
    assert (MAX_TYPE, MAX_MESSAGE_ID, MAX_RECIPIENT, MAX_TAG, MAX_ERROR_CODE) == (64, 128, 64, 1024, 99999)


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        FAILED.error_code = 0  # type: ignore[misc]


# Same event?


@pytest.mark.parametrize(
    "other",
    [
        replace(FAILED, occurred_at=T0),
        replace(FAILED, description="forbidden to country"),
        replace(FAILED, payload='{"a":1}'),
        replace(FAILED, tag="v2 lab"),
    ],
    ids=["time", "description", "payload", "tag"],
)
def test_what_may_differ_between_repeats_is_no_part_of_an_events_identity(other: Event) -> None:
    assert other.identity == FAILED.identity


@pytest.mark.parametrize(
    "other",
    [
        replace(FAILED, message_id="other"),
        replace(FAILED, recipient="+12345678902"),
        replace(FAILED, recipient=""),
        replace(FAILED, type="message-delivered"),
        replace(FAILED, type="Message-Failed"),
        replace(FAILED, error_code=0),
    ],
    ids=["message id", "recipient", "no recipient", "type", "case of the type", "error code"],
)
def test_message_id_recipient_type_and_error_code_tell_events_apart(other: Event) -> None:
    assert other.identity != FAILED.identity
    assert len(gather([FAILED, other])) == 2


def test_an_identity_has_no_nulls() -> None:
    assert Event(type="message-delivered", message_id="a", recipient="").identity == ("a", "", "message-delivered", 0)


# Inbound or outbound?


@pytest.mark.parametrize("event_type", INBOUND_TYPES)
def test_what_people_send_to_us_is_inbound(event_type: str) -> None:
    assert replace(FAILED, type=event_type).is_inbound


@pytest.mark.parametrize(
    "event_type", [*STATEMENT_TYPES, *UNKNOWN_TYPES, "message-received ", "Message-Received", "message-received-2"]
)
def test_every_other_type_is_outbound(event_type: str) -> None:
    assert not replace(FAILED, type=event_type).is_inbound


def test_a_type_that_the_design_does_not_name_inbound_is_outbound() -> None:
    """Design, section 4: "Every other type is outbound"."""
    assert not replace(FAILED, type="request-location-response").is_inbound


# Text that databases refuse.


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        ("Message delivered to carrier", "Message delivered to carrier"),
        ("a\x00b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("\udfff\x00\ud83d", "\ufffd\ufffd\ufffd"),
        ("\U0001f600\x7f\x1f\ud7ff\ue000\uffff", "\U0001f600\x7f\x1f\ud7ff\ue000\uffff"),
    ],
)
def test_nul_and_lone_surrogates_become_replacement_characters_and_nothing_else_does(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned
    assert is_storable(text) == (text == cleaned)


@given(st.text(st.characters(exclude_categories=()), max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_stored_once_it_is_clean(text: str) -> None:
    cleaned = clean_text(text)
    assert is_storable(cleaned)
    assert "\x00" not in cleaned
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned
    assert len(cleaned) == len(text)
    assert clean_text(cleaned) == cleaned


# Unreadable elements.


def test_an_unreadable_element_is_known_by_the_sha_256_of_its_text() -> None:
    element = Unreadable(payload='{"type":"\\u00e9"}', reason="message is not an object.")
    assert element.sha256 == hashlib.sha256(b'{"type":"\\u00e9"}').hexdigest()
    assert element.sha256 == Unreadable(payload=element.payload, reason="Another.").sha256
    assert element.sha256 != Unreadable(payload=element.payload + " ", reason=element.reason).sha256


# Adding up repeats.


def test_gather_counts_what_came_more_than_once() -> None:
    other = replace(FAILED, recipient="+12345678902")
    gathered = gather([FAILED, other, FAILED, FAILED])
    assert [(each.event, each.deliveries) for each in gathered.values()] == [(FAILED, 3), (other, 1)]


def test_gather_of_nothing_is_nothing() -> None:
    assert gather([]) == {}


def test_gather_keeps_payload_and_description_of_the_first() -> None:
    first = replace(FAILED, payload='{"a":1}', description="first")
    second = replace(FAILED, payload='{"a":2}', description="second")
    [delivered] = gather([first, second]).values()
    assert (delivered.event.payload, delivered.event.description) == ('{"a":1}', "first")


@pytest.mark.parametrize(
    ("instants_in_order", "expected"),
    [
        ([T0, T0 + SECOND], T0),
        ([T0 + SECOND, T0], T0),
        ([None, T0], T0),
        ([T0, None], T0),
        ([None, None], None),
        ([T0 + SECOND, None, T0, None, T0 + 2 * SECOND], T0),
    ],
)
def test_gather_keeps_the_earliest_readable_time(
    instants_in_order: list[datetime | None], expected: datetime | None
) -> None:
    [delivered] = gather(replace(FAILED, occurred_at=instant) for instant in instants_in_order).values()
    assert delivered.event.occurred_at == expected


def test_gather_keeps_every_tag_in_the_order_of_arrival_because_any_may_be_ours() -> None:
    tags = (None, "foreign", "", "01JDBX1V9BAAAAAAAAAAAAAAAA", "foreign")
    [delivered] = gather(replace(FAILED, tag=tag) for tag in tags).values()
    assert list(dict.fromkeys(delivered.tags)) == ["foreign", "01JDBX1V9BAAAAAAAAAAAAAAAA"]


def test_gather_keeps_the_order_of_first_arrival() -> None:
    arrivals = [replace(FAILED, recipient=recipient) for recipient in "cabacb"]
    gathered = gather(arrivals)
    assert [each.event.recipient for each in gathered.values()] == ["c", "a", "b"]
    assert [each.place for each in gathered.values()] == [0, 1, 2]


few_events = st.lists(
    events(
        types=st.sampled_from(["message-failed", "message-delivered"]),
        message_ids=st.sampled_from(["a", "b"]),
        recipients=st.sampled_from(["", "+12345678902"]),
    ).map(lambda event: replace(event, error_code=event.error_code % 2)),
    max_size=12,
)


@given(few_events)
@settings(max_examples=200, deadline=None)
def test_gather_loses_no_delivery_and_knows_each_event_by_its_identity(arrivals: list[Event]) -> None:
    gathered = gather(arrivals)
    assert sum(each.deliveries for each in gathered.values()) == len(arrivals)
    assert set(gathered) == {event.identity for event in arrivals}
    assert all(identity == each.event.identity for identity, each in gathered.items())
    assert sorted(each.place for each in gathered.values()) == list(range(len(gathered)))


@given(few_events, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_counts_and_times_do_not_depend_on_the_order_of_arrival(arrivals: list[Event], random: Random) -> None:
    shuffled = list(arrivals)
    random.shuffle(shuffled)
    assert counts_and_times(gather(shuffled)) == counts_and_times(gather(arrivals))


def counts_and_times(gathered: dict[tuple[str, str, str, int], Gathered]) -> dict[object, object]:
    return {identity: (each.deliveries, each.event.occurred_at) for identity, each in gathered.items()}


@given(st.none() | instants, st.none() | instants, st.none() | instants)
@settings(max_examples=100, deadline=None)
def test_earliest_is_commutative_associative_and_idempotent(
    a: datetime | None, b: datetime | None, c: datetime | None
) -> None:
    assert earliest(a, b) == earliest(b, a)
    assert earliest(earliest(a, b), c) == earliest(a, earliest(b, c))
    assert earliest(a, a) == a


# Defects seen in third-party receivers.


def test_a_2026_design_note_merged_different_recipients_of_a_group() -> None:
    """It called (message id, type) the same event; every event of a group shares both."""
    group = [replace(FAILED, type="message-delivered", error_code=0, recipient=f"+1234567890{n}") for n in range(10)]
    assert [each.deliveries for each in gather(group + group).values()] == [2] * 10
