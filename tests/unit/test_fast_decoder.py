"""The fast decoder finds in every body what the standard library finds in it, or leaves it to the standard library."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiver.bandwidth.callbacks import Element, parse, parse_by_standard_library
from receiver.errors import NotJSON
from tests.samples import callbacks

SEEDS = [path.read_bytes() for path in callbacks()]
ODD = [
    b"[NaN]",
    b"[1e999]",
    b"[-0, 1.0, 1E5, 01]",
    b"[" + b"9" * 5000 + b"]",
    b"[18446744073709551616, 1.5e-400]",
    b'[{"a": 1, "a": 2}]',
    b'["\\ud800"]',
    b'["\x7f \\u0000"]',
    b'["\xed\xa0\x80"]',
    b'["\xff"]',
    b'["\n", "\\"\t", "\\\n"]',
    b'["\x00"]',
    b"\xef\xbb\xbf[1]",
    b"[1, 2 ,\n3 ]",
    b'{"a": 1}',
    b"[" * 3000 + b"]" * 3000,
    b"[1,]",
    b"[1] x",
    b"",
]

mutations = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["replace", "insert", "delete"]),
        st.sampled_from(list(b'[]{},:"\\0123456789eE+-.u \n\x00\x1f\x7f\x80\xff')),
    ),
    max_size=4,
)


def outcome(decode: Callable[[bytes], list[Element]], body: bytes) -> list[Element] | str:
    try:
        return decode(body)
    except NotJSON as error:
        return str(error)


@pytest.mark.parametrize("body", ODD, ids=lambda body: repr(body[:20]))
def test_an_odd_body_is_the_same_to_both(body: bytes) -> None:
    assert outcome(parse, body) == outcome(parse_by_standard_library, body)


@given(st.sampled_from(SEEDS + ODD), mutations)
@example(SEEDS[0], [])
@settings(max_examples=1500, deadline=None)
def test_whatever_is_done_to_a_body_it_is_the_same_to_both(body: bytes, changes: list[tuple[float, str, int]]) -> None:
    changed = bytearray(body)
    for where, what, byte in changes:
        place = int(where * len(changed))
        if what == "insert":
            changed.insert(place, byte)
        elif changed:
            changed[place : place + 1] = bytes([byte]) if what == "replace" else b""
    assert outcome(parse, bytes(changed)) == outcome(parse_by_standard_library, bytes(changed))
