"""What a callback looks like: Bandwidth's client reads the documented shapes; the others deviate as listed."""

import json
import re
import threading
from typing import Any

import pytest
from bandwidth.models.inbound_callback import InboundCallback
from bandwidth.models.status_callback import StatusCallback
from pydantic import ValidationError

from receiver.simulator import MAGIC_NUMBERS, CallbackShape, Simulator, Switches
from tests.support.callback_receiver import CallbackReceiver, Reply
from tests.support.simulators import ALICE, BOB, MESSAGE, Send, Start, post, receive

EVERY_FATE = [re.sub("[CN]", "4", magic.number).replace("x", "0") for magic in MAGIC_NUMBERS]


def parsed(event: dict[str, Any]) -> StatusCallback:
    """Reads an event as Bandwidth's client does; fails if the client does not know every key."""
    model = StatusCallback.from_dict(event)
    assert model is not None
    assert model.additional_properties == {}
    assert model.message.additional_properties == {}
    return model


@pytest.mark.parametrize("media", [None, ["https://example.com/a.jpg"]])
@pytest.mark.parametrize("number", [ALICE, *EVERY_FATE])
def test_every_event_of_every_fate_is_one_that_bandwidths_client_reads(
    send: Send, simulator: Simulator, receiver: CallbackReceiver, number: str, media: list[str] | None
) -> None:
    send(to=[number, BOB], media=media)

    assert simulator.wait_until_idle(10)
    for event in receiver.events:
        model = parsed(event)
        assert model.to in (number, BOB)
        assert model.message.tag == MESSAGE["tag"]
        assert model.message.to == [number, BOB]
        assert model.message.owner == model.message.var_from == MESSAGE["from"]
        assert model.message.text == ""
        assert model.message.media == media
        assert model.message.direction.value == "out"


def test_the_envelope_is_an_array_of_one_with_bandwidths_headers(
    send: Send, simulator: Simulator, receiver: CallbackReceiver
) -> None:
    send(to=ALICE)

    assert simulator.wait_until_idle(10)
    (callback,) = receiver.received
    assert callback.path == "/callbacks?from=bandwidth"
    assert callback.headers["User-Agent"] == "BandwidthAPI/v2"
    assert callback.headers["Content-Type"] == "application/json; charset=utf-8"
    assert len(callback.json) == 1
    assert list(callback.json[0]) == ["time", "type", "to", "description", "message"]


def test_a_message_without_a_tag_has_events_without_one(
    send: Send, simulator: Simulator, receiver: CallbackReceiver
) -> None:
    send(tag=None)

    assert simulator.wait_until_idle(10)
    assert all("tag" not in event["message"] and parsed(event) for event in receiver.events)


def test_a_tag_comes_back_verbatim_whatever_it_holds(
    send: Send, simulator: Simulator, receiver: CallbackReceiver
) -> None:
    tag = 'ä "quoted" \u0000 \U0001f642 \ud800'
    send(to=ALICE, tag=tag)

    assert simulator.wait_until_idle(10)
    assert receiver.events[0]["message"]["tag"] == tag


# The shapes that deviate from the documentation.


def sent_in_shape(shape: CallbackShape, simulator: Simulator, receiver: CallbackReceiver, **fields: Any) -> list[Any]:
    """The bodies of the callbacks about MESSAGE, changed by the fields given."""
    simulator.switches = Switches(callbacks=shape)
    assert post(simulator, **fields).status_code == 202
    assert simulator.wait_until_idle(10)
    return [each.json for each in receiver.received]


def test_tag_missing_leaves_the_tag_out_which_the_newest_contract_allows(
    simulator: Simulator, receiver: CallbackReceiver
) -> None:
    for (event,) in sent_in_shape(CallbackShape.TAG_MISSING, simulator, receiver):
        assert "tag" not in event["message"]
        assert parsed(event).message.tag is None


def test_tag_empty_sends_an_empty_tag(simulator: Simulator, receiver: CallbackReceiver) -> None:
    for (event,) in sent_in_shape(CallbackShape.TAG_EMPTY, simulator, receiver):
        assert parsed(event).message.tag == ""


def test_bare_object_is_the_event_without_an_array(simulator: Simulator, receiver: CallbackReceiver) -> None:
    bodies = sent_in_shape(CallbackShape.BARE_OBJECT, simulator, receiver)

    assert sorted(parsed(event).to for event in bodies) == [ALICE, BOB]


def test_batched_is_one_array_for_all_recipients(simulator: Simulator, receiver: CallbackReceiver) -> None:
    numbers = [ALICE, "+12005564404", "+12005610001"]
    bodies = sent_in_shape(CallbackShape.BATCHED, simulator, receiver, to=numbers)

    assert [[(event["to"], event["type"]) for event in body] for body in bodies] == [
        [
            (ALICE, "message-delivered"),
            ("+12005564404", "message-failed"),
            ("+12005610001", "message-delivered"),
            ("+12005610001", "message-delivered"),
        ],
        [("+12005564404", "message-delivered")],
    ]
    assert all(parsed(event) for body in bodies for event in body)


def test_unknown_type_adds_an_event_that_the_client_cannot_read(
    simulator: Simulator, receiver: CallbackReceiver
) -> None:
    events = [event for (event,) in sent_in_shape(CallbackShape.UNKNOWN_TYPE, simulator, receiver)]

    unknown = [event for event in events if event["type"] == "message-teleported"]
    assert sorted(event["to"] for event in unknown) == [ALICE, BOB]
    assert sorted(event["to"] for event in events if event not in unknown) == [ALICE, BOB]
    for event in unknown:
        with pytest.raises(ValidationError, match="type"):
            parsed(event)
        parsed(event | {"type": "message-delivered"})


def test_no_recipient_leaves_out_what_the_client_insists_on(simulator: Simulator, receiver: CallbackReceiver) -> None:
    for (event,) in sent_in_shape(CallbackShape.NO_RECIPIENT, simulator, receiver):
        assert "to" not in event
        with pytest.raises(ValidationError, match="to"):
            parsed(event)
        parsed(event | {"to": ALICE})


def test_every_shape_is_tested_above() -> None:
    assert set(CallbackShape) == {
        "normal",
        "tag-missing",
        "tag-empty",
        "bare-object",
        "batched",
        "unknown-type",
        "no-recipient",
    }


# Inbound messages.


def test_a_received_message_is_one_that_bandwidths_client_reads(
    simulator: Simulator, receiver: CallbackReceiver
) -> None:
    message_id = receive(simulator, from_=ALICE, to="+12345678901", text="Hello, übermorgen \ud800!").json()["id"]

    assert simulator.wait_until_idle(10)
    (event,) = receiver.events
    model = InboundCallback.from_dict(json.loads(json.dumps(event).replace("\\ud800", "")))
    assert model is not None
    assert model.additional_properties == model.message.additional_properties == {}
    assert model.message.id == message_id
    assert model.to == model.message.owner == "+12345678901"
    assert model.message.var_from == ALICE
    assert model.message.text == "Hello, übermorgen !"
    assert "tag" not in event["message"]
    assert event["message"]["direction"] == "in"


def test_a_received_group_message_belongs_to_the_first_number(simulator: Simulator, receiver: CallbackReceiver) -> None:
    media = ["https://example.com/a.jpg"]
    receive(simulator, from_=ALICE, to=["+12345678901", BOB], text="", media=media)

    assert simulator.wait_until_idle(10)
    model = InboundCallback.from_dict(receiver.events[0])
    assert model is not None
    assert (model.to, model.message.to) == ("+12345678901", ["+12345678901", BOB])
    assert model.message.media == media


def test_callbacks_follow_a_url_that_is_set_later(start: Start, receiver: CallbackReceiver) -> None:
    simulator = start(callback_url=None)
    simulator.callback_url = receiver.url

    post(simulator, to=ALICE)

    assert simulator.wait_until_idle(10)
    assert len(receiver.events) == 1


def test_without_a_callback_url_what_is_queued_is_dropped(simulator: Simulator, receiver: CallbackReceiver) -> None:
    receiver.plan([Reply(hold=(release := threading.Event()), status=500)])
    post(simulator, to="+12005564404")
    assert receiver.arrived.acquire(timeout=10)

    simulator.callback_url = None
    release.set()

    assert simulator.wait_until_idle(10)
    assert len(receiver.received) == 1
