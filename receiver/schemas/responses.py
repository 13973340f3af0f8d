"""What is answered, in JSON. Field names are Bandwidth's own; times are in UTC and end in Z.

Events in JSON, with their payload.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from marshmallow import EXCLUDE, Schema, fields, validate

from receiver.core.events import LinkedBy, Source
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, Disposition, RecipientStatus
from receiver.schemas.fields import Instant, means


class Answer(Schema):
    """Every field is always there; one that may be null says so with ``allow_none``."""

    class Meta:
        unknown = EXCLUDE  # a later version may answer more

    def on_bind_field(self, _name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = True


class RecipientSchema(Answer):
    """One recipient in an answer."""

    to = fields.String(metadata=means("The recipient's number."))
    status = fields.Enum(RecipientStatus, by_value=True, metadata=means("The outcome for this recipient."))
    error_code = fields.Integer(
        data_key="errorCode", allow_none=True, metadata=means("Bandwidth's error code, if the status comes with one.")
    )
    error_name = fields.String(data_key="errorName", allow_none=True, metadata=means("What that code is called."))
    description = fields.String(allow_none=True, metadata=means("Bandwidth's sentence about it."))
    confirmed_by = fields.Enum(
        ConfirmedBy, by_value=True, data_key="confirmedBy", allow_none=True, metadata=means("Whose word delivered is.")
    )
    invalid_recipient = fields.Boolean(
        data_key="invalidRecipient", metadata=means("Whether a failure said that this number cannot receive.")
    )
    overdue = fields.Boolean(metadata=means("Whether the outcome should be known by now and is not."))
    occurred_at = Instant(data_key="occurredAt", allow_none=True, metadata=means("When Bandwidth says it happened."))
    updated_at = Instant(data_key="updatedAt", metadata=means("When this recipient last changed."))


class FieldErrorSchema(Answer):
    """What Bandwidth found wrong with one field, in its own form."""

    field_name = fields.String(data_key="fieldName", metadata=means("The name of a field of the message."))
    description = fields.String(metadata=means("What is wrong with it."))


class ErrorSchema(Answer):
    """What Bandwidth, or the way to it, said against a message."""

    status = fields.Integer(allow_none=True, metadata=means("Bandwidth's HTTP status; null if it did not answer."))
    type = fields.String(allow_none=True, metadata=means("Bandwidth's word for the error."))
    description = fields.String(allow_none=True, metadata=means("A sentence about it."))
    field_errors = fields.List(
        fields.Nested(FieldErrorSchema), data_key="fieldErrors", metadata=means("The fields that Bandwidth refused.")
    )


SummarySchema = Answer.from_dict(
    {
        "total": fields.Integer(metadata=means("All recipients.")),
        **{each.value: fields.Integer(metadata=means(f"Those whose status is `{each}`.")) for each in RecipientStatus},
        "overdue": fields.Integer(metadata=means("Those whose outcome should be known by now and is not.")),
    },
    name="SummarySchema",
)


class MessageSchema(Answer):
    """A message in an answer."""

    tag = fields.String(metadata=means("Our identifier of the message, which Bandwidth repeats in every event."))
    reference = fields.String(allow_none=True, metadata=means("Your own word for the message."))
    message_id = fields.String(
        data_key="messageId", allow_none=True, metadata=means("Bandwidth's id of the message, once it is known.")
    )
    message_ids = fields.List(
        fields.String(), data_key="messageIds", metadata=means("Every id that Bandwidth ever gave it.")
    )
    sent_twice = fields.Boolean(data_key="sentTwice", metadata=means("Whether these are more than one."))
    application_id = fields.String(data_key="applicationId", metadata=means("Bandwidth's application."))
    sender = fields.String(data_key="from", metadata=means("The number or id that it is sent from."))
    text = fields.String(allow_none=True, metadata=means("The text."))
    media = fields.List(fields.String(), metadata=means("The URLs of pictures and other media."))
    priority = fields.String(allow_none=True, metadata=means("As it was asked for."))
    expiration = Instant(allow_none=True, metadata=means("When it must not be sent any more."))
    segment_count = fields.Integer(
        data_key="segmentCount", allow_none=True, metadata=means("As Bandwidth counts; 1 for MMS.")
    )
    send_status = fields.Enum(
        SendStatus, by_value=True, data_key="sendStatus", metadata=means("What became of the request to Bandwidth.")
    )
    refused_because = fields.Enum(
        RefusedBecause,
        by_value=True,
        data_key="refusedBecause",
        allow_none=True,
        metadata=means("Why it was not sent."),
    )
    error = fields.Nested(ErrorSchema, allow_none=True, metadata=means("What was said against the message."))
    asked_by = fields.String(
        data_key="askedBy",
        allow_none=True,
        metadata=means(
            "The name of the API key that asked for it; empty for the commands, null if it was not kept then."
        ),
    )
    created_at = Instant(data_key="createdAt", metadata=means("When you asked for it."))
    submitted_at = Instant(
        data_key="submittedAt", allow_none=True, metadata=means("When the last request to Bandwidth went out.")
    )
    updated_at = Instant(data_key="updatedAt", metadata=means("When anything about it last changed."))
    summary = fields.Nested(SummarySchema, metadata=means("The recipients, counted."))
    complete = fields.Boolean(metadata=means("Whether the outcome of every recipient is final."))
    recipients = fields.List(fields.Nested(RecipientSchema), metadata=means("In the request's order."))


class PageSchema(Answer):
    """Some messages of a list."""

    messages = fields.List(fields.Nested(MessageSchema), metadata=means("Newest first."))
    next_cursor = fields.String(
        data_key="nextCursor", allow_none=True, metadata=means("The `cursor` of the next page; null on the last.")
    )


class EventSchema(Answer):
    """An event in an answer."""

    type = fields.String(metadata=means("Bandwidth's own word, such as `message-delivered`."))
    to = fields.String(allow_none=True, metadata=means("The recipient that it is about, if it names one."))
    error_code = fields.Integer(data_key="errorCode", allow_none=True, metadata=means("Bandwidth's error code."))
    description = fields.String(allow_none=True, metadata=means("Bandwidth's sentence about it."))
    occurred_at = Instant(
        data_key="occurredAt",
        allow_none=True,
        metadata=means("Bandwidth's time of it; the earliest, if it came again."),
    )
    first_received_at = Instant(data_key="firstReceivedAt", metadata=means("When it first came, by our clock."))
    last_received_at = Instant(data_key="lastReceivedAt", metadata=means("When it last came."))
    deliveries = fields.Integer(metadata=means("How often it came."))
    disposition = fields.Enum(
        Disposition, by_value=True, metadata=means("What it is to its recipient, by the present facts.")
    )
    linked_by = fields.String(
        data_key="linkedBy",
        allow_none=True,
        validate=validate.OneOf([each.value for each in LinkedBy]),
        metadata=means("How its message was found."),
    )
    source = fields.String(
        validate=validate.OneOf([each.value for each in Source]),
        metadata=means("Whether Bandwidth posted it, or was asked by `receiver reconcile`."),
    )
    payload = fields.Dict(metadata=means("What Bandwidth sent, as it came."))


class EventsSchema(Answer):
    """What Bandwidth said about a message."""

    events = fields.List(fields.Nested(EventSchema), metadata=means("First received first."))


class PaceSchema(Answer):
    """How quickly messages go out, in recipients x segments per second."""

    rate = fields.Float(allow_none=True, metadata=means("At most, by `BANDWIDTH_RATE`; null is no limit."))
    sender_rate = fields.Float(
        data_key="senderRate", allow_none=True, metadata=means("The same for each sender, by `BANDWIDTH_SENDER_RATE`.")
    )
    last_minute = fields.Float(
        data_key="lastMinute", metadata=means("What Bandwidth was asked to send in the last minute.")
    )
    paused_until = Instant(
        data_key="pausedUntil", allow_none=True, metadata=means("Until when Bandwidth's 429 holds everything up.")
    )
    credentials_refused_since = Instant(
        data_key="credentialsRefusedSince",
        allow_none=True,
        metadata=means("Since when workers pause because Bandwidth refuses the credentials of this service."),
    )


class QueueSchema(Answer):
    """How sending is going."""

    queued = fields.Integer(metadata=means("How many messages wait for a worker."))
    oldest_queued_at = Instant(
        data_key="oldestQueuedAt", allow_none=True, metadata=means("Since when the oldest of them waits.")
    )
    oldest_queued_seconds = fields.Float(
        data_key="oldestQueuedSeconds", allow_none=True, metadata=means("The same, in seconds.")
    )
    unknown_ = fields.Integer(  # a schema has another unknown of its own
        data_key="unknown",
        attribute="unknown",
        metadata=means("Of how many messages nobody can say whether they were sent."),
    )
    pace = fields.Nested(PaceSchema, metadata=means("How quickly messages go out."))


class TallySchema(Answer):
    """What became of the elements of a callback; for people, Bandwidth ignores it."""

    recorded = fields.Integer(metadata=means("Events that are new."))
    duplicates = fields.Integer(metadata=means("Events that say what a stored one said."))
    unlinked = fields.Integer(metadata=means("Those of the new ones that match no message of ours."))
    unreadable = fields.Integer(metadata=means("Elements that are no events; kept as they are."))


class ProblemSchema(Schema):
    """An error (RFC 9457)."""

    class Meta:
        unknown = EXCLUDE

    type = fields.String(required=True, metadata=means("Always `about:blank`: the status says what it is."))
    title = fields.String(required=True, metadata=means("The status in words."))
    status = fields.Integer(required=True, metadata=means("The HTTP status."))
    detail = fields.String(required=True, metadata=means("What is wrong and what to do, in plain words."))
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=means("What is wrong with each field; an element of an array is named like `to[0]`."),
    )
    tag = fields.String(metadata=means("The message's tag, if it is stored."))
    send_status = fields.Enum(
        SendStatus, by_value=True, data_key="sendStatus", metadata=means("What became of the request to Bandwidth.")
    )


MESSAGE, PAGE, QUEUE, _EVENT = MessageSchema(), PageSchema(), QueueSchema(), EventSchema(exclude=["payload"])
"""One of each for all: to make a schema takes longer than to write an answer with it."""


class _Payload(Protocol):
    """Anything that keeps Bandwidth's JSON text."""

    @property
    def payload(self) -> str: ...


def event_text(event: _Payload) -> str:
    """The JSON text of an event."""
    return with_payload(_EVENT.dump(event), event.payload)


def with_payload(fields: Mapping[str, Any], payload: str) -> str:
    """The payload goes out as the text that came in: decoding could not keep every number that JSON can hold."""
    return f'{json.dumps(fields)[:-1]}, "payload": {payload}}}'
