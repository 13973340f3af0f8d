"""Requests: the body of a message to send, and the filters of a list. Field names are Bandwidth's own."""

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from receiver.core import numbers, tags, times
from receiver.core.events import MAX_MESSAGE_ID, UNSTORABLE
from receiver.core.messages import OutboundMessage
from receiver.core.send_status import SendStatus
from receiver.core.status import RecipientStatus
from receiver.errors import FieldErrors, InvalidFields
from receiver.schemas.fields import InstantField, means
from receiver.settings import Settings

MAX_REFERENCE, MAX_TEXT, MAX_MEDIA, MAX_MEDIA_URL, MAX_APPLICATION_ID = 255, 2048, 10, 4096, 255
MAX_PAGE, DEFAULT_PAGE = 200, 50


class TextField(fields.String):
    """A string that a database can store."""

    default_error_messages = {"invalid": "Must be a string.", "null": "Must be a string."}  # noqa: RUF012

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if UNSTORABLE.search(text):
            raise ValidationError("Must not contain NUL or a lone surrogate.")
        return text


class NumberField(TextField):
    """A telephone number in a query, where an unescaped ``+`` is decoded to a blank."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        return "+" + text[1:] if text.startswith(" ") else text


class CountField(fields.Field[int]):
    """An integer in a query: up to nine ASCII digits, and nothing else that int() would accept."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise ValidationError("Must be a whole number, in digits only.")
        return int(value)


def characters(shortest: int, longest: int) -> validate.Length:
    """A validator: the text has that many characters."""
    return validate.Length(shortest, longest, error="Must have {min} to {max} characters.")


def has_shape(pattern: str, error: str) -> validate.Regexp:
    """A validator: the whole text matches a regular expression."""
    return validate.Regexp(rf"^(?:{pattern})\Z", error=error)


IS_E164 = has_shape(numbers.E164, "Must be an E.164 number such as +19195551234.")
IS_SENDER = has_shape(
    numbers.SENDER, "Must be an E.164 number such as +19195551234, a short code or an alphanumeric id."
)
# RFC 3986 allows ASCII only; of that neither white space nor a quotation mark.
_IN_URL = "[!#-~]"
IS_URL = has_shape(
    rf"[Hh][Tt][Tt][Pp][Ss]?://(?:\[[0-9A-Fa-f:.]+\]|(?![/?#\[]){_IN_URL}){_IN_URL}*",
    "Must be an http or https URL; percent-encode white space, quotation marks and characters outside ASCII.",
)
IS_CURSOR = has_shape(tags.SHAPE, "Must be the nextCursor of the previous page.")


class MessageRequestSchema(Schema):
    """The body of ``POST /messages``. The limits are Bandwidth's (dev.bandwidth.com, "Create message")."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "Is not a field of a message.", "type": "Must be a JSON object."}  # noqa: RUF012

    to = fields.List(
        TextField(validate=IS_E164),
        required=True,
        validate=validate.Length(1, numbers.MAX_RECIPIENTS, error="Must contain {min} to {max} numbers."),
        error_messages={"invalid": "Must be an array of numbers.", "required": "Is required."},
        metadata=means("The recipients' E.164 numbers, without duplicates and without the sender.", uniqueItems=True),
    )
    sender = TextField(
        data_key="from",
        load_default=None,
        validate=IS_SENDER,
        metadata=means("An E.164 number, a short code or an alphanumeric id. `BANDWIDTH_FROM` may set a default."),
    )
    text = TextField(
        load_default=None, validate=characters(1, MAX_TEXT), metadata=means("Required unless `media` is given.")
    )
    media = fields.List(
        TextField(validate=[characters(1, MAX_MEDIA_URL), IS_URL]),
        load_default=[],
        allow_none=True,
        validate=validate.Length(max=MAX_MEDIA, error="Must contain at most {max} URLs."),
        error_messages={"invalid": "Must be an array of URLs."},
        metadata=means("Percent-encoded URLs of pictures and other media, which Bandwidth fetches."),
    )
    application_id = TextField(
        data_key="applicationId",
        load_default=None,
        validate=characters(1, MAX_APPLICATION_ID),
        metadata=means("The application at Bandwidth. `BANDWIDTH_APPLICATION_ID` may set a default."),
    )
    priority = TextField(
        load_default=None,
        validate=validate.OneOf(["default", "high"]),
        metadata=means("Bandwidth's priority. Messages with `high` also leave our queue first."),
    )
    expiration = InstantField(
        load_default=None,
        metadata=means("The message is not sent after this time, which must be in the future and before 2101."),
    )
    reference = TextField(
        load_default=None,
        validate=characters(1, MAX_REFERENCE),
        metadata=means("Your own identifier for the message. It can be searched for, and need not be unique."),
    )
    tag = TextField(
        load_default=None,
        validate=characters(1, MAX_REFERENCE),
        metadata=means("Another name for `reference`, for clients of Bandwidth's API. Bandwidth itself gets our tag."),
    )

    @validates_schema(skip_on_field_errors=False)
    def check_together(self, given: dict[str, Any], **_: Any) -> None:
        errors: dict[str, list[str]] = {}
        to = given.get("to", [])
        if len(set(to)) < len(to):
            errors["to"] = ["Must not repeat a number."]
        if given.get("sender") in to:
            errors.setdefault("to", []).append("Must not contain the sender, which is from or BANDWIDTH_FROM.")
        if given.get("sender", "") is None:
            errors["from"] = ["Is required, because BANDWIDTH_FROM sets no default."]
        if given.get("application_id", "") is None:
            errors["applicationId"] = ["Is required, because BANDWIDTH_APPLICATION_ID sets no default."]
        if given.get("text", "") is None and given.get("media", "") == []:
            errors["text"] = ["Is required unless media is given."]
        if given.get("expiration") and given["expiration"] <= times.now():
            errors["expiration"] = ["Must be in the future."]
        if given.get("tag") and given.get("reference") and given["tag"] != given["reference"]:
            errors["tag"] = ["Means the same as reference here, but differs from it; send only one of them."]
        if errors:
            raise ValidationError(errors)


MESSAGE = MessageRequestSchema()
"""Shared, because making a schema takes longer than loading with it; so is FILTERS."""

TEXT_OR_MEDIA = [
    {"required": ["text"], "properties": {"text": {"type": "string"}}},
    {"required": ["media"], "properties": {"media": {"type": "array", "minItems": 1}}},
]
"""Every message matches one of these: a rule of check_together() in JSON Schema."""


class MessagesQuerySchema(Schema):
    """The filters of ``GET /messages``."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "Is not a filter."}  # noqa: RUF012

    reference = TextField(
        validate=characters(1, MAX_REFERENCE), metadata=means("Your own identifier for the message.", example="lunch-1")
    )
    reference_prefix = TextField(
        data_key="referencePrefix",
        validate=characters(1, MAX_REFERENCE),
        metadata=means(
            "The beginning of your own identifier for the message; no character is a wildcard.", example="lunch-"
        ),
    )
    message_id = TextField(
        data_key="messageId",
        validate=characters(1, MAX_MESSAGE_ID),
        metadata=means("One of Bandwidth's ids of the message."),
    )
    to = NumberField(validate=IS_E164, metadata=means("The number of a recipient.", example="+12005564404"))
    sender = NumberField(data_key="from", validate=IS_SENDER, metadata=means("The sender."))
    send_status = fields.Enum(
        SendStatus, by_value=True, data_key="sendStatus", metadata=means("The state of the request to Bandwidth.")
    )
    status = fields.Enum(RecipientStatus, by_value=True, metadata=means("The status of a recipient."))
    complete = fields.Boolean(
        truthy={"true"},
        falsy={"false"},
        error_messages={"invalid": "Must be true or false."},
        metadata=means("Whether the outcome of every recipient is final."),
    )
    since = InstantField(metadata=means("Created at this time or later."))
    until = InstantField(metadata=means("Created before this time."))
    updated_since = InstantField(
        data_key="updatedSince",
        metadata=means("Changed at this time or later. When polling, let the intervals overlap by a minute."),
    )
    limit = CountField(
        load_default=DEFAULT_PAGE,
        validate=validate.Range(1, MAX_PAGE, error="Must be from {min} to {max}."),
        metadata=means("The maximum number of messages to return."),
    )
    after_tag = TextField(
        data_key="cursor", validate=IS_CURSOR, metadata=means("The `nextCursor` of the previous page.")
    )


FILTERS = MessagesQuerySchema()


def read_message(given: Any, settings: Settings) -> OutboundMessage:
    """The message that a request's JSON describes, with defaults filled in. Raises InvalidFields.

    ``null`` is the same as absent. A client's ``tag`` becomes the reference: the tag that Bandwidth gets is ours.
    """
    if isinstance(given, dict):
        defaults = {"from": settings.bandwidth_from, "applicationId": settings.bandwidth_application_id}
        given = defaults | {name: value for name, value in given.items() if value is not None}
    fields = load_fields(MESSAGE, given)
    tag = fields.pop("tag")
    fields |= {"to": tuple(fields["to"]), "media": tuple(fields["media"]), "reference": fields["reference"] or tag}
    return OutboundMessage(**fields)


def load_fields(schema: Schema, given: Any) -> dict[str, Any]:
    """The validated fields of a JSON object or a query. Raises InvalidFields."""
    try:
        loaded: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call]
        raise InvalidFields(_flat(messages)) from error
    return loaded


def _flat(messages: dict[str, Any]) -> FieldErrors:
    """Returns marshmallow's messages as one list per field; an element of a list is named like ``to[0]``."""
    flat: FieldErrors = {}
    for name, found in messages.items():
        if isinstance(found, dict):
            flat |= {name if place == "_schema" else f"{name}[{place}]": texts for place, texts in found.items()}
        else:
            flat["body" if name == "_schema" else name] = found
    return flat
