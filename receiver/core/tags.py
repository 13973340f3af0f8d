"""Tags: our identifiers of messages, echoed by Bandwidth in every event.

A tag is a ULID (github.com/ulid/spec): 26 characters of Crockford's base 32, of which the first ten are the
creation time in milliseconds and the rest 80 random bits. So tags sort by time, cannot be guessed, and fit
any URL as they are.
"""

import re
import secrets
from datetime import datetime, timedelta

from receiver.core.times import EPOCH

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_BITS = 80
SHAPE = rf"[0-7][{ALPHABET}]{{25}}"
"""A regular expression for a whole tag."""

_SHAPE = re.compile(SHAPE)


def new_tag(created_at: datetime, *, random: int | None = None) -> str:
    """A tag for a message created at that instant; nobody can guess it.

    ``random`` replaces the random bits; with 0 it is the lowest tag that a message of that instant can have.
    """
    if random is None:
        random = secrets.randbits(RANDOM_BITS)
    # Not timestamp() * 1000: floating point would move some instants into the millisecond before.
    number = (created_at - EPOCH) // timedelta(milliseconds=1) << RANDOM_BITS | random
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_tag(text: str) -> bool:
    """Whether ``text`` has the shape of a tag; only a look-up shows whether it is one of ours."""
    return _SHAPE.fullmatch(text) is not None
