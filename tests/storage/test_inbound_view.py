"""What people wrote to us, as support reads it; whatever is in a payload, the others can still be read."""

import json
from datetime import timedelta
from typing import Any

import pytest

from receiver.bandwidth.callbacks import parse
from receiver.storage.database import Database
from tests.builders import ALICE, BOB, SENDER
from tests.samples import load
from tests.storage.aged import purge
from tests.storage.stored import columns, deliver, view


def receive(database: Database, message: dict[str, Any] | str, message_id: str = "inbound", **element: Any) -> None:
    """As it comes from Bandwidth; a text is the JSON of the message's fields after its id."""
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
OPT_OUTS += ["STOP\n", "\r\n\tSTOP\u00a0"]
OTHERS = ["", "Don't stop", "Stop by at noon", "STOPP", "START", "UNSTOP", "HELP", "ok"]


@pytest.mark.parametrize(
    ("words", "means_stop"), [(each, True) for each in OPT_OUTS] + [(each, False) for each in OTHERS]
)
def test_a_word_that_means_stop_alone_is_an_opt_out(database: Database, words: str, *, means_stop: bool) -> None:
    receive(database, {"from": ALICE, "text": words})

    [row] = view(database, "support_inbound")
    assert columns(row, "text", "opt_out") == (words, means_stop)


ODD = {
    "NUL": (r'"from": "+19195550101", "text": "a\u0000b"', {"a\ufffdb", "a"}),
    "a lone high surrogate": (r'"from": "+19195550101", "text": "a\ud83db"', {"a\ufffdb", None}),
    "a lone low surrogate": (r'"from": "+19195550101", "text": "a\uDE00b"', {"a\ufffdb", None}),
    "two high surrogates": (r'"from": "+19195550101", "text": "\ud83d\ud83d\ude00"', {"\ufffd\U0001f600", None}),
    "an emoji": (r'"from": "+19195550101", "text": "\uD83D\uDE00"', {"\U0001f600"}),
    "no text": ('"from": "+19195550101"', {None}),
    "text that is null": ('"from": "+19195550101", "text": null', {None}),
    "a huge number": ('"from": "+19195550101", "text": "a", "segmentCount": 1' + "0" * 5000, {"a"}),
    "to that is no array": ('"from": "+19195550101", "text": "a", "to": {"b": 1}', {"a"}),
    "media that is no array": ('"from": "+19195550101", "text": "a", "media": "b"', {"a"}),
    "a deep nest": ('"from": "+19195550101", "text": "a", "content": ' + "[" * 400 + "]" * 400, {"a"}),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_payload_does_not_keep_the_others_from_being_read(database: Database, odd: str) -> None:
    fields, readings = ODD[odd]
    receive(database, fields, "odd")
    receive(database, {"from": BOB, "text": "Hello", "to": [SENDER]}, "ordinary")

    rows = {row["message_id"]: row for row in view(database, "support_inbound")}
    assert columns(rows["ordinary"], "sender", "text", "group_members") == (BOB, "Hello", SENDER)
    assert rows["odd"]["text"] in readings
    assert rows["odd"]["sender"] == ALICE or (rows["odd"]["sender"] is None and None in readings)


def test_a_payload_that_was_redacted_shows_nothing_and_does_not_say_that_nobody_opted_out(database: Database) -> None:
    receive(database, {"from": ALICE, "text": "STOP"})
    purge(database, redact=True, older_than=timedelta(0))

    [row] = view(database, "support_inbound")
    assert columns(row, "sender", "text", "group_members", "media", "opt_out") == (None, None, None, None, None)
