"""The sending states of a message: this file owns every transition.

The line is the commit of ``submitting``. Past it Bandwidth may have the message, so only Bandwidth's own
answer, a failure to connect, or an event decides what became of it; Bandwidth has no idempotency key, hence
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
    # Back again only if is_repeatable(), and only because the application asked for it again.
    SendStatus.REFUSED: frozenset({SendStatus.ACCEPTED, SendStatus.QUEUED, SendStatus.SUBMITTING}),
    SendStatus.ACCEPTED: frozenset(),
}
"""``accepted`` is absorbing; an event that proves acceptance corrects every other state."""

NOT_TAKEN = (RefusedBecause.BANDWIDTH, RefusedBecause.RATE_LIMITED, RefusedBecause.UNREACHABLE)
"""Reasons for which a message was never sent although it was meant to be."""

NEITHER_SENT_NOR_BILLED = 500
"""Bandwidth's own error, if it comes in its documented shape ("HTTP errors when sending messages")."""


UNAUTHORIZED, DENIED = 401, (403, 404)
"""Refusals that end when settings or permissions are corrected: of every message, or perhaps of one alone."""


def is_repeatable(because: RefusedBecause, *, status: int | None) -> bool:
    """Whether a refused message is known not to have been sent and might be taken the next time.

    ``status`` is Bandwidth's HTTP status; None when there was no answer, which of a refusal by Bandwidth is one of its
    token endpoint.
    """
    passing = (RefusedBecause.RATE_LIMITED, RefusedBecause.UNREACHABLE)
    by_bandwidth = (None, UNAUTHORIZED, *DENIED, NEITHER_SENT_NOR_BILLED)
    return because in passing or (because is RefusedBecause.BANDWIDTH and status in by_bandwidth)


def may_become(target: SendStatus) -> frozenset[SendStatus]:
    """The states from which a message may change to ``target``."""
    return frozenset(state for state, targets in TRANSITIONS.items() if target in targets)


def shown(status: SendStatus, *, deadline: datetime | None, now: datetime) -> SendStatus:
    """The state to show: a ``submitting`` past its deadline is unknown, whether or not that was written yet."""
    if status is SendStatus.SUBMITTING and deadline is not None and now > deadline:
        return SendStatus.UNKNOWN
    return status


def objection(status: SendStatus, because: RefusedBecause | None, *, target: SendStatus) -> str | None:
    """Why a person may not decide that a message shown as ``status`` was ``target``; None if they may.

    A person decides what nobody else knows, and may take back that it was refused. What Bandwidth said stands.
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
