"""The JSON of our API: what is accepted, and what is answered. Field names are Bandwidth's own."""

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, pre_load, validate, validates_schema

from receiver.config import Settings
from receiver.core import numbers, times
from receiver.core.events import MAX_MESSAGE_ID, is_storable
from receiver.core.messages import OutboundMessage
from receiver.core.send_status import RefusedBecause, SendStatus
from receiver.core.status import ConfirmedBy, Disposition, RecipientStatus
from receiver.core.tags import is_tag
from receiver.errors import FieldErrors, InvalidFields

MAX_REFERENCE, MAX_TEXT, MAX_MEDIA, MAX_MEDIA_URL, MAX_APPLICATION_ID = 255, 2048, 10, 4096, 255
MAX_PAGE, DEFAULT_PAGE = 200, 50


class Text(fields.String):
    """A string that a database takes."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if not is_storable(text):
            raise ValidationError("Must not contain NUL or a lone surrogate.")
        return text


class Instant(fields.Field[datetime]):
    """RFC 3339; without a zone it is UTC; answers are in UTC and end in Z."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else times.rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        instant = times.parse(value)
        if instant is None:
            raise ValidationError("Must be an RFC 3339 time from 2000 to 2100, such as 2030-01-31T09:30:00Z.")
        return instant


class Number(Text):
    """A telephone number in a query, where ``+`` reads as a space unless it was escaped."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        return "+" + text[1:] if text.startswith(" ") else text


class Count(fields.Field[int]):
    """A number in a query: a few ASCII digits, nothing else that int() would read."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise ValidationError("Must be a number in digits.")
        return int(value)


def _check_e164(value: str) -> None:
    if not numbers.is_e164(value):
        raise ValidationError("Must be an E.164 number such as +19195551234.")


def _check_sender(value: str) -> None:
    if not numbers.is_sender(value):
        raise ValidationError("Must be an E.164 number such as +19195551234, a short code or an alphanumeric id.")


def _check_url(value: str) -> None:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValidationError("Must be an http or https URL.")


def _check_tag(value: str) -> None:
    if not is_tag(value):
        raise ValidationError("Must be the nextCursor of the page before.")


class MessageRequest(Schema):
    """The body of ``POST /messages``. The limits are Bandwidth's (dev.bandwidth.com, "Create message")."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "Is not a field of a message.", "type": "Must be a JSON object."}  # noqa: RUF012

    to = fields.List(
        Text(validate=_check_e164),
        required=True,
        validate=validate.Length(1, numbers.MAX_RECIPIENTS, error="Must hold {min} to {max} numbers."),
        error_messages={"invalid": "Must be an array of numbers.", "required": "Is required."},
    )
    sender = Text(
        data_key="from",
        required=True,
        validate=_check_sender,
        error_messages={"required": "Is required, because BANDWIDTH_FROM sets no default."},
    )
    text = Text(load_default=None, validate=validate.Length(1, MAX_TEXT))
    media = fields.List(
        Text(validate=[validate.Length(1, MAX_MEDIA_URL), _check_url]),
        load_default=[],
        validate=validate.Length(max=MAX_MEDIA, error="Must hold at most {max} URLs."),
        error_messages={"invalid": "Must be an array of URLs."},
    )
    application_id = Text(
        data_key="applicationId",
        required=True,
        validate=validate.Length(1, MAX_APPLICATION_ID),
        error_messages={"required": "Is required, because BANDWIDTH_APPLICATION_ID sets no default."},
    )
    priority = Text(load_default=None, validate=validate.OneOf(["default", "high"]))
    expiration = Instant(load_default=None)
    reference = Text(load_default=None, validate=validate.Length(1, MAX_REFERENCE))
    tag = Text(load_default=None, validate=validate.Length(1, MAX_REFERENCE))

    @pre_load
    def drop_nulls(self, given: Any, **_: Any) -> Any:
        """``null`` is the same as absent."""
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @validates_schema(skip_on_field_errors=False)
    def check_together(self, given: dict[str, Any], **_: Any) -> None:
        errors: dict[str, list[str]] = {}
        to = given.get("to", [])
        if len(set(to)) < len(to):
            errors["to"] = ["Must not repeat a number."]
        if given.get("text", "") is None and given.get("media", "") == []:
            errors["text"] = ["Is required unless media is given."]
        if given.get("expiration") and given["expiration"] <= times.now():
            errors["expiration"] = ["Must be in the future."]
        if given.get("tag") and given.get("reference") and given["tag"] != given["reference"]:
            errors["tag"] = ["Is the message's reference here, and differs from the reference given."]
        if errors:
            raise ValidationError(errors)

    @post_load
    def tag_is_reference(self, given: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The application's word for the message; the tag on the wire is ours."""
        tag = given.pop("tag")
        return given | {"reference": given["reference"] or tag}


class MessagesQuery(Schema):
    """The filters of ``GET /messages``."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "Is not a filter."}  # noqa: RUF012

    reference = Text(validate=validate.Length(1, MAX_REFERENCE))
    message_id = Text(data_key="messageId", validate=validate.Length(1, MAX_MESSAGE_ID))
    to = Number(validate=_check_e164)
    sender = Number(data_key="from", validate=_check_sender)
    send_status = fields.Enum(SendStatus, by_value=True, data_key="sendStatus")
    status = fields.Enum(RecipientStatus, by_value=True)
    complete = fields.Boolean(truthy={"true"}, falsy={"false"}, error_messages={"invalid": "Must be true or false."})
    since = Instant()
    until = Instant()
    updated_since = Instant(data_key="updatedSince")
    limit = Count(load_default=DEFAULT_PAGE, validate=validate.Range(1, MAX_PAGE))
    after_tag = Text(data_key="cursor", validate=_check_tag)


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


class ErrorSchema(Schema):
    """What Bandwidth, or the way to it, said against a message."""

    status = fields.Integer()
    type = fields.String()
    description = fields.String()


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


def read_message(given: Any, settings: Settings) -> OutboundMessage:
    """The message that a request's JSON asks for, defaults filled in. Raises InvalidFields."""
    if isinstance(given, dict):
        defaults = {"from": settings.bandwidth_from, "applicationId": settings.bandwidth_application_id}
        given = given | {name: value for name, value in defaults.items() if given.get(name) is None}
    fields = load(MessageRequest(), given)
    return OutboundMessage(**fields | {"to": tuple(fields["to"]), "media": tuple(fields["media"])})


def load(schema: Schema, given: Any) -> dict[str, Any]:
    """Raises InvalidFields."""
    try:
        loaded: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call]
        raise InvalidFields(_flat(messages)) from error
    return loaded


def _flat(messages: dict[str, Any]) -> FieldErrors:
    """One list per field; an element of a list is named like ``to[0]``."""
    flat: FieldErrors = {}
    for name, found in messages.items():
        if isinstance(found, dict):
            flat |= {name if place == "_schema" else f"{name}[{place}]": texts for place, texts in found.items()}
        else:
            flat["body" if name == "_schema" else name] = found
    return flat
