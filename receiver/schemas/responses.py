"""Responses in JSON. Field names are Bandwidth's own; times are in UTC and end in Z."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from marshmallow import EXCLUDE, Schema, fields, validate

from receiver.core.events import LinkedBy, Source
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, Disposition, RecipientStatus
from receiver.schemas.fields import InstantField, means


class ResponseSchema(Schema):
    """A response in which every field is always present; one that may be null has ``allow_none``."""

    class Meta:
        unknown = EXCLUDE  # a later version may have further fields

    def on_bind_field(self, _name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = True


class RecipientSchema(ResponseSchema):
    """A recipient of a message."""

    to = fields.String(metadata=means("The recipient's number."))
    status = fields.Enum(RecipientStatus, by_value=True, metadata=means("The outcome for this recipient."))
    error_code = fields.Integer(
        data_key="errorCode", allow_none=True, metadata=means("Bandwidth's error code, if the status comes with one.")
    )
    error_name = fields.String(data_key="errorName", allow_none=True, metadata=means("The name of that code."))
    description = fields.String(allow_none=True, metadata=means("Bandwidth's description, in its own words."))
    confirmed_by = fields.Enum(
        ConfirmedBy,
        by_value=True,
        data_key="confirmedBy",
        allow_none=True,
        metadata=means("Who confirmed the delivery."),
    )
    invalid_recipient = fields.Boolean(
        data_key="invalidRecipient",
        metadata=means("Whether a failure reported that this number cannot receive messages."),
    )
    overdue = fields.Boolean(metadata=means("Whether the outcome should be known by now but is not."))
    occurred_at = InstantField(
        data_key="occurredAt", allow_none=True, metadata=means("When it happened, according to Bandwidth.")
    )
    updated_at = InstantField(data_key="updatedAt", metadata=means("When this recipient last changed."))


class FieldErrorSchema(ResponseSchema):
    """Bandwidth's error for one field, in its own format."""

    field_name = fields.String(data_key="fieldName", metadata=means("The name of a field of the message."))
    description = fields.String(metadata=means("What is wrong with it."))


class ErrorSchema(ResponseSchema):
    """The reason why Bandwidth did not accept a message, or could not be reached."""

    status = fields.Integer(allow_none=True, metadata=means("Bandwidth's HTTP status; null if it did not respond."))
    type = fields.String(allow_none=True, metadata=means("The type of the error, in Bandwidth's words."))
    description = fields.String(allow_none=True, metadata=means("A description of the error."))
    field_errors = fields.List(
        fields.Nested(FieldErrorSchema), data_key="fieldErrors", metadata=means("The fields that Bandwidth rejected.")
    )


SummarySchema = ResponseSchema.from_dict(
    {
        "total": fields.Integer(metadata=means("The number of recipients.")),
        **{
            each.value: fields.Integer(metadata=means(f"Recipients whose status is `{each}`."))
            for each in RecipientStatus
        },
        "overdue": fields.Integer(metadata=means("Recipients whose outcome should be known by now but is not.")),
    },
    name="SummarySchema",
)


class MessageSchema(ResponseSchema):
    """A message and the outcome for each recipient."""

    tag = fields.String(metadata=means("Our identifier for the message, which Bandwidth repeats in every event."))
    reference = fields.String(allow_none=True, metadata=means("Your own identifier for the message."))
    message_id = fields.String(
        data_key="messageId", allow_none=True, metadata=means("Bandwidth's id of the message, once it is known.")
    )
    message_ids = fields.List(
        fields.String(), data_key="messageIds", metadata=means("Every id that Bandwidth has given the message.")
    )
    sent_twice = fields.Boolean(
        data_key="sentTwice", metadata=means("Whether Bandwidth has given it more than one id.")
    )
    application_id = fields.String(data_key="applicationId", metadata=means("The application at Bandwidth."))
    sender = fields.String(data_key="from", metadata=means("The sender: a number or an id."))
    text = fields.String(allow_none=True, metadata=means("The text."))
    media = fields.List(fields.String(), metadata=means("The URLs of pictures and other media."))
    priority = fields.String(allow_none=True, metadata=means("The requested priority."))
    expiration = InstantField(allow_none=True, metadata=means("The message is not sent after this time."))
    segment_count = fields.Integer(
        data_key="segmentCount",
        allow_none=True,
        metadata=means("The number of segments, as Bandwidth counts them; 1 for an MMS."),
    )
    send_status = fields.Enum(
        SendStatus, by_value=True, data_key="sendStatus", metadata=means("The state of the request to Bandwidth.")
    )
    refused_because = fields.Enum(
        RefusedBecause,
        by_value=True,
        data_key="refusedBecause",
        allow_none=True,
        metadata=means("Why the message was not sent."),
    )
    error = fields.Nested(ErrorSchema, allow_none=True, metadata=means("The last error of the request to Bandwidth."))
    asked_by = fields.String(
        data_key="askedBy",
        allow_none=True,
        metadata=means(
            "The name of the API key that requested the message; empty for a command, null if it was not recorded then."
        ),
    )
    created_at = InstantField(data_key="createdAt", metadata=means("When the message was requested."))
    submitted_at = InstantField(
        data_key="submittedAt", allow_none=True, metadata=means("When the last request to Bandwidth was made.")
    )
    updated_at = InstantField(data_key="updatedAt", metadata=means("When anything about the message last changed."))
    summary = fields.Nested(SummarySchema, metadata=means("The recipients, counted by status."))
    complete = fields.Boolean(metadata=means("Whether the outcome of every recipient is final."))
    recipients = fields.List(
        fields.Nested(RecipientSchema), metadata=means("The recipients, in the order of the request.")
    )


class PageSchema(ResponseSchema):
    """One page of a list of messages."""

    messages = fields.List(fields.Nested(MessageSchema), metadata=means("The messages, newest first."))
    next_cursor = fields.String(
        data_key="nextCursor", allow_none=True, metadata=means("The `cursor` of the next page; null on the last.")
    )


class EventSchema(ResponseSchema):
    """An event about a message."""

    type = fields.String(metadata=means("Bandwidth's own type, such as `message-delivered`."))
    to = fields.String(allow_none=True, metadata=means("The recipient that the event is about, if it names one."))
    error_code = fields.Integer(data_key="errorCode", allow_none=True, metadata=means("Bandwidth's error code."))
    description = fields.String(allow_none=True, metadata=means("Bandwidth's description, in its own words."))
    occurred_at = InstantField(
        data_key="occurredAt",
        allow_none=True,
        metadata=means("Bandwidth's time of the event; the earliest if it was repeated."),
    )
    first_received_at = InstantField(
        data_key="firstReceivedAt", metadata=means("When the event first arrived, by our clock.")
    )
    last_received_at = InstantField(data_key="lastReceivedAt", metadata=means("When it last arrived."))
    deliveries = fields.Integer(metadata=means("How often it arrived."))
    disposition = fields.Enum(
        Disposition, by_value=True, metadata=means("What the event means for its recipient, as of now.")
    )
    linked_by = fields.String(
        data_key="linkedBy",
        allow_none=True,
        validate=validate.OneOf([each.value for each in LinkedBy]),
        metadata=means("How the event was linked to its message."),
    )
    source = fields.String(
        validate=validate.OneOf([each.value for each in Source]),
        metadata=means("Whether Bandwidth posted the event, or `receiver reconcile` fetched it."),
    )
    payload = fields.Dict(metadata=means("The JSON that Bandwidth sent, unchanged."))


class EventsSchema(ResponseSchema):
    """The events about a message."""

    events = fields.List(fields.Nested(EventSchema), metadata=means("The events, in order of arrival."))


class PaceSchema(ResponseSchema):
    """The rates of sending, in recipients x segments per second."""

    rate = fields.Float(allow_none=True, metadata=means("The maximum rate, from `BANDWIDTH_RATE`; null is no limit."))
    sender_rate = fields.Float(
        data_key="senderRate",
        allow_none=True,
        metadata=means("The same for each sender, from `BANDWIDTH_SENDER_RATE`."),
    )
    last_minute = fields.Float(
        data_key="lastMinute", metadata=means("The actual rate of requests to Bandwidth in the last minute.")
    )
    paused_until = InstantField(
        data_key="pausedUntil", allow_none=True, metadata=means("When sending resumes after a 429 from Bandwidth.")
    )
    credentials_refused_since = InstantField(
        data_key="credentialsRefusedSince",
        allow_none=True,
        metadata=means("When workers paused because Bandwidth refused the credentials of this service."),
    )


class QueueSchema(ResponseSchema):
    """The queue and the rates of sending."""

    queued = fields.Integer(metadata=means("The number of messages waiting for a worker."))
    oldest_queued_at = InstantField(
        data_key="oldestQueuedAt", allow_none=True, metadata=means("When the oldest of them was queued.")
    )
    oldest_queued_seconds = fields.Float(
        data_key="oldestQueuedSeconds", allow_none=True, metadata=means("How long it has been waiting, in seconds.")
    )
    unknown_ = fields.Integer(  # a schema has an attribute ``unknown`` of its own
        data_key="unknown",
        attribute="unknown",
        metadata=means("The number of messages that may or may not have been sent."),
    )
    pace = fields.Nested(PaceSchema, metadata=means("The sending rates."))


class TallySchema(ResponseSchema):
    """The counts of a callback's elements by what became of them. Bandwidth ignores them; they are meant for people."""

    recorded = fields.Integer(metadata=means("New events."))
    duplicates = fields.Integer(metadata=means("Repetitions of stored events."))
    unlinked = fields.Integer(metadata=means("New events that match no message of ours."))
    unreadable = fields.Integer(metadata=means("Elements that are not events; they are stored unchanged."))


class ProblemSchema(Schema):
    """An error (RFC 9457)."""

    class Meta:
        unknown = EXCLUDE

    type = fields.String(required=True, metadata=means("Always `about:blank`: the status identifies the problem."))
    title = fields.String(required=True, metadata=means("The status in words."))
    status = fields.Integer(required=True, metadata=means("The HTTP status."))
    detail = fields.String(required=True, metadata=means("What is wrong and what to do, in plain words."))
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=means("Error messages by field; an element of an array is named like `to[0]`."),
    )
    tag = fields.String(metadata=means("The tag of the message, if it is stored."))
    send_status = fields.Enum(
        SendStatus, by_value=True, data_key="sendStatus", metadata=means("The state of the request to Bandwidth.")
    )


MESSAGE, PAGE, QUEUE, _EVENT = MessageSchema(), PageSchema(), QueueSchema(), EventSchema(exclude=["payload"])
"""Shared, because making a schema takes longer than writing a response with it."""


class _WithPayload(Protocol):
    """An object with Bandwidth's JSON text."""

    @property
    def payload(self) -> str: ...


def event_text(event: _WithPayload) -> str:
    """The JSON text of an event, with its payload."""
    return with_payload(_EVENT.dump(event), event.payload)


def with_payload(fields: Mapping[str, Any], payload: str) -> str:
    """Returns ``fields`` as JSON text with the payload verbatim: decoding would not preserve every JSON number."""
    return f'{json.dumps(fields)[:-1]}, "payload": {payload}}}'
