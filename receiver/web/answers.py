"""What is answered, in JSON. Field names are Bandwidth's own; times are in UTC and end in Z."""

from marshmallow import Schema, fields

from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, Disposition, RecipientStatus
from receiver.web.fields import Instant


class RecipientSchema(Schema):
    """One recipient in an answer."""

    to = fields.String()
    status = fields.Enum(RecipientStatus, by_value=True)
    error_code = fields.Integer(data_key="errorCode")
    error_name = fields.String(data_key="errorName")
    description = fields.String()
    confirmed_by = fields.Enum(ConfirmedBy, by_value=True, data_key="confirmedBy")
    invalid_recipient = fields.Boolean(data_key="invalidRecipient")
    overdue = fields.Boolean()
    occurred_at = Instant(data_key="occurredAt")
    updated_at = Instant(data_key="updatedAt")


class FieldErrorSchema(Schema):
    """What Bandwidth found wrong with one field, in its own form."""

    field_name = fields.String(data_key="fieldName")
    description = fields.String()


class ErrorSchema(Schema):
    """What Bandwidth, or the way to it, said against a message."""

    status = fields.Integer()
    type = fields.String()
    description = fields.String()
    field_errors = fields.List(fields.Nested(FieldErrorSchema), data_key="fieldErrors")


class MessageSchema(Schema):
    """A message in an answer."""

    tag = fields.String()
    reference = fields.String()
    message_id = fields.String(data_key="messageId")
    message_ids = fields.List(fields.String(), data_key="messageIds")
    sent_twice = fields.Boolean(data_key="sentTwice")
    application_id = fields.String(data_key="applicationId")
    sender = fields.String(data_key="from")
    text = fields.String()
    media = fields.List(fields.String())
    priority = fields.String()
    expiration = Instant()
    segment_count = fields.Integer(data_key="segmentCount")
    send_status = fields.Enum(SendStatus, by_value=True, data_key="sendStatus")
    refused_because = fields.Enum(RefusedBecause, by_value=True, data_key="refusedBecause")
    error = fields.Nested(ErrorSchema)
    created_at = Instant(data_key="createdAt")
    submitted_at = Instant(data_key="submittedAt")
    updated_at = Instant(data_key="updatedAt")
    summary = fields.Dict(keys=fields.String(), values=fields.Integer())
    complete = fields.Boolean()
    recipients = fields.List(fields.Nested(RecipientSchema))


class EventSchema(Schema):
    """An event in an answer, but for its payload, which is JSON already."""

    type = fields.String()
    to = fields.String()
    error_code = fields.Integer(data_key="errorCode")
    description = fields.String()
    occurred_at = Instant(data_key="occurredAt")
    first_received_at = Instant(data_key="firstReceivedAt")
    last_received_at = Instant(data_key="lastReceivedAt")
    deliveries = fields.Integer()
    disposition = fields.Enum(Disposition, by_value=True)
    linked_by = fields.String(data_key="linkedBy")
    source = fields.String()


class PaceSchema(Schema):
    """How quickly messages go out, in recipients x segments per second."""

    rate = fields.Float()
    sender_rate = fields.Float(data_key="senderRate")
    last_minute = fields.Float(data_key="lastMinute")
    paused_until = Instant(data_key="pausedUntil")


class QueueSchema(Schema):
    """How sending is going."""

    queued = fields.Integer()
    oldest_queued_at = Instant(data_key="oldestQueuedAt")
    oldest_queued_seconds = fields.Float(data_key="oldestQueuedSeconds")
    unknown_ = fields.Integer(data_key="unknown", attribute="unknown")  # a schema has another unknown of its own
    pace = fields.Nested(PaceSchema)
