"""Standing is a total order and the status its maximum: any order, repetition or split ends the same."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from itertools import chain, combinations, permutations, product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.core.events import Event, Identity, earliest, gather
from receiver.core.status import (
    NO_STANDING,
    RecipientStatus,
    disposition,
    fold,
    has_old_order,
    says_invalid_recipient,
    standing,
    status_of,
)
from tests.support import oracle
from tests.support.strategies import (
    INBOUND_TYPES,
    MICROSECOND,
    NASTY_TEXTS,
    STATEMENT_TYPES,
    T0,
    UNKNOWN_TYPES,
    event,
    events,
    texts,
)

A, B, STRANGER = "+12345678902", "+12345678903", "+19195550000"


# The order.


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Event, Event]:
    """Two statements that agree in some fields, so that the later tie-breaks get their turn."""
    one, other = draw(events()), draw(events())
    same = draw(st.sets(st.sampled_from(["type", "error_code", "occurred_at", "message_id"])))
    return one, replace(other, **{name: getattr(one, name) for name in same})


@given(neighbours())
@settings(max_examples=300, deadline=None)
def test_standings_compare_as_the_rules_do(pair: tuple[Event, Event]) -> None:
    one, other = pair
    assert (standing(one) > standing(other)) == (oracle.key(one) < oracle.key(other))
    assert (standing(one) == standing(other)) == (oracle.key(one) == oracle.key(other))


@given(st.lists(events(), max_size=12))
@settings(max_examples=200, deadline=None)
def test_sorting_by_standing_is_sorting_by_the_rules(several: list[Event]) -> None:
    by_standing = sorted(several, key=standing, reverse=True)
    assert list(map(oracle.key, by_standing)) == sorted(map(oracle.key, several))


def test_texts_that_begin_alike_or_need_more_bytes_stand_in_the_order_of_their_utf_8() -> None:
    several = [
        event(f"message-rejected-{suffix}", message_id=message_id)
        for message_id, suffix in product(NASTY_TEXTS, ("", *NASTY_TEXTS))
    ]
    assert sorted(several, key=standing, reverse=True) == sorted(several, key=oracle.key)
    assert len({standing(each) for each in several}) == len(several)


@given(texts, texts, texts, texts)
@settings(max_examples=300, deadline=None)
def test_the_end_of_the_message_id_never_runs_into_the_type(a: str, b: str, c: str, d: str) -> None:
    one = event(f"message-rejected-{b}", message_id=a)
    other = event(f"message-rejected-{d}", message_id=c)
    assert (standing(one) > standing(other)) == (oracle.key(one) < oracle.key(other))


HIGHER_FIRST = [
    (event("message-failed", 4404), event("message-delivered", occurred_at=T0), "rank before time"),
    (event("message-delivered"), event("message-failed", 9902, occurred_at=T0), "delivered beats unconfirmed"),
    (event("message-failed", 9902), event("message-sent", occurred_at=T0), "unconfirmed beats sent"),
    (event("message-sent"), event("message-sending", occurred_at=T0), "sent beats sending"),
    (
        event("message-failed", 4432, occurred_at=T0),
        event("message-failed", 4404, occurred_at=T0 + MICROSECOND),
        "of two codes the earlier by a microsecond, whatever its code",
    ),
    (
        event("message-failed", 4432, occurred_at=T0),
        event("message-failed", 4404, occurred_at=None),
        "a known time before an unknown one",
    ),
    (
        event("message-failed", 4404, occurred_at=None),
        event("message-failed", 0, occurred_at=T0),
        "any code before no code, whatever the times",
    ),
    (event("message-failed", 99999), event("message-failed", 0), "any code before no code at the same time"),
    (
        event("message-rejected-forbidden-country", 4432, occurred_at=T0 + MICROSECOND),
        event("message-failed", 0, occurred_at=T0),
        "any code before no code, whatever the type",
    ),
    (event("message-delivered"), event("message-sent", 1), "rank before code"),
    (event("message-failed", 4404), event("message-failed", 4432), "the lower code"),
    (event("message-failed", 9), event("message-failed", 10), "codes are numbers, not texts"),
    (event("message-failed", 99998), event("message-failed", 99999), "the highest codes"),
    (
        event("message-failed", 4404, message_id="z"),
        event("message-failed", 4405, message_id="a"),
        "code before message id",
    ),
    (event("message-sent", message_id="a"), event("message-sent", message_id="b"), "the lower message id"),
    (event("message-sent", message_id="a"), event("message-sent", message_id="aa"), "a prefix is lower"),
    (event("message-sent", message_id="B"), event("message-sent", message_id="a"), "bytes, not letters"),
    (event("message-sent", message_id="10"), event("message-sent", message_id="9"), "bytes, not numbers"),
    (
        event("message-sent", message_id="\uffff"),
        event("message-sent", message_id="\U00010000"),
        "UTF-8 and not UTF-16, which sorts these the other way round",
    ),
    (event("message-delivered"), event("message-read"), "the lower type"),
    (
        event("message-read", message_id="a"),
        event("message-delivered", message_id="b"),
        "message id before type",
    ),
    (event("message-failed", 0), event("message-rejected-forbidden-country", 0), "the lower type of two failures"),
]


@pytest.mark.parametrize(("higher", "lower", "why"), HIGHER_FIRST)
def test_the_earlier_and_the_lower_stands_higher(higher: Event, lower: Event, why: str) -> None:
    assert standing(higher) > standing(lower), why
    assert fold([higher, lower]).winner == fold([lower, higher]).winner == higher, why


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (event("message-failed", 4404, message_id="id", occurred_at=T0), b"\x05\xff"),
        (event("message-failed", 0, message_id="id", occurred_at=T0), b"\x05\x00"),
        (event("message-failed", 9902, message_id="id", occurred_at=T0), b"\x03\xff"),
        (event("message-delivered", message_id="id", occurred_at=T0), b"\x04\x00"),
    ],
)
def test_the_byte_after_the_rank_tells_whether_there_is_a_code(said: Event, expected: bytes) -> None:
    assert standing(said)[:2] == expected


# Standings of the order before, which put the time right after the rank, stay until they are computed anew.


def old_standing(said: Event) -> bytes:
    return standing(said)[:1] + standing(said)[2:]


@given(neighbours())
@settings(max_examples=300, deadline=None)
def test_comparing_with_the_order_of_before_never_lowers_a_status(pair: tuple[Event, Event]) -> None:
    stored, said = pair
    for one, other in ((old_standing(stored), standing(said)), (standing(stored), old_standing(said))):
        assert status_of(max(one, other)) is status_of(max(standing(stored), standing(said)))
        assert one != other


@given(events(), st.sampled_from([T0, None]))
@settings(max_examples=200, deadline=None)
def test_a_code_outweighs_none_of_the_other_order_too_if_its_time_is_known(said: Event, time: datetime | None) -> None:
    with_code, without = (replace(said, type="message-failed", error_code=code) for code in (4404, 0))
    assert old_standing(replace(with_code, occurred_at=T0)) > standing(replace(without, occurred_at=time))
    assert standing(replace(with_code, occurred_at=time)) > old_standing(replace(without, occurred_at=T0))


@given(events())
@settings(max_examples=300, deadline=None)
def test_a_standing_tells_of_which_order_it_is(said: Event) -> None:
    assert has_old_order(old_standing(said))
    assert not has_old_order(standing(said))
    assert not has_old_order(NO_STANDING)


def test_times_compare_as_instants() -> None:
    there = T0.astimezone(timezone(timedelta(hours=-5)))
    assert standing(event("message-sent", occurred_at=T0)) == standing(event("message-sent", occurred_at=there))


def test_what_is_no_part_of_the_order_does_not_change_the_standing() -> None:
    one = event("message-failed", 4432, occurred_at=T0)
    assert standing(one) == standing(replace(one, tag="v2 lab", description="no", payload="[]", recipient=B))


@given(events(types=st.sampled_from([*INBOUND_TYPES, *UNKNOWN_TYPES])))
@settings(max_examples=50, deadline=None)
def test_an_event_without_a_statement_has_no_standing(silent: Event) -> None:
    assert standing(silent) == NO_STANDING


@given(events())
@settings(max_examples=100, deadline=None)
def test_every_statement_stands_above_none(said: Event) -> None:
    assert standing(said) > NO_STANDING


# The status.

SIX = [
    (event("message-sending", occurred_at=T0), RecipientStatus.SENDING),
    (event("message-sent", occurred_at=T0), RecipientStatus.SENT),
    (event("message-failed", 9902, occurred_at=T0), RecipientStatus.UNCONFIRMED),
    (event("message-delivered", occurred_at=T0), RecipientStatus.DELIVERED),
    (event("message-failed", 4404, occurred_at=T0 + MICROSECOND), RecipientStatus.FAILED),
    (event("message-failed", 4432, occurred_at=T0), RecipientStatus.FAILED),
]


def test_every_order_of_every_set_of_events_ends_in_the_status_of_the_highest() -> None:
    for chosen in chain.from_iterable(combinations(SIX, size) for size in range(1, len(SIX) + 1)):
        highest, status = chosen[-1]
        for order in permutations(said for said, _ in chosen):
            outcome = fold(order)
            assert (outcome.status, outcome.winner) == (status, highest), order


anything = events(
    types=st.sampled_from([*STATEMENT_TYPES, *STATEMENT_TYPES, *INBOUND_TYPES, *UNKNOWN_TYPES]),
    message_ids=st.sampled_from(["a", "aa", "\uffff", "\U00010000"]),
    recipients=st.sampled_from([A, A, A, B, STRANGER, ""]),
)


@dataclass
class Stored:
    """What a database keeps: each event once, and per recipient the statement of highest standing."""

    events: dict[Identity, Event] = field(default_factory=dict)
    winners: dict[str, Event] = field(default_factory=dict)
    standings: dict[str, bytes] = field(default_factory=dict)
    invalid: set[str] = field(default_factory=set)

    def add(self, batch: Iterable[Event]) -> None:
        for identity, delivered in gather(batch).items():
            known = self.events.setdefault(identity, delivered.event)
            stored = replace(known, occurred_at=earliest(known.occurred_at, delivered.event.occurred_at))
            self.events[identity] = stored
            if standing(stored) > self.standings.get(stored.recipient, NO_STANDING):
                self.standings[stored.recipient] = standing(stored)
                self.winners[stored.recipient] = stored
            if says_invalid_recipient(stored.type, stored.error_code):
                self.invalid.add(stored.recipient)

    def outcomes(self) -> dict[str, Any]:
        """Per recipient: the winner's identity and time, and the flag."""
        return {
            recipient: (
                (winner := self.winners.get(recipient)) and (winner.identity, winner.occurred_at),
                recipient in self.invalid,
            )
            for recipient in {identity[1] for identity in self.events}
        }

    def dispositions(self, recipients: tuple[str, ...] = (A, B)) -> dict[Identity, str]:
        found = {}
        for identity, each in self.events.items():
            outcome = fold(other for other in self.events.values() if other.recipient == each.recipient)
            found[identity] = disposition(
                event_type=each.type,
                linked=True,
                is_winner=outcome.winner == each,
                recipient=outcome.status if each.recipient in recipients else None,
                invalid_recipient=outcome.invalid_recipient,
            ).value
        return found


def stored(*batches: Iterable[Event]) -> Stored:
    state = Stored()
    for batch in batches:
        state.add(batch)
    return state


@given(st.lists(anything, max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_any_order_repetition_and_split_of_the_same_events_ends_the_same(arrivals: list[Event], random: Random) -> None:
    reordered = arrivals + [random.choice(arrivals) for _ in range(random.randint(0, 5)) if arrivals]
    random.shuffle(reordered)
    cuts = sorted(random.randint(0, len(reordered)) for _ in range(random.randint(0, 4)))
    batches = [reordered[start:end] for start, end in zip([0, *cuts], [*cuts, len(reordered)], strict=True)]
    one, other = stored(arrivals), stored(*batches)
    assert other.outcomes() == one.outcomes()
    assert other.standings == one.standings
    assert other.dispositions() == one.dispositions()


@given(st.lists(anything, max_size=10))
@settings(max_examples=200, deadline=None)
def test_folding_all_at_once_is_merging_one_by_one(arrivals: list[Event]) -> None:
    state = stored(*([each] for each in arrivals))
    for recipient, (winner, invalid) in state.outcomes().items():
        outcome = fold(each for each in state.events.values() if each.recipient == recipient)
        assert (outcome.winner and (outcome.winner.identity, outcome.winner.occurred_at)) == winner
        assert outcome.invalid_recipient == invalid


@given(st.lists(anything, max_size=10))
@settings(max_examples=200, deadline=None)
def test_repeats_need_not_be_added_up_before_they_are_folded(arrivals: list[Event]) -> None:
    to_one = [replace(each, recipient=A) for each in arrivals]
    raw, added_up = fold(to_one), fold(delivered.event for delivered in gather(to_one).values())
    assert (raw.status, raw.invalid_recipient) == (added_up.status, added_up.invalid_recipient)
    assert (raw.winner and standing(raw.winner)) == (added_up.winner and standing(added_up.winner))


@given(st.lists(anything, max_size=10))
@settings(max_examples=300, deadline=None)
def test_every_outcome_and_every_disposition_is_that_of_the_rules(arrivals: list[Event]) -> None:
    state = stored(arrivals)
    linked = list(state.events.values())
    for recipient in {each.recipient for each in linked}:
        to_it = [each for each in linked if each.recipient == recipient]
        outcome = fold(to_it)
        assert outcome.status.value == oracle.status(to_it)
        assert outcome.winner == oracle.winner(to_it)
        assert outcome.invalid_recipient == oracle.invalid_recipient(to_it)
    assert state.dispositions() == {
        each.identity: oracle.disposition(each, linked=linked, recipients=(A, B)) for each in linked
    }


@given(st.lists(anything, max_size=10), anything)
@settings(max_examples=200, deadline=None)
def test_a_recipient_never_steps_back(arrivals: list[Event], another: Event) -> None:
    before = stored(arrivals)
    after = stored(arrivals, [another])
    for recipient, standing_before in before.standings.items():
        assert after.standings[recipient] >= standing_before


# Bandwidth's behaviour with invalid numbers, and defects seen in third-party receivers.

FAILURE = event("message-failed", 4404, occurred_at=T0)
FALSE_DELIVERED = event("message-delivered", occurred_at=T0 + timedelta(seconds=1))


@pytest.mark.parametrize("order", list(permutations([FAILURE, FALSE_DELIVERED, FALSE_DELIVERED, FAILURE])))
def test_spoke_let_the_extraneous_delivered_overwrite_the_failed(order: tuple[Event, ...]) -> None:
    state = stored(*([each] for each in order))
    assert state.outcomes() == {A: ((FAILURE.identity, T0), True)}
    assert state.dispositions() == {FAILURE.identity: "applied", FALSE_DELIVERED.identity: "extraneous"}


@pytest.mark.parametrize("event_type", ["message-sending", "message-queued", "message-sent", "message-expired"])
def test_spoke_counted_everything_but_a_failure_as_delivered(event_type: str) -> None:
    assert fold([event(event_type)]).status is not RecipientStatus.DELIVERED


def test_spoke_let_the_last_event_win() -> None:
    late_sending = event("message-sending", occurred_at=T0 + timedelta(hours=24))
    assert fold([event("message-delivered", occurred_at=T0), late_sending]).status is RecipientStatus.DELIVERED


def test_a_group_with_an_invalid_number_has_one_outcome_per_recipient() -> None:
    """Today N + k terminal events for N recipients of which k are invalid; Bandwidth calls N the correct number."""
    good, false = (event("message-delivered", occurred_at=T0, recipient=recipient) for recipient in (B, A))
    state = stored([FAILURE, good, false])
    assert {recipient: winner for recipient, (winner, _) in state.outcomes().items()} == {
        A: (FAILURE.identity, T0),
        B: (good.identity, T0),
    }
    assert state.dispositions()[good.identity] == "applied"


def test_a_failure_for_another_reason_makes_the_delivered_conflicting_and_still_wins() -> None:
    refused = event("message-failed", 4432, occurred_at=T0)
    state = stored([FALSE_DELIVERED, refused])
    assert state.winners[A] == refused
    assert state.dispositions() == {refused.identity: "applied", FALSE_DELIVERED.identity: "conflicting"}


def test_an_expired_receipt_proves_nothing_against_a_delivered() -> None:
    expired = event("message-failed", 9902, occurred_at=T0)
    state = stored([expired, FALSE_DELIVERED])
    assert state.winners[A] == FALSE_DELIVERED
    assert state.dispositions() == {expired.identity: "superseded", FALSE_DELIVERED.identity: "applied"}


def test_a_third_failure_turns_a_conflicting_delivered_into_an_extraneous_one() -> None:
    refused = event("message-failed", 4432, occurred_at=T0)
    state = stored([FALSE_DELIVERED, refused], [replace(FAILURE, occurred_at=T0 + MICROSECOND)])
    assert state.winners[A] == refused
    assert state.dispositions()[FALSE_DELIVERED.identity] == "extraneous"
    assert state.dispositions()[FAILURE.identity] == "superseded"


@pytest.mark.parametrize("delay", [timedelta(hours=-1), timedelta(0), timedelta(hours=1)])
@pytest.mark.parametrize("event_type", ["message-failed", "message-rejected-carrier"])
def test_a_failure_that_does_not_say_why_never_hides_one_that_does(delay: timedelta, event_type: str) -> None:
    silent = event(event_type, 0, occurred_at=T0 + delay, message_id="0")
    for order in permutations([FAILURE, silent]):
        state = stored(*([each] for each in order))
        assert state.winners[A] == FAILURE
        assert state.dispositions() == {FAILURE.identity: "applied", silent.identity: "superseded"}
