import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiver.bandwidth.callbacks import Element, in_utf_8, parse
from receiver.core.events import Event, Unreadable, gather, is_storable
from receiver.core.status import RecipientStatus, statement
from receiver.errors import NotJSON
from tests.samples import callbacks, load

ID = "14762070468292kw2fuqty55yp2b2"
AT_2016, AT_RBM = "2016-09-14T18:20:16Z", "2024-12-02T20:15:57.278Z"

# type, recipient, error code, occurred at, tag
SAMPLES = {
    "message-delivered-group": ("message-delivered", "+12345678902", 0, AT_2016, None),
    "message-delivered-live-2021": (
        *("message-delivered", "+15552223333", 0),
        *("2021-04-08T02:28:58.971Z", "606e69c8cb126c0009c7a03d"),
    ),
    "message-delivered-microseconds-2024": (
        *("message-delivered", "+15552223333", 0),
        *("2024-02-15T16:34:52.255182Z", None),
    ),
    "message-delivered-mms": ("message-delivered", "+12345678902", 0, AT_2016, None),
    "message-delivered-sms": ("message-delivered", "+12345678902", 0, AT_2016, None),
    "message-delivered-toll-free": ("message-delivered", "+12345678902", 0, "2020-03-27T15:01:22.646Z", None),
    "message-delivered-without-to-2017": ("message-delivered", "", 0, AT_2016, None),
    "message-delivered-without-to-2019": ("message-delivered", "", 0, AT_2016, None),
    "message-failed-4432-codes-page-2019": ("message-failed", "+52345678903", 4432, AT_2016, None),
    "message-failed-4432-group": ("message-failed", "+52345678903", 4432, AT_2016, None),
    "message-failed-9902": ("message-failed", "+12345678902", 9902, AT_2016, None),
    "message-failed-without-code-2024": ("message-failed", "+15552223333", 0, "2024-02-15T16:34:52.255182Z", None),
    "message-queued-2020": ("message-queued", "+15554443333", 0, "2020-06-25T18:42:36.979Z", "v2 lab"),
    "message-read-rbm": ("message-read", "+15552223333", 0, AT_RBM, "custom string"),
    "message-received-group-mms": ("message-received", "+12345678902", 0, AT_2016, None),
    "message-received-group-several-media": ("message-received", "+12345678902", 0, AT_2016, None),
    "message-received-sms": ("message-received", "+12345678902", 0, AT_2016, None),
    "message-received-without-to-2017": ("message-received", "+12345678902", 0, AT_2016, None),
    "message-rejected-forbidden-country-2017": (
        *("message-rejected-forbidden-country", "+12345678903", 0),
        *(AT_2016, None),
    ),
    "message-sending-mms": ("message-sending", "+15554443333", 0, "2020-06-25T18:42:36.979Z", "v2 lab"),
    "message-sent-2017": ("message-sent", "", 0, AT_2016, None),
    "object-message-delivered-group-2026": (
        "message-delivered",
        "+12345678902",
        0,
        "2024-09-14T18:20:17.160544Z",
        None,
    ),
    "object-message-delivered-mms-2026": ("message-delivered", "+12345678902", 0, "2024-09-14T18:20:24.160544Z", None),
    "object-message-delivered-sms-2026": ("message-delivered", "+12345678902", 0, "2024-09-14T18:20:11.160744Z", None),
    "object-message-failed-4432-2026": ("message-failed", "+52345678903", 4432, "2024-12-18T16:51:27.704450Z", None),
    "object-message-received-mms-2026": ("message-received", "+12345678902", 0, "2024-09-14T18:20:45.160744Z", None),
    "object-message-received-sms-2026": ("message-received", "+12345678902", 0, "2025-01-06T15:43:35.502180Z", None),
    "object-message-sending-2026": (
        *("message-sending", "+15554443333", 0),
        *("2024-06-25T18:42:36.979456Z", "your tag here"),
    ),
    "object-message-sent-2026": ("message-sent", "+15554443333", 0, "2024-06-25T18:42:36.979456Z", "v2 lab"),
    "request-location-response-2025": ("request-location-response", "+15552223333", 0, AT_RBM, None),
    "requested-location-response": ("requested-location-response", "+15552223333", 0, AT_RBM, None),
    "suggestion-response": ("suggestion-response", "+15552223333", 0, AT_RBM, None),
}


def test_every_sample_of_a_callback_has_its_row() -> None:
    assert sorted(SAMPLES) == [path.stem for path in callbacks()]


@pytest.mark.parametrize("path", callbacks(), ids=lambda path: path.stem)
def test_a_published_callback_is_one_event(path: Path) -> None:
    event_type, recipient, error_code, occurred_at, tag = SAMPLES[path.stem]
    event = read_event(path.read_bytes())
    assert (event.type, event.recipient, event.error_code, event.tag) == (event_type, recipient, error_code, tag)
    assert event.occurred_at == datetime.fromisoformat(occurred_at)
    [published] = as_array(json.loads(path.read_bytes()))
    assert event.message_id == published["message"]["id"]
    assert event.description == published["description"]
    assert json.loads(event.payload) == published


@pytest.mark.parametrize(
    "name", ["message-sent-2017", "message-delivered-without-to-2017", "message-delivered-without-to-2019"]
)
def test_a_status_whose_direction_says_in_is_outbound_all_the_same(name: str) -> None:
    body = load(f"callbacks/{name}.json")
    assert as_array(json.loads(body))[0]["message"]["direction"] == "in"
    assert not read_event(body).is_inbound


def as_array(body: Any) -> list[Any]:
    return body if isinstance(body, list) else [body]


def read(body: bytes | str) -> Element:
    """The only element of a body."""
    [element] = parse(body if isinstance(body, bytes) else body.encode())
    return element


def read_event(body: bytes | str) -> Event:
    element = read(body)
    assert isinstance(element, Event), element
    return element


class _Absent:
    def __repr__(self) -> str:
        return "absent"  # the same in every process, since it names test cases


ABSENT = _Absent()


def body_of(**fields: Any) -> str:
    """A good event with some fields changed; ``message_id`` and so on are those of its message."""
    message = {"id": "a", "to": ["+12345678902", "+12345678903"]}
    element: dict[str, Any] = {"type": "message-failed", "to": "+12345678902", "message": message}
    for name, value in fields.items():
        whole, key = (message, name.removeprefix("message_")) if name.startswith("message_") else (element, name)
        whole[key] = value
        if value is ABSENT:
            del whole[key]
    return json.dumps([element])


def body_with_code(json_text: str) -> str:
    return '[{"type":"message-failed","to":"+12345678902","message":{"id":"a"},"errorCode":CODE}]'.replace(
        "CODE", json_text
    )


# Reading an element: type and message id.

NOT_KEYS = [ABSENT, None, "", 7, 1.5, True, ["message-failed"], {"type": "message-failed"}]


@pytest.mark.parametrize("value", NOT_KEYS, ids=repr)
def test_a_type_is_a_string_that_is_not_empty(value: Any) -> None:
    assert isinstance(read(body_of(type=value)), Unreadable)


@pytest.mark.parametrize("value", NOT_KEYS, ids=repr)
def test_a_message_id_is_a_string_that_is_not_empty(value: Any) -> None:
    assert isinstance(read(body_of(message_id=value)), Unreadable)


@pytest.mark.parametrize("value", [ABSENT, None, "a", 7, [], [{"id": "a"}]], ids=repr)
def test_a_message_is_an_object(value: Any) -> None:
    assert isinstance(read(body_of(message=value)), Unreadable)


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
@pytest.mark.parametrize(("field", "longest"), [("type", 64), ("message_id", 128), ("to", 64)])
def test_a_key_may_be_as_long_as_its_limit_in_characters_and_no_longer(field: str, longest: int, letter: str) -> None:
    event = read_event(body_of(**{field: letter * longest}))
    assert letter * longest in event.identity
    assert isinstance(read(body_of(**{field: letter * (longest + 1)})), Unreadable)


@pytest.mark.parametrize("field", ["type", "message_id", "to"])
@pytest.mark.parametrize("text", ["\x00", "4\x00", "\x004", "\ud800", "4\udfff", "\ude00\ud83d"], ids=ascii)
def test_nul_or_a_lone_surrogate_in_a_key_makes_the_element_unreadable(field: str, text: str) -> None:
    assert isinstance(read(body_of(**{field: text})), Unreadable)


@pytest.mark.parametrize("field", ["type", "message_id", "to"])
def test_a_pair_of_surrogates_is_a_character_like_any_other(field: str) -> None:
    body = body_of(**{field: "\U0001f600"})
    assert "\\ud83d\\ude00" in body
    assert "\U0001f600" in read_event(body).identity


@pytest.mark.parametrize(
    "event_type", ["message-sent", "message-expired", "MESSAGE-FAILED", " message-failed ", "x", "\U0001f4e8", "\x01"]
)
def test_any_type_is_readable_and_kept_verbatim(event_type: str) -> None:
    assert read_event(body_of(type=event_type)).type == event_type


# The recipient.

TWO, ONE = ["+12345678902", "+12345678903"], ["+12345678903"]

RECIPIENTS = [
    ("+12345678902", ONE, "+12345678902", "a string at the top"),
    (["+12345678902"], ONE, "+12345678902", "an array of one string, as it was called before 2018-11"),
    ("+12345678902", ABSENT, "+12345678902", "no message.to"),
    ("not a number", TWO, "not a number", "any text: events echo what was sent"),
    (" +12345678902", TWO, " +12345678902", "verbatim"),
    (ABSENT, ONE, "+12345678903", "missing, and a message to one number"),
    (None, ONE, "+12345678903", "null counts as missing"),
    ("", ONE, "+12345678903", "empty counts as missing"),
    ([""], ONE, "+12345678903", "an array of an empty string counts as missing"),
    ([], ONE, "+12345678903", "an empty array counts as missing"),
    (TWO, ONE, "+12345678903", "an array of two counts as missing"),
    ([["+12345678902"]], ONE, "+12345678903", "an array in an array counts as missing"),
    ([12345678902], ONE, "+12345678903", "an array of a number counts as missing"),
    (12345678902, ONE, "+12345678903", "a number counts as missing"),
    (True, ONE, "+12345678903", "a boolean counts as missing"),
    ({"number": "+12345678902"}, ONE, "+12345678903", "an object counts as missing"),
    (ABSENT, TWO, "", "the event of a group does not say which"),
    (TWO, TWO, "", "the event of a group says both"),
    ("", TWO, "", "empty, in a group"),
    (ABSENT, [], "", "nobody"),
    (ABSENT, ABSENT, "", "neither field"),
    (ABSENT, None, "", "message.to is null"),
    (ABSENT, "+12345678903", "", "message.to is not an array"),
    (ABSENT, [12345678903], "", "message.to holds a number"),
    (ABSENT, [""], "", "message.to holds an empty string"),
    (ABSENT, [ONE], "", "message.to holds an array"),
    (ABSENT, {"0": "+12345678903"}, "", "message.to is an object"),
    (ABSENT, [None], "", "message.to holds null"),
]


@pytest.mark.parametrize(("to", "message_to", "recipient", "why"), RECIPIENTS, ids=[row[-1] for row in RECIPIENTS])
def test_the_recipient_is_the_one_number_that_the_event_names(
    to: Any, message_to: Any, recipient: str, why: str
) -> None:
    assert read_event(body_of(to=to, message_to=message_to)).recipient == recipient, why


@pytest.mark.parametrize("number", ["x" * 65, "+1\x00", "\ud800"], ids=ascii)
def test_a_recipient_taken_from_message_to_must_be_as_storable_as_one_at_the_top(number: str) -> None:
    assert isinstance(read(body_of(to=ABSENT, message_to=[number])), Unreadable)
    assert isinstance(read(body_of(to=[number])), Unreadable)


@pytest.mark.parametrize("number", ["x" * 65, "+1\x00", "\ud800", 7], ids=ascii)
def test_message_to_does_no_harm_where_it_is_not_needed(number: Any) -> None:
    assert read_event(body_of(to="+12345678902", message_to=[number])).recipient == "+12345678902"


def test_owner_is_never_the_recipient() -> None:
    """Bandwidth's delivered examples show the recipient there, live events the sender."""
    assert read_event(body_of(to=ABSENT, message_owner="+12345678902")).recipient == ""


# The error code.

CODES = [
    ("null", 0),
    ("0", 0),
    ("-0", 0),
    ("1", 1),
    ("4404", 4404),
    ("9902", 9902),
    ("99999", 99999),
    ('"0"', 0),
    ('"4404"', 4404),
    ('"00001"', 1),
    ('"99999"', 99999),
    ('"\\u0034404"', 4404),
    ("4404.0", 4404),
    ("44.04e2", 4404),
    ("1e3", 1000),
    ("-0.0", 0),
    ("99999.0", 99999),
]

NOT_CODES = [
    ("100000", "six digits"),
    ("-1", "negative"),
    ("4404.5", "a fraction"),
    ("100000.0", "six digits, written as a fraction"),
    ("-4404.0", "negative, written as a fraction"),
    ("1e5", "six digits, written with an exponent"),
    ("104404", "a code with something before it"),
    ("4.4e-400", "almost 0"),
    ("1e400", "beyond every float"),
    ("4" * 5000, "5,000 digits"),
    ("-" + "4" * 5000, "5,000 digits below zero"),
    ("1" + "0" * 18, "19 digits"),
    ("true", "a boolean"),
    ("false", "a boolean, which is 0 to Python"),
    ('""', "empty"),
    ('"123456"', "six digits in a string"),
    ('"000001"', "six digits in a string, although the number is small"),
    ('"-1"', "a sign"),
    ('"+4404"', "a sign"),
    ('" 4404"', "a space"),
    ('"4404\\n"', "a line end, which $ would let pass"),
    ('"4_404"', "an underscore, which int() takes"),
    ('"4404.0"', "a fraction in a string"),
    ('"4e3"', "an exponent in a string"),
    ('"0x10"', "hexadecimal"),
    ('"\u0664\u0664\u0660\u0664"', "Arabic digits, which int() takes"),
    ('"\uff14\uff14\uff10\uff14"', "full-width digits, which int() takes"),
    ('"\u00b2"', "a superscript"),
    ('"none"', "a word"),
    ('" "', "a blank"),
    ('"\\u0000"', "a NUL"),
    ('"4404\\ud800"', "half a surrogate"),
    ("[]", "an array"),
    ("[4404]", "an array of a code"),
    ("{}", "an object"),
]


@pytest.mark.parametrize(("json_text", "error_code"), CODES)
def test_a_code_is_an_integer_a_whole_float_or_a_string_of_1_to_5_digits(json_text: str, error_code: int) -> None:
    event = read_event(body_with_code(json_text))
    assert event.error_code == error_code
    assert type(event.error_code) is int


def test_a_missing_code_is_0() -> None:
    assert read_event(body_of(errorCode=ABSENT)).error_code == 0


@pytest.mark.parametrize(("json_text", "why"), NOT_CODES, ids=[why for _, why in NOT_CODES])
def test_any_other_code_is_none_and_the_payload_keeps_what_was_written(json_text: str, why: str) -> None:
    event = read_event(body_with_code(json_text))
    assert (event.error_code, type(event.error_code)) == (0, int), why
    assert loads(event.payload)["errorCode"] == loads(json_text)


# Tag, description and time, which never make an element unreadable.


@pytest.mark.parametrize("value", [ABSENT, None, "", 7, 1.5, True, [], ["tag"], {}, {"tag": "a"}], ids=repr)
def test_a_tag_that_is_no_string_or_empty_counts_as_absent(value: Any) -> None:
    assert read_event(body_of(message_tag=value)).tag is None


def test_a_tag_is_that_of_the_message_and_not_of_the_event() -> None:
    assert read_event(body_of(tag="elsewhere")).tag is None


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600", "\x00"])
@pytest.mark.parametrize(("length", "kept"), [(1, 1), (1023, 1023), (1024, 1024), (1025, 1024), (2000, 1024)])
def test_a_foreign_tag_is_kept_to_1024_characters(length: int, kept: int, letter: str) -> None:
    assert read_event(body_of(message_tag=letter * length)).tag == letter.replace("\x00", "\ufffd") * kept


@pytest.mark.parametrize("tag", ["v2 lab", "a|b", "|", " ", "01JDBX1V9BAAAAAAAAAAAAAAAA", "{}", "%00", "\x1f\x7f"])
def test_any_other_tag_is_kept_verbatim(tag: str) -> None:
    assert read_event(body_of(message_tag=tag)).tag == tag


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\x00b", "a\ufffdb"), ("\ud800", "\ufffd"), ("\udfff\U0001f600", "\ufffd\U0001f600")],
    ids=ascii,
)
def test_nul_and_lone_surrogates_in_other_text_become_replacement_characters(text: str, kept: str) -> None:
    event = read_event(body_of(message_tag=text, description=text))
    assert (event.tag, event.description) == (kept, kept)


@pytest.mark.parametrize("value", [ABSENT, None, "", 7, [], {}], ids=repr)
def test_a_description_that_is_no_string_or_empty_is_none(value: Any) -> None:
    assert read_event(body_of(description=value)).description is None


def test_a_description_of_any_length_is_kept() -> None:
    assert read_event(body_of(description="é" * 100_000)).description == "é" * 100_000


TIMES = [
    ("2016-09-14T18:20:16Z", datetime(2016, 9, 14, 18, 20, 16, tzinfo=UTC)),
    ("2017-01-11T18:25:27.047+0000", datetime(2017, 1, 11, 18, 25, 27, 47000, tzinfo=UTC)),
    ("2024-02-15T16:34:52.255182Z", datetime(2024, 2, 15, 16, 34, 52, 255182, tzinfo=UTC)),
    ("2024-02-15T16:34:52.255182999Z", datetime(2024, 2, 15, 16, 34, 52, 255182, tzinfo=UTC)),
    ("2024-02-15T16:34:52", datetime(2024, 2, 15, 16, 34, 52, tzinfo=UTC)),
    ("2024-02-15T16:34:52-05:00", datetime(2024, 2, 15, 21, 34, 52, tzinfo=UTC)),
    ("2016-12-31T23:59:60Z", None),
    ("1999-12-31T23:59:59Z", None),
    ("2101-01-01T00:00:00Z", None),
    ("9999-12-31T23:59:59-23:59", None),
    ("2016-09-14", None),
    ("2016-09-14T18:20:16\ud800", None),
    ("", None),
    (1476207046829, None),
    (10**400, None),
    (["2016-09-14T18:20:16Z"], None),
    (None, None),
    (ABSENT, None),
]


@pytest.mark.parametrize(("value", "occurred_at"), TIMES, ids=[ascii(value)[:40] for value, _ in TIMES])
def test_a_time_that_cannot_be_read_is_none_and_never_harms_its_event(value: Any, occurred_at: datetime | None) -> None:
    assert read_event(body_of(time=value)).occurred_at == occurred_at


def test_the_time_is_that_of_the_event_and_not_of_the_message() -> None:
    assert read_event(body_of(message_time="2016-09-14T18:20:16Z")).occurred_at is None


# The body.

GOOD = '{"type":"message-delivered","to":"+12345678902","message":{"id":"a","tag":"t"}}'
DEEP = "[" * 100_000 + "]" * 100_000

NOT_JSON = [
    (b"", "empty"),
    (b" \t\r\n", "white space"),
    (b"\x00", "a NUL"),
    (b"[", "an open array"),
    (b"{", "an open object"),
    (b"[{}", "an open array with an element"),
    (b"]", "only an end"),
    (b"[{},]", "a comma after the last element"),
    (b"[,{}]", "a comma before the first"),
    (b"[{}{}]", "no comma"),
    (b"[{} 1]", "no comma before a scalar"),
    (b'[{"a":1,}]', "a comma after the last key"),
    (b'{"a":1,}', "a comma after the last key of a bare object"),
    (b"[{a:1}]", "a key without quotes"),
    (b"[{'a':1}]", "single quotes"),
    (b"[01]", "a leading zero"),
    (b"[+1]", "a plus"),
    (b"[.5]", "no digit before the point"),
    (b"[5.]", "no digit after the point"),
    (b"[0x10]", "hexadecimal"),
    (b"[tru]", "half a word"),
    (b"[True]", "Python's word"),
    (b"[None]", "Python's other word"),
    (b"[NaN]", "NaN"),
    (b"[Infinity]", "Infinity"),
    (b"[-Infinity]", "-Infinity"),
    (b'{"a":NaN}', "NaN in a bare object"),
    (b'[{"type":"message-failed","to":"+1","message":{"id":"a"},"errorCode":NaN}]', "NaN as a code"),
    (f'[{GOOD},{{"a":[[-Infinity]]}}]'.encode(), "-Infinity deep in the second element"),
    (b'["\\x41"]', "an escape that JSON has not"),
    (b'["\\u12"]', "half an escape"),
    (b'["\\u\xd9\xa4404"]', "an escape with a digit that is not ASCII"),
    (b"[\xd9\xa4]", "a digit that is not ASCII"),
    (b"[1 // one\n]", "a comment"),
    (b"[]]", "an end too many"),
    (b"[] []", "two arrays"),
    (b"{}{}", "two objects"),
    (b"[] x", "text after the array"),
    (f"[{GOOD}]garbage".encode(), "text after an array with an event"),
    (f"{GOOD}garbage".encode(), "text after a bare event"),
    (b"[]\x00", "a NUL after the array"),
    (b"\xa0[]", "no UTF-8"),
    ("\u00a0[]".encode(), "white space that is not JSON's"),
    (f"[{GOOD}]".encode("utf-16"), "UTF-16 with a byte order mark"),
    (f"[{GOOD}]".encode("utf-16-le"), "UTF-16 without one"),
    (f"[{GOOD}]".encode("utf-32"), "UTF-32"),
    (b"type=message-failed&to=%2B12345678902", "a form"),
    (b"<event/>", "XML"),
]

BAD_BYTES = [
    (b"\xff", "\ufffd", "a byte that UTF-8 has not"),
    (b"\xc3", "\ufffd", "half a character"),
    (b"\xe2\x82", "\ufffd", "two thirds of a character"),
    (b"\xc0\x80", "\ufffd\ufffd", "an overlong NUL"),
    (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd", "a surrogate in bytes"),
    (b"\xed\xa0\xbd\xed\xb8\x80", "\ufffd" * 6, "a pair of surrogates in bytes"),
    ("\u00e9".encode("latin-1"), "\ufffd", "Latin-1 that nobody declared"),
    ("\u201c".encode("cp1252"), "\ufffd", "a quotation mark of Windows"),
    (b"\x00", "\ufffd", "a raw NUL"),
    (b"\n", "\n", "a raw line end"),
    (b"\r\n\t", "\r\n\t", "other raw white space"),
    (b"\x01\x1b[31m\x1f", "\x01\x1b[31m\x1f", "raw commands to a terminal"),
]


@pytest.mark.parametrize("damaged", ["description", "text", "tag"])
@pytest.mark.parametrize(("raw", "kept", "why"), BAD_BYTES, ids=[why for *_, why in BAD_BYTES])
def test_a_bad_byte_in_a_string_harms_neither_its_event_nor_its_neighbours(
    raw: bytes, kept: str, why: str, damaged: str
) -> None:
    element = body_of(description="a?b", message_text="a?b", message_tag="a?b")[1:-1].encode()
    place = element.index(b"a?b", element.index(f'"{damaged}"'.encode())) + 1
    damage = element[:place] + raw + element[place + 1 :]
    first, event, last = parse(f"[{GOOD}, ".encode() + damage + f",\n\t{GOOD}]".encode())
    assert first == last == read_event(GOOD), why
    assert isinstance(event, Event), event
    assert event.identity == read_event(element).identity
    assert_payload_says(event, json.loads(damage.decode(errors="replace"), strict=False))
    if damaged != "text":
        assert (event.description if damaged == "description" else event.tag) == f"a{kept}b"


@pytest.mark.parametrize("field", ["type", "message_id", "to"])
def test_a_bad_byte_in_a_key_is_a_replacement_character_there_and_a_raw_nul_is_unreadable(field: str) -> None:
    body = body_of(**{field: "a?"}).encode()
    assert "a\ufffd" in read_event(body.replace(b"a?", b"a\xe9")).identity
    assert "a\n" in read_event(body.replace(b"a?", b"a\n")).identity
    first, unreadable = parse(f"[{GOOD},".encode() + body.replace(b"a?", b"a\x00")[1:])
    assert (first, type(unreadable)) == (read_event(GOOD), Unreadable)


@pytest.mark.parametrize(
    "whole", ['["a\nb"\n,\t"\\"\r\\\\"\n, "\\\\" ]', '{"a\tb"\t:\r\n"\x01"}', '["\\n\n", [ "\r" ,\n{"\x00":"\x1f"} ]]']
)
def test_a_payload_escapes_control_characters_inside_strings_and_nowhere_else(whole: str) -> None:
    element = read(f"[ {whole} ]")
    assert_payload_says(element, json.loads(whole, strict=False))
    assert re.sub(r"\\u00(0[019]|1f)|\\[nrt]|[\x00-\x1f]", "", element.payload) == re.sub(
        r"\\[nrt]|[\x00-\x1f]", "", whole
    )


LATIN_1 = [
    "application/json; charset=ISO-8859-1",
    "application/json;charset=iso-8859-1",
    'application/json; charset="ISO-8859-1"; profile=x',
    "application/json; profile=x; Charset = latin1",
    "text/plain;charset=iso_8859-1",
]
OTHERS = [
    "",
    "application/json",
    "application/json; charset=utf-8",
    "application/json; charset=us-ascii",
    "application/json; charset=windows-1252",
    "application/json; xcharset=iso-8859-1",
    "application/json; charset=",
    "application/json; charset=iso-8859-15",
    "charset=\udcff",
]


@pytest.mark.parametrize("content_type", LATIN_1)
def test_a_body_that_is_declared_to_be_latin_1_is_read_as_such(content_type: str) -> None:
    text = "".join(map(chr, range(0xA0, 0x100)))
    body = body_of(description="?").replace("?", text)
    assert read_event(in_utf_8(body.encode("latin-1"), content_type)).description == text
    assert in_utf_8(body_of().encode(), content_type) == body_of().encode()


@pytest.mark.parametrize("content_type", OTHERS)
def test_whatever_else_is_declared_a_body_is_utf_8(content_type: str) -> None:
    body = body_of(description="?").replace("?", "\u00e9\U0001f600").encode()
    assert in_utf_8(body, content_type) is body


NEITHER_ARRAY_NOR_OBJECT = [
    "null",
    "true",
    "false",
    "0",
    "-1.5e3",
    '""',
    '"[]"',
    "NaN",
    "Infinity",
    "4" * 5000,
    "1e400",
]


@pytest.mark.parametrize(("body", "why"), NOT_JSON, ids=[why for _, why in NOT_JSON])
def test_a_body_that_is_not_json_is_refused_as_a_whole(body: bytes, why: str) -> None:
    with pytest.raises(NotJSON) as refused:
        parse(body)
    assert str(refused.value), why


@pytest.mark.parametrize("text", NEITHER_ARRAY_NOR_OBJECT, ids=lambda text: text[:12])
def test_a_body_that_is_neither_array_nor_object_is_refused(text: str) -> None:
    with pytest.raises(NotJSON):
        parse(text.encode())


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"\n[\r\n\t]\n"])
def test_an_empty_array_holds_no_events(body: bytes) -> None:
    assert parse(body) == []


@pytest.mark.parametrize("body", [f"[{GOOD}]", GOOD, f" \n\t[\r {GOOD} \n] ", f"\r\n {GOOD}\t ", f"\ufeff[{GOOD}]"])
def test_an_array_of_one_a_bare_object_white_space_and_a_byte_order_mark_read_alike(body: str) -> None:
    event = read_event(body)
    assert event == Event(type="message-delivered", message_id="a", recipient="+12345678902", tag="t", payload=GOOD)


def test_ten_thousand_elements_are_read_in_their_order() -> None:
    body = ",".join(GOOD.replace('"a"', f'"{number}"') for number in range(10_000))
    assert [element.message_id for element in parse(f"[{body}]".encode()) if isinstance(element, Event)] == [
        str(number) for number in range(10_000)
    ]


@pytest.mark.parametrize(
    "neighbour",
    [
        *("null", "true", "7", '"x"', '""', "[]", "{}", "1.5", "1e400", "-1e400", "4" * 5000, "0." + "3" * 5000),
        *('"\\ud800"', '"\\u0000"', '{"type":"message-failed"}', '{"message":null}', '{"message":{"id":"a"}}'),
        *(f"[{GOOD}]", f"[[{GOOD}]]", f'{{"event":{GOOD}}}', "[" * 200 + "]" * 200, '"\u00e9\U0001f600\x7f"'),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_an_unreadable_element_does_no_harm_to_its_neighbours(neighbour: str) -> None:
    good = read_event(GOOD)
    first, unreadable, last = parse(f"[{GOOD},{neighbour} , {GOOD}]".encode())
    assert first == last == good
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason.endswith(".")
    assert loads(unreadable.payload) == loads(neighbour)


def test_numbers_of_any_length_are_json_wherever_they_stand() -> None:
    long = "4" * 5000
    body = GOOD.replace('"a"', f'"a","x":[{long},-{long},{long}.5,1e{long},{{"{long}":{long}}}]')
    event = read_event(f'[{body[:-1]},"time":{long},"description":-{long}}}]')
    assert event.identity == read_event(GOOD).identity
    assert (event.occurred_at, event.description) == (None, None)
    assert long in event.payload


def test_where_a_key_comes_twice_the_last_one_counts_and_the_payload_keeps_both() -> None:
    twice = '{"type":"message-failed","type":"message-sent","to":"a","to":"b","message":{"id":"a","id":"c"}}'
    event = read_event(twice)
    assert event.identity == ("c", "b", "message-sent", 0)
    assert event.payload == twice


@pytest.mark.parametrize("depth", [10, 100, 300])
def test_an_extra_key_may_be_nested_as_deep_as_the_decoder_reaches(depth: int) -> None:
    extra = f',"x":{"[" * depth}{"]" * depth}}}'
    event = read_event(f"[{GOOD[:-1]}{extra}]")
    assert event.identity == read_event(GOOD).identity
    assert event.payload.endswith(extra)


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        f"[{DEEP}]",
        f"[{GOOD},{DEEP},{GOOD}]",
        f'[{GOOD[:-1]},"x":{DEEP}}}]',
        f'["\u00e9\x7f",{DEEP}]',
    ],
    ids=["arrays", "a bare object", "an element", "an element among good ones", "an extra key", "with other text"],
)
def test_a_body_nested_deeper_than_the_decoder_reaches_is_kept_whole_as_one_unreadable(body: str) -> None:
    element = read(body)
    assert isinstance(element, Unreadable)
    assert element.payload == body.replace("\u00e9", "\\u00e9").replace("\x7f", "\\u007f")


# The payload: the element's own JSON text, ASCII-escaped.


@pytest.mark.parametrize(
    "element",
    [
        GOOD,
        '{ "b" : 1 ,\n\t"a":[1.0, 1e5, -0, 1E+2, 0.10] }',
        '"\\u00E9\\/\\n\\\\"',
        "4" * 5000,
        "1e400",
        "[ ]",
        "null",
    ],
    ids=lambda text: text[:20],
)
def test_a_payload_in_ascii_is_kept_to_the_character(element: str) -> None:
    assert [each.payload for each in parse(f"[ {element}\n, {element} ]".encode())] == [element] * 2


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("é", "\\u00e9"),
        ("\x7f", "\\u007f"),
        ("\x80\u2028", "\\u0080\\u2028"),
        ("\uffff", "\\uffff"),
        ("\U0001f600", "\\ud83d\\ude00"),
        ("\U0010ffff", "\\udbff\\udfff"),
        ("\\u00e9é", "\\u00e9\\u00e9"),
    ],
    ids=ascii,
)
def test_a_payload_escapes_every_other_character(text: str, escaped: str) -> None:
    element = read(f'{{"{text}":"{text}"}}')
    assert element.payload == f'{{"{escaped}":"{escaped}"}}'


def test_the_payload_of_a_bare_object_is_the_object_without_white_space_around_it() -> None:
    assert read(f"\n {GOOD} \n").payload == GOOD


def test_an_unreadable_element_has_the_same_sha_256_however_it_comes() -> None:
    alone, raw, among = read('["é"]'), read('[ "\\u00e9" ]'), parse(f'[{GOOD}, "é"]'.encode())[1]
    expected = hashlib.sha256(b'"\\u00e9"').hexdigest()
    assert {element.sha256 for element in (alone, raw, among) if isinstance(element, Unreadable)} == {expected}


# Properties.


def loads(text: str) -> Any:
    """Any JSON, numbers of any length included."""
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 4000 else ("int", digits))


any_text = st.text(st.characters(exclude_categories=()), max_size=8)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)
odd = st.one_of(
    any_json, st.sampled_from(["", "\x00", "x" * 64, "x" * 65, "x" * 128, "x" * 129, "\ud800", "4404", 9902])
)
almost_events = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["message-failed", "message-delivered", "x" * 64]) | odd,
        "message": st.fixed_dictionaries(
            {"id": st.sampled_from(["a", "b", "x" * 128]) | odd},
            optional={"to": st.sampled_from([["+1234"], ["+1", "+2"]]) | odd, "tag": any_text | odd},
        )
        | odd,
    },
    optional={
        "to": st.sampled_from(["+12345678902", ["+12345678902"], "x" * 64]) | odd,
        "errorCode": st.sampled_from([0, 4404, "4404", "00001", 99999, 100000, 4404.0, None, True]) | odd,
        "time": st.sampled_from(["2016-09-14T18:20:16Z", "2101-01-01T00:00:00Z"]) | odd,
        "description": odd,
    },
)


def dump(value: Any, *, escaped: bool) -> bytes:
    """JSON as bytes; what UTF-8 has not is escaped in any case."""
    text = json.dumps(value, ensure_ascii=escaped)
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text).encode()


def same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


@given(any_json, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_json_is_as_many_elements_as_its_array_has_or_no_callback_at_all(value: Any, escaped: bool) -> None:
    body = dump(value, escaped=escaped)
    if not isinstance(value, list | dict):
        with pytest.raises(NotJSON):
            parse(body)
        return
    elements = parse(body)
    assert len(elements) == (len(value) if isinstance(value, list) else 1)
    for element, given_value in zip(elements, as_array(value), strict=True):
        assert_payload_says(element, given_value)


@given(st.lists(almost_events | any_json, max_size=5), st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_payload_is_ascii_and_says_what_the_element_said(values: list[Any], escaped: bool) -> None:
    for element, value in zip(parse(dump(values, escaped=escaped)), values, strict=True):
        assert_payload_says(element, value)


def assert_payload_says(element: Element, value: Any) -> None:
    assert element.payload.isascii()
    assert element.payload.replace("\n", "").replace("\t", "").replace("\r", "").isprintable()
    assert same(json.loads(element.payload), value)


@given(almost_events)
@settings(max_examples=500, deadline=None)
def test_an_element_is_readable_exactly_when_the_rules_say_so(value: Any) -> None:
    element = read(json.dumps([value]))
    expected = key_by_the_rules(value)
    assert (element.identity if isinstance(element, Event) else None) == expected
    if isinstance(element, Event):
        assert element.tag is None or (0 < len(element.tag) <= 1024 and is_storable(element.tag))
        assert element.description is None or is_storable(element.description)
        assert element.occurred_at is None or 2000 <= element.occurred_at.year <= 2100


def key_by_the_rules(element: Any) -> tuple[str, str, str, int] | None:
    """The rules by which an element is read, stated a second time; None for what is unreadable."""
    message = element["message"]
    if not isinstance(message, dict):
        return None
    code = element.get("errorCode")
    if isinstance(code, str) and 1 <= len(code) <= 5 and set(code) <= set("0123456789"):
        code = int(code)
    if type(code) is float and code == code // 1 and abs(code) < 1e6:
        code = int(code)
    code = code if type(code) is int and 0 <= code <= 99999 else 0
    recipient = next(filter(None, named_recipients(element.get("to"), message.get("to"))), "")
    keys: tuple[Any, Any, Any] = (message.get("id"), recipient, element["type"])
    readable = (
        all(isinstance(text, str) and is_storable(text) for text in keys)
        and 1 <= len(keys[0]) <= 128
        and len(keys[1]) <= 64
        and 1 <= len(keys[2]) <= 64
    )
    return (*keys, code) if readable else None


def named_recipients(to: Any, message_to: Any) -> Iterable[str]:
    if isinstance(to, str):
        yield to
    for several in (to, message_to):
        if isinstance(several, list) and len(several) == 1 and isinstance(several[0], str):
            yield several[0]


@given(st.lists(almost_events | any_json, max_size=3), st.lists(almost_events | any_json, max_size=3), almost_events)
@settings(max_examples=200, deadline=None)
def test_an_element_reads_the_same_whatever_its_neighbours(before: list[Any], after: list[Any], value: Any) -> None:
    elements = parse(json.dumps([*before, value, *after]).encode())
    assert elements[len(before)] == read(json.dumps([value]))


def is_callback(body: bytes) -> bool:
    """Whether the standard library, strict but for bad bytes in strings, finds an array or an object."""

    def refuse(literal: str) -> None:
        raise ValueError(literal)

    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
        value = json.loads(text, parse_constant=refuse, parse_int=float, strict=False)
    except ValueError:
        return False
    return isinstance(value, list | dict)


def assert_only_a_callback_is_parsed(body: bytes) -> None:
    if is_callback(body):
        assert all(element.payload.isascii() for element in parse(body))
    else:
        with pytest.raises(NotJSON):
            parse(body)


@given(
    st.binary(max_size=60)
    | st.text('[]{},:"\\u0123456789eE+-. \n\ttruefalsn\x00é\ufeffNaIity', max_size=20).map(str.encode)
)
@settings(max_examples=500, deadline=None)
@example(b"\xef\xbb\xbf\xef\xbb\xbf[]")
@example(b"[1]\xef\xbb\xbf")
def test_no_bytes_end_otherwise_than_in_elements_or_not_json(body: bytes) -> None:
    assert_only_a_callback_is_parsed(body)


@given(st.sampled_from([path.read_bytes() for path in callbacks()]), st.data())
@settings(max_examples=300, deadline=None)
def test_no_damage_to_a_real_callback_ends_otherwise_than_in_elements_or_not_json(
    body: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(start + 20, len(body))))
    damage = data.draw(
        st.binary(max_size=4) | st.sampled_from([b"NaN", b",", b'"', b"}", b"]", b"[", b"\\ud800", b"9" * 5000])
    )
    assert_only_a_callback_is_parsed(body[:start] + damage + body[end:])


# Defects seen in third-party receivers.


@pytest.mark.parametrize("receiver", ["Chatwoot", "nyaruka/courier", "Bandwidth's own sample applications"])
def test_others_read_only_the_first_element_of_the_array(receiver: str) -> None:
    group = [GOOD, GOOD.replace("902", "903"), GOOD.replace("902", "904").replace("delivered", "failed")]
    elements = parse(f"[{','.join(group)}]".encode())
    assert [element.recipient for element in elements if isinstance(element, Event)] == [
        "+12345678902",
        "+12345678903",
        "+12345678904",
    ], receiver


def test_courier_answered_400_to_a_type_it_did_not_know() -> None:
    event = read_event(body_of(type="message-sent-by-pigeon"))
    assert (event.type, statement(event.type, event.error_code)) == ("message-sent-by-pigeon", None)


def test_courier_took_one_layout_of_time_only() -> None:
    layouts = ["2016-09-14T18:20:16Z", "2016-09-14T18:20:16.000Z", "2016-09-14T18:20:16.000000Z"]
    assert {read_event(body_of(time=text)).occurred_at for text in layouts} == {
        datetime(2016, 9, 14, 18, 20, 16, tzinfo=UTC)
    }


@pytest.mark.parametrize("tag", ["no separator", "a|b|c", "", None, ABSENT, 7, "|"], ids=repr)
def test_spoke_crashed_on_a_foreign_tag(tag: Any) -> None:
    assert read_event(body_of(message_tag=tag)).identity == read_event(body_of()).identity


@pytest.mark.parametrize("path", callbacks(), ids=lambda path: path.stem)
def test_spoke_counted_everything_but_message_failed_as_delivered(path: Path) -> None:
    event = read_event(path.read_bytes())
    says_delivered = statement(event.type, event.error_code) is RecipientStatus.DELIVERED
    assert says_delivered == (event.type in ("message-delivered", "message-read"))


def test_a_flask_receipt_tester_of_2021_knew_messages_by_their_tag_only() -> None:
    """The delivered examples carry no tag: what then links an event is its message id."""
    assert read_event(load("callbacks/message-delivered-group.json")).message_id == ID
    assert read_event(load("callbacks/message-delivered-group.json")).tag is None


def test_a_2026_design_note_merged_the_events_of_a_group() -> None:
    group = [GOOD, GOOD.replace("902", "903")]
    events = [element for element in parse(f"[{','.join(group)}]".encode()) if isinstance(element, Event)]
    assert len(gather(events)) == 2


def test_bandwidths_own_sdk_refused_events_without_priority_tag_or_segment_count() -> None:
    """Its models called them required, and real events lack them (python-sdk, 2024-09-24 and 2025-01-20)."""
    assert read_event('{"type":"message-delivered","message":{"id":"a"}}').identity == ("a", "", "message-delivered", 0)


def test_strict_models_broke_on_every_field_that_bandwidth_added() -> None:
    event = read_event(body_of(carrierName="AT&T", eventTime=AT_RBM, message_channel="RBM", message_content={"a": [1]}))
    assert event.identity == read_event(body_of()).identity


def test_docs_and_openapi_disagree_whether_the_body_is_an_array_or_an_object() -> None:
    array = read_event(load("callbacks/message-delivered-group.json"))
    bare = read_event(load("callbacks/object-message-delivered-group-2026.json"))
    assert array.identity == bare.identity
