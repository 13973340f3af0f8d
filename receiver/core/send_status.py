"""The sending states of a message: this file owns every transition.

The line is the commit of ``submitting``. Past it Bandwidth may have the message, so only Bandwidth's own
response, a failure to connect, or an event decides what became of it; Bandwidth has no idempotency key, hence
nothing past the line is ever sent again by itself, unless it is known not to have been sent.
"""

from datetime import datetime

from receiver.core.text import Word


class SendStatus(Word):
    """What became of the request to Bandwidth."""

    QUEUED = "queued", "waits for its turn; nothing has been sent"
    SUBMITTING = "submitting", "the request may be on its way right now"
    ACCEPTED = "accepted", "Bandwidth has it: a 202, or an event that proves it"
    REFUSED = "refused", "known not to have been sent"
    UNKNOWN = "unknown", "may have been sent; nobody can say"


class RefusedBecause(Word):
    """Why a message was not sent."""

    BANDWIDTH = "bandwidth", "Bandwidth refused it"
    RATE_LIMITED = "rate_limited", "Bandwidth had too much to send for the account already (429)"
    UNREACHABLE = "unreachable", "Bandwidth could not be reached"
    EXPIRED = "expired", "it expired while it was queued"
    CANCELLED = "cancelled", "it was withdrawn while it was queued"
    OPERATOR = "operator", "a person decided so"


TRANSITIONS: dict[SendStatus, frozenset[SendStatus]] = {
    SendStatus.QUEUED: frozenset({SendStatus.SUBMITTING, SendStatus.REFUSED, SendStatus.ACCEPTED}),
    SendStatus.SUBMITTING: frozenset({SendStatus.QUEUED, SendStatus.ACCEPTED, SendStatus.REFUSED, SendStatus.UNKNOWN}),
    SendStatus.UNKNOWN: frozenset({SendStatus.ACCEPTED, SendStatus.REFUSED}),
    # Back again only if is_repeatable(), and only because the application requests it again.
    SendStatus.REFUSED: frozenset({SendStatus.ACCEPTED, SendStatus.QUEUED, SendStatus.SUBMITTING}),
    SendStatus.ACCEPTED: frozenset(),
}
"""``accepted`` is absorbing; an event that proves acceptance corrects every other state."""

NOT_TAKEN = (RefusedBecause.BANDWIDTH, RefusedBecause.RATE_LIMITED, RefusedBecause.UNREACHABLE)
"""Reasons why a message that was to be sent never was."""

NEITHER_SENT_NOR_BILLED = 500
"""The status of Bandwidth's own error in its documented shape ("HTTP errors when sending messages")."""

UNAUTHORIZED, DENIED = 401, (403, 404)
"""Statuses that end once settings or permissions are corrected: for every message, or perhaps for one only."""


def is_repeatable(because: RefusedBecause, *, status: int | None) -> bool:
    """Whether a refused message is known not to have been sent and may be accepted next time.

    ``status`` is Bandwidth's HTTP status; None if there was no response. A refusal by Bandwidth without a status comes
    from its token endpoint.
    """
    passing = (RefusedBecause.RATE_LIMITED, RefusedBecause.UNREACHABLE)
    by_bandwidth = (None, UNAUTHORIZED, *DENIED, NEITHER_SENT_NOR_BILLED)
    return because in passing or (because is RefusedBecause.BANDWIDTH and status in by_bandwidth)


def may_become(target: SendStatus) -> frozenset[SendStatus]:
    """The states from which a message may change to ``target``."""
    return frozenset(state for state, targets in TRANSITIONS.items() if target in targets)


def shown(status: SendStatus, *, deadline: datetime | None, now: datetime) -> SendStatus:
    """The state to show: a ``submitting`` past its deadline is unknown, even before the database says so."""
    if status is SendStatus.SUBMITTING and deadline is not None and now > deadline:
        return SendStatus.UNKNOWN
    return status


def objection(status: SendStatus, because: RefusedBecause | None, *, target: SendStatus) -> str | None:
    """Why a person may not decide that a message shown as ``status`` was ``target``; None if they may.

    A person decides only what is unknown, and may withdraw their own refusal. Bandwidth's word stands.
    """
    taken_back = because is RefusedBecause.OPERATOR and target is SendStatus.ACCEPTED
    if status is SendStatus.UNKNOWN or (status is SendStatus.REFUSED and taken_back):
        return None
    return {
        SendStatus.QUEUED: "It is still queued, so nothing was sent: cancel it with `receiver cancel`.",
        SendStatus.SUBMITTING: "Its request may be on its way right now: wait until its deadline, then try again.",
        SendStatus.ACCEPTED: "Bandwidth has it: there is nothing to decide.",
        SendStatus.REFUSED: f"It is refused ({because}) and was not sent: there is nothing to decide.",
    }[status]
