"""What is accepted: the body of a message to send, and the filters of a list. Field names are Bandwidth's own."""

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, pre_load, validate, validates_schema

from receiver.config import Settings
from receiver.core import numbers, times
from receiver.core.events import MAX_MESSAGE_ID
from receiver.core.messages import OutboundMessage
from receiver.core.send_status import SendStatus
from receiver.core.status import RecipientStatus
from receiver.errors import FieldErrors, InvalidFields
from receiver.web.fields import Count, Instant, Number, Text, check_e164, check_sender, check_tag, check_url

MAX_REFERENCE, MAX_TEXT, MAX_MEDIA, MAX_MEDIA_URL, MAX_APPLICATION_ID = 255, 2048, 10, 4096, 255
MAX_PAGE, DEFAULT_PAGE = 200, 50


class MessageRequest(Schema):
    """The body of ``POST /messages``. The limits are Bandwidth's (dev.bandwidth.com, "Create message")."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "Is not a field of a message.", "type": "Must be a JSON object."}  # noqa: RUF012

    to = fields.List(
        Text(validate=check_e164),
        required=True,
        validate=validate.Length(1, numbers.MAX_RECIPIENTS, error="Must hold {min} to {max} numbers."),
        error_messages={"invalid": "Must be an array of numbers.", "required": "Is required."},
    )
    sender = Text(
        data_key="from",
        required=True,
        validate=check_sender,
        error_messages={"required": "Is required, because BANDWIDTH_FROM sets no default."},
    )
    text = Text(load_default=None, validate=validate.Length(1, MAX_TEXT))
    media = fields.List(
        Text(validate=[validate.Length(1, MAX_MEDIA_URL), check_url]),
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


MESSAGE = MessageRequest()
"""One for all: to make a schema takes longer than to load with it."""


class MessagesQuery(Schema):
    """The filters of ``GET /messages``."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "Is not a filter."}  # noqa: RUF012

    reference = Text(validate=validate.Length(1, MAX_REFERENCE))
    message_id = Text(data_key="messageId", validate=validate.Length(1, MAX_MESSAGE_ID))
    to = Number(validate=check_e164)
    sender = Number(data_key="from", validate=check_sender)
    send_status = fields.Enum(SendStatus, by_value=True, data_key="sendStatus")
    status = fields.Enum(RecipientStatus, by_value=True)
    complete = fields.Boolean(truthy={"true"}, falsy={"false"}, error_messages={"invalid": "Must be true or false."})
    since = Instant()
    until = Instant()
    updated_since = Instant(data_key="updatedSince")
    limit = Count(load_default=DEFAULT_PAGE, validate=validate.Range(1, MAX_PAGE))
    after_tag = Text(data_key="cursor", validate=check_tag)


def read_message(given: Any, settings: Settings) -> OutboundMessage:
    """The message that a request's JSON asks for, defaults filled in. Raises InvalidFields."""
    if isinstance(given, dict):
        defaults = {"from": settings.bandwidth_from, "applicationId": settings.bandwidth_application_id}
        given = given | {name: value for name, value in defaults.items() if given.get(name) is None}
    fields = load(MESSAGE, given)
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
