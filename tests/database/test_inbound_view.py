"""The view of inbound messages: whatever one payload holds, all other rows can still be read."""

import json
from datetime import timedelta
from typing import Any

import pytest

from receiver.bandwidth.callbacks import parse
from receiver.database.database import Database
from tests.samples import load
from tests.support.builders import ALICE, BOB, SENDER
from tests.support.old_rows import purge
from tests.support.stored import columns, deliver, view


def receive(database: Database, message: dict[str, Any] | str, message_id: str = "inbound", **element: Any) -> None:
    """An event as Bandwidth sends it; a text is the JSON of the message's fields after its id."""
    fields = message if isinstance(message, str) else json.dumps(message)[1:-1]
    of_element = json.dumps({"type": "message-received", "to": SENDER, **element})[1:-1]
    body = f'[{{{of_element}, "message": {{"id": "{message_id}"{fields and ", "}{fields}}}}}]'
    deliver(database, *parse(body.encode()))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("message-received-sms", ("+12345678901", "+12345678902", "Hey, check this out!", "+12345678902", True)),
        (
            "message-received-group-mms",
            ("+12345678901", "+12345678902", "Hey, check this out!", "+12345678902 +12345678903", True),
        ),
        (
            "suggestion-response",
            ("+15553332222", "+15552223333", "Yes, I would like to proceed", "+15552223333", False),
        ),
        ("requested-location-response", ("+15553332222", "+15552223333", None, "+15552223333", False)),
    ],
)
def test_a_reply_is_shown_with_its_sender_its_text_and_its_group(
    database: Database, sample: str, expected: tuple[object, ...]
) -> None:
    deliver(database, *parse(load(f"callbacks/{sample}.json")))

    [row] = view(database, "support_inbound")
    assert (*columns(row, "sender", "recipient", "text", "group_members"), row["media"] is not None) == expected
    assert row["opt_out"] is False


OPT_OUTS = ["STOP", "stop", " Stop. ", '"STOP"', "Stop!", "Unsubscribe", "stopall", "End", "quit", "CANCEL", "opt out"]
OPT_OUTS += [
    "STOP\n",
    "\r\n\tSTOP\u00a0",
    "\u200bSTOP\ufe0f",
    "\u201cStop\u201d,",
    "Stop\u2026 \U0001f44d",
    "opt\u00a0 out",
]
OTHERS = ["", "Stop. Thank you", "Don't stop", "Stop by at noon", "STOPP", "START", "UNSTOP", "HELP", "ok"]


@pytest.mark.parametrize(
    ("words", "means_stop"), [(each, True) for each in OPT_OUTS] + [(each, False) for each in OTHERS]
)
def test_a_word_that_means_stop_alone_is_an_opt_out(database: Database, words: str, *, means_stop: bool) -> None:
    receive(database, {"from": ALICE, "text": words})

    [row] = view(database, "support_inbound")
    assert columns(row, "text", "opt_out") == (words, means_stop)


ODD = {
    "NUL": (r'"from": "+19195550101", "text": "a\u0000b"', "a\ufffdb"),
    "a lone high surrogate": (r'"from": "+19195550101", "text": "a\ud83db"', "a\ufffdb"),
    "a lone low surrogate": (r'"from": "+19195550101", "text": "a\uDE00b"', "a\ufffdb"),
    "two high surrogates": (r'"from": "+19195550101", "text": "\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
    "an emoji": (r'"from": "+19195550101", "text": "\uD83D\uDE00"', "\U0001f600"),
    "a literal backslash and u": (r'"from": "+19195550101", "text": "C:\\ud83d\\u0000"', r"C:\ud83d\u0000"),
    "a replacement character of their own": (r'"from": "+19195550101", "text": "\ufffd"', "\ufffd"),
    "NUL elsewhere": (r'"from": "+19195550101", "text": "a", "owner": "\u0000\ud800"', "a"),
    "no text": ('"from": "+19195550101"', None),
    "an empty text": ('"from": "+19195550101", "text": ""', ""),
    "text that is null": ('"from": "+19195550101", "text": null', None),
    "text that is no text": ('"from": "+19195550101", "text": {"a": "b"}', None),
    "a text chosen": ('"from": "+19195550101", "suggestionResponse": {"text": "a"}', "a"),
    "a chosen one that is no object": ('"from": "+19195550101", "suggestionResponse": ["a"]', None),
    "a huge number": ('"from": "+19195550101", "text": "a", "segmentCount": 1' + "0" * 5000, "a"),
    "to that is no array": ('"from": "+19195550101", "text": "a", "to": {"b": 1}', "a"),
    "to that holds no texts": ('"from": "+19195550101", "text": "a", "to": [1, null, ["b"]]', "a"),
    "media that is no array": ('"from": "+19195550101", "text": "a", "media": "b"', "a"),
    "a deep nest": ('"from": "+19195550101", "text": "a", "content": ' + "[" * 400 + "]" * 400, "a"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_payload_is_read_alike_and_does_not_keep_the_others_from_being_read(
    database: Database, odd: str
) -> None:
    fields, reading = ODD[odd]
    receive(database, fields, "odd")
    receive(database, {"from": BOB, "text": "Hello", "to": [SENDER]}, "ordinary")

    rows = {row["message_id"]: row for row in view(database, "support_inbound")}
    assert columns(rows["ordinary"], "sender", "text", "group_members") == (BOB, "Hello", SENDER)
    assert columns(rows["odd"], "sender", "text", "group_members", "media") == (ALICE, reading, None, None)


def test_a_sender_of_any_shape_is_shown_as_far_as_a_number_may_be_long(database: Database) -> None:
    receive(database, r'"from": "\ud800' + "1" * 100 + '"', "long")
    receive(database, '"from": 19195550101', "number")

    assert {row["message_id"]: row["sender"] for row in view(database, "support_inbound")} == {
        "long": "\ufffd" + "1" * 63,
        "number": None,
    }


def test_media_and_members_are_cleaned_and_joined_by_spaces(database: Database) -> None:
    receive(database, r'"to": ["+1919\u0000", "+1920"], "media": ["https://x/\ud800", "https://x/ä", 7]')

    [row] = view(database, "support_inbound")
    assert columns(row, "group_members", "media") == ("+1919\ufffd +1920", "https://x/\ufffd https://x/ä")


def test_a_payload_that_was_redacted_shows_nothing_and_does_not_say_that_nobody_opted_out(database: Database) -> None:
    receive(database, {"from": ALICE, "text": "STOP"})
    purge(database, redact=True, older_than=timedelta(0))

    [row] = view(database, "support_inbound")
    assert columns(row, "sender", "text", "group_members", "media", "opt_out", "opt_in") == (None,) * 6
