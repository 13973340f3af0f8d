"""The fast decoder finds in every body what the standard library finds in it, or leaves it to the standard library."""

import json
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

DOCUMENTED = {
    "type": "message-failed",
    "time": "2026-11-21T12:00:01.123Z",
    "description": "Rejected.",
    "to": "+19195550101",
    "message": {"id": "1795300147488bssu9wfcphe9qiay", "tag": "01M80000000000000000000001"},
    "errorCode": 4720,
}
TEXTS = ["", "x", "x\u0000", "\ud800", "\n", "\u00e9\U0001f600", "redacted-1", None, 7, ["x"], {}]
TEXTS += ["x" * length for length in (64, 65, 128, 129, 1024, 1025)]
VALUES: dict[str, list[object]] = {
    "type": [*TEXTS, "message-received", "suggestion-response", "message-rejected-spam"],
    "time": [
        *TEXTS,
        *(
            f"2026-11-21T12:00:01{end}"
            for end in ("Z", "z", ".1Z", ".123456Z", ".1234567Z", ",5Z", "+00:00", "", "Z\n")
        ),
        *("2026-13-21T12:00:01Z", "2026-02-29T12:00:01Z", "2026-11-21T24:00:00Z", "2026-11-21T12:00:60Z"),
        *(
            "1999-12-31T23:59:59Z",
            "2100-01-01T00:00:00Z",
            "2026-11-21 12:00:01Z",
            "2026-11-21",
            "\u0662026-11-21T12:00:01Z",
        ),
    ],
    "description": TEXTS,
    "to": [*TEXTS, ["+19195550101"], [], "+19195550101\n", "+1", "19195550101"],
    "message": [*TEXTS, {"id": ""}, {"id": "x" * 129}, {"id": 7}, {"tag": "x"}, {"id": "x", "to": ["+19195550102"]}],
    "errorCode": [*TEXTS, 0, -1, 99999, 100000, 2**70, 4720.0, 4720.5, True, "4720", "004720", "-1"],
}
"""Values of the fields of an event, documented and not."""


@pytest.mark.parametrize("name", VALUES)
def test_a_documented_event_with_any_value_in_a_field_is_the_same_to_both(name: str) -> None:
    for value in VALUES[name]:
        for event in ({**DOCUMENTED, name: value}, {**DOCUMENTED, "more": {name: value}}):
            body = json.dumps([event]).encode()
            assert outcome(parse, body) == outcome(parse_by_standard_library, body), value
    without = json.dumps([{each: value for each, value in DOCUMENTED.items() if each != name}]).encode()
    assert outcome(parse, without) == outcome(parse_by_standard_library, without)


def test_a_documented_event_with_any_tag_is_the_same_to_both() -> None:
    for tag in TEXTS:
        body = json.dumps([{**DOCUMENTED, "message": {"id": "x", "tag": tag}}]).encode()
        assert outcome(parse, body) == outcome(parse_by_standard_library, body), tag


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
