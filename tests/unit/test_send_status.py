from datetime import UTC, datetime, timedelta

import pytest

from receiver.core.send_status import (
    TRANSITIONS,
    RefusedBecause,
    SendStatus,
    is_repeatable,
    may_become,
    objection,
    shown,
)
from tests.support.strategies import MICROSECOND

QUEUED, SUBMITTING, ACCEPTED, REFUSED, UNKNOWN = (
    SendStatus.QUEUED,
    SendStatus.SUBMITTING,
    SendStatus.ACCEPTED,
    SendStatus.REFUSED,
    SendStatus.UNKNOWN,
)
DEADLINE = datetime(2026, 11, 21, 21, 53, 14, tzinfo=UTC)


def reachable(start: SendStatus) -> set[SendStatus]:
    found: set[SendStatus] = set()
    open_ends = [start]
    while open_ends:
        for target in TRANSITIONS[open_ends.pop()] - found:
            found.add(target)
            open_ends.append(target)
    return found


def test_the_names_are_those_of_the_api() -> None:
    assert [state.value for state in SendStatus] == ["queued", "submitting", "accepted", "refused", "unknown"]
    assert {because.value for because in RefusedBecause} == {
        "bandwidth",
        "rate_limited",
        "unreachable",
        "expired",
        "cancelled",
        "operator",
    }


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(SendStatus)


@pytest.mark.parametrize(
    ("state", "target"),
    [
        (QUEUED, SUBMITTING),  # its turn has come
        (QUEUED, REFUSED),  # expired or cancelled before it was sent
        (SUBMITTING, QUEUED),  # known not to have been sent, and to be tried again
        (SUBMITTING, ACCEPTED),
        (SUBMITTING, REFUSED),
        (SUBMITTING, UNKNOWN),
    ],
)
def test_sending_goes_from_queued_over_submitting_to_its_end(state: SendStatus, target: SendStatus) -> None:
    assert target in TRANSITIONS[state]


def test_accepted_is_absorbing() -> None:
    assert TRANSITIONS[ACCEPTED] == frozenset()


@pytest.mark.parametrize("state", [state for state in SendStatus if state is not ACCEPTED])
def test_an_event_makes_a_message_accepted_whatever_was_thought_of_it(state: SendStatus) -> None:
    assert ACCEPTED in TRANSITIONS[state]
    assert state in may_become(ACCEPTED)


@pytest.mark.parametrize("state", [UNKNOWN, ACCEPTED])
def test_what_may_have_been_sent_is_never_sent_again(state: SendStatus) -> None:
    assert TRANSITIONS[state].isdisjoint({QUEUED, SUBMITTING})


def test_only_what_is_being_submitted_can_become_unknown() -> None:
    assert may_become(UNKNOWN) == {SUBMITTING}


def test_only_what_is_known_not_to_have_been_sent_is_sent_again() -> None:
    assert may_become(QUEUED) == {SUBMITTING, REFUSED}
    assert may_become(SUBMITTING) == {QUEUED, REFUSED}


@pytest.mark.parametrize(
    ("because", "status", "expected"),
    [
        (RefusedBecause.RATE_LIMITED, 429, True),
        (RefusedBecause.UNREACHABLE, None, True),
        *[(RefusedBecause.BANDWIDTH, status, True) for status in (401, 403, 404, 500, None)],
        *[(RefusedBecause.BANDWIDTH, status, False) for status in (400, 402, 409, 415)],
        *[(because, None, False) for because in ("expired", "cancelled", "operator")],
    ],
)
def test_a_refusal_may_pass_if_it_was_not_about_what_the_message_says(
    because: RefusedBecause, status: int | None, *, expected: bool
) -> None:
    assert is_repeatable(RefusedBecause(because), status=status) is expected


def test_no_state_changes_into_itself() -> None:
    assert [state for state, targets in TRANSITIONS.items() if state in targets] == []


def test_every_other_state_is_reached_from_queued() -> None:
    assert reachable(QUEUED) == set(SendStatus)
    assert reachable(SUBMITTING) == set(SendStatus)


@pytest.mark.parametrize("state", SendStatus)
def test_whatever_happened_acceptance_is_the_last_word(state: SendStatus) -> None:
    assert state is ACCEPTED or ACCEPTED in reachable(state)


@pytest.mark.parametrize("target", SendStatus)
def test_may_become_is_the_table_read_backwards(target: SendStatus) -> None:
    assert may_become(target) == {state for state in SendStatus if target in TRANSITIONS[state]}


@pytest.mark.parametrize(
    ("deadline", "now", "expected"),
    [
        (DEADLINE, DEADLINE - MICROSECOND, SUBMITTING),
        (DEADLINE, DEADLINE, SUBMITTING),
        (DEADLINE, DEADLINE + MICROSECOND, UNKNOWN),
        (None, DEADLINE, SUBMITTING),
    ],
)
def test_a_submitting_past_its_deadline_is_shown_as_unknown(
    deadline: datetime | None, now: datetime, expected: SendStatus
) -> None:
    assert shown(SUBMITTING, deadline=deadline, now=now) is expected


@pytest.mark.parametrize("state", [state for state in SendStatus if state is not SUBMITTING])
@pytest.mark.parametrize("deadline", [None, DEADLINE])
def test_every_other_state_is_shown_as_it_is(state: SendStatus, deadline: datetime | None) -> None:
    assert shown(state, deadline=deadline, now=DEADLINE + timedelta(days=1)) is state


@pytest.mark.parametrize("target", [ACCEPTED, REFUSED])
@pytest.mark.parametrize("because", [None, *RefusedBecause])
@pytest.mark.parametrize("status", SendStatus)
def test_a_person_decides_what_nobody_knows_and_may_take_back_a_refusal(
    status: SendStatus, because: RefusedBecause | None, target: SendStatus
) -> None:
    may = status is UNKNOWN or (status, because, target) == (REFUSED, RefusedBecause.OPERATOR, ACCEPTED)

    assert (objection(status, because, target=target) is None) is may
    assert not may or target in TRANSITIONS[status]
