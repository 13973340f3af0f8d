"""All tables, with column types that behave alike on SQLite and PostgreSQL.

Comments are the data dictionary that support staff see in PostgreSQL. ``message_id`` is always Bandwidth's own
``message.id``; our key of a message is ``message_pk``.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from receiver.core.events import MAX_MESSAGE_ID, MAX_RECIPIENT, MAX_TAG, MAX_TYPE

Key = BigInteger().with_variant(Integer, "sqlite")
"""A generated key; SQLite generates only an INTEGER."""


def bytewise(length: int) -> String:
    """A text column compared by its bytes, as the rules of truth demand, whatever the database's collation."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class Instant(TypeDecorator[datetime]):
    """An aware datetime. SQLite stores it as sortable text in UTC without a zone: ``2026-11-21 21:53:14.123456``."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_index",
            "uq": "%(table_name)s_%(column_0_N_name)s_unique",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_foreign_key",
            "pk": "%(table_name)s_primary_key",
        }
    )


class Message(Base):
    __tablename__ = "messages"
    __table_args__ = (
        # GET /messages?reference=, and support_messages by reference
        Index("messages_reference_index", "reference"),
        # GET /messages, ?since= and ?until=, newest first; support_messages by day, and newest first
        Index("messages_created_at_index", "created_at"),
        # GET /messages?from= and support_messages by sender, newest first
        Index("messages_sender_created_at_index", "sender", "created_at"),
        # GET /messages?sendStatus=, newest first
        Index("messages_send_status_created_at_index", "send_status", "created_at"),
        # GET /messages?updatedSince=
        Index("messages_updated_at_index", "updated_at"),
        # what workers claim, in this order; messages not claimable yet are skipped without reading the table
        Index(
            "messages_queue_index",
            "urgency",
            "pk",
            "claimable_at",
            postgresql_where=text("send_status = 'queued'"),
            sqlite_where=text("send_status = 'queued'"),
        ),
        {"comment": "One outbound group message, 1 to 10 recipients."},
    )

    pk: Mapped[int] = mapped_column(Key, primary_key=True, comment="Our key of the message; not shown outside.")
    tag: Mapped[str] = mapped_column(
        bytewise(40), unique=True, comment="Our identifier, sent to Bandwidth and echoed in every event."
    )
    reference: Mapped[str | None] = mapped_column(
        bytewise(255), comment="The application's own identifier; need not be unique."
    )
    application_id: Mapped[str] = mapped_column(String(255), comment="Bandwidth's applicationId.")
    sender: Mapped[str] = mapped_column(
        bytewise(MAX_RECIPIENT), comment="from: an E.164 number, a short code or an alphanumeric id."
    )
    text: Mapped[str | None] = mapped_column(Text, comment="The message's text.")
    media: Mapped[str] = mapped_column(Text, comment="JSON array of media URLs; [] when there are none.")
    priority: Mapped[str | None] = mapped_column(String(16), comment="default or high, if asked for.")
    urgency: Mapped[int] = mapped_column(SmallInteger, comment="0 for the priority high, else 1: the queue's order.")
    expiration: Mapped[datetime | None] = mapped_column(Instant, comment="Bandwidth must not send it after this.")
    units: Mapped[int] = mapped_column(comment="Recipients x segments, counted by us: what it takes of the pace.")
    receipts: Mapped[bool] = mapped_column(
        Boolean, comment="Whether an event said that delivery receipts are on; then delivered is the carrier's word."
    )
    segment_count: Mapped[int | None] = mapped_column(comment="As Bandwidth answered; always 1 for MMS.")
    send_status: Mapped[str] = mapped_column(
        String(16), comment="queued, submitting, accepted, refused (known not to have been sent) or unknown."
    )
    refused_because: Mapped[str | None] = mapped_column(
        String(16), comment="bandwidth, rate_limited, unreachable, expired, cancelled or operator."
    )
    error_status: Mapped[int | None] = mapped_column(comment="HTTP status of Bandwidth's refusal, if it answered.")
    error_type: Mapped[str | None] = mapped_column(String(128), comment="Bandwidth's word for the error.")
    error_description: Mapped[str | None] = mapped_column(Text, comment="Bandwidth's sentence about the error.")
    error_fields: Mapped[str | None] = mapped_column(
        Text, comment="JSON array of Bandwidth's fieldErrors, each [field, sentence]; null when there are none."
    )
    attempt: Mapped[int] = mapped_column(comment="How often a request to Bandwidth was begun.")
    failures: Mapped[int] = mapped_column(
        comment="How many of those are known not to have sent it, and were tried again; a 429 does not count."
    )
    claimable_at: Mapped[datetime | None] = mapped_column(
        Instant,
        comment="While queued, when a worker may claim it: at once, after a pause, or when the lease of the worker that"
        " has it ends.",
    )
    deadline: Mapped[datetime | None] = mapped_column(
        Instant, comment="When a message that is still submitting counts as unknown."
    )
    created_at: Mapped[datetime] = mapped_column(Instant, comment="When the application asked for it.")
    submitted_at: Mapped[datetime | None] = mapped_column(Instant, comment="When the last request went out.")
    overdue_at: Mapped[datetime | None] = mapped_column(
        Instant, comment="When every recipient's outcome should be known."
    )
    updated_at: Mapped[datetime] = mapped_column(Instant, comment="When this row last changed.")
    redacted_at: Mapped[datetime | None] = mapped_column(
        Instant,
        comment="When its text, media and numbers were blanked by receiver purge --redact; null: they are there.",
    )
    denied_at: Mapped[datetime | None] = mapped_column(
        Instant,
        comment="When Bandwidth first answered 403 or 404 to it while other messages passed; null otherwise.",
    )
    asked_by: Mapped[str | None] = mapped_column(
        String(255),
        comment="Name of the API key that asked for it; empty for the commands; null before this version.",
    )

    recipients: Mapped[list["Recipient"]] = relationship(order_by="Recipient.position", lazy="raise")
    message_ids: Mapped[list["MessageId"]] = relationship(order_by="MessageId.message_id", lazy="raise")


class Recipient(Base):
    __tablename__ = "recipients"
    __table_args__ = (
        # GET /messages?to= and support_recipients by number, newest first
        Index("recipients_recipient_created_at_index", "recipient", "created_at"),
        # GET /messages?status=, newest first; without delivered, which nearly all are
        Index(
            "recipients_status_created_at_index",
            "status",
            "created_at",
            postgresql_where=text("status <> 'delivered'"),
            sqlite_where=text("status <> 'delivered'"),
        ),
        # GET /messages?complete=false, and support_overdue by number, by day, and newest first: few rows
        Index(
            "recipients_open_index",
            "created_at",
            "recipient",
            postgresql_where=text("status IN ('pending', 'sending', 'sent')"),
            sqlite_where=text("status IN ('pending', 'sending', 'sent')"),
        ),
        # support_recipients by day, and newest first; GET /messages?status=delivered
        Index("recipients_created_at_index", "created_at"),
        # GET /messages?updatedSince=
        Index("recipients_updated_at_index", "updated_at"),
        # recipients_failed_index, which serves support_failures, is in the migration only: it is on an expression
        {"comment": "One number of a message, with its one truthful outcome."},
    )

    message_pk: Mapped[int] = mapped_column(
        Key, ForeignKey(Message.pk), primary_key=True, comment="The message; messages.pk."
    )
    recipient: Mapped[str] = mapped_column(bytewise(MAX_RECIPIENT), primary_key=True, comment="to: the E.164 number.")
    position: Mapped[int] = mapped_column(SmallInteger, comment="Its place in the request, from 0.")
    status: Mapped[str] = mapped_column(
        String(16), comment="pending, sending, sent, unconfirmed, delivered, failed or not_sent."
    )
    standing: Mapped[bytes] = mapped_column(
        LargeBinary,
        comment="The winning statement's rank among all; events only raise it. Empty: none.",
    )
    event_pk: Mapped[int | None] = mapped_column(Key, comment="The winning statement; events.pk.")
    error_code: Mapped[int | None] = mapped_column(comment="Of the winning statement; see error_codes.")
    description: Mapped[str | None] = mapped_column(Text, comment="Of the winning statement, in Bandwidth's words.")
    occurred_at: Mapped[datetime | None] = mapped_column(Instant, comment="Of the winning statement.")
    invalid_recipient: Mapped[bool] = mapped_column(
        Boolean, comment="Whether any failure said that this number cannot receive."
    )
    created_at: Mapped[datetime] = mapped_column(Instant, comment="That of its message, so that an index sorts by it.")
    updated_at: Mapped[datetime] = mapped_column(Instant, comment="When this row last changed.")


class MessageId(Base):
    __tablename__ = "message_ids"
    __table_args__ = (
        # the ids of a message
        Index("message_ids_message_pk_index", "message_pk"),
        # GET /messages?updatedSince=
        Index("message_ids_linked_at_index", "linked_at"),
        {"comment": "Every message id Bandwidth ever named, and the message it stands for once that is known."},
    )

    message_id: Mapped[str] = mapped_column(
        bytewise(MAX_MESSAGE_ID), primary_key=True, comment="Bandwidth's message.id."
    )
    message_pk: Mapped[int | None] = mapped_column(
        Key, ForeignKey(Message.pk), comment="The message, set once and never changed; null until it is known."
    )
    answered: Mapped[bool] = mapped_column(
        Boolean, comment="Whether Bandwidth's answer to our request named it (otherwise only events did)."
    )
    linked_at: Mapped[datetime | None] = mapped_column(Instant, comment="When its message became known.")


UNPARSED: ColumnElement[bool] = literal_column(
    "linked_by IS NULL AND type IN ('message-received', 'requested-location-response', 'suggestion-response')"
    """ AND (keyword IS NULL OR (payload = '{"redacted":true}' AND members IS NOT NULL))"""
)
"""Inbound events that the previous version stored or redacted, whose columns must be read from the payload. The schema
calls them unread. This is SQL text, because an index serves a query only if both use the same words."""

REDACTED = '{"redacted":true}'
"""The payload of a redacted event or element. No event can have it, and it marks the row as redacted already."""

BLANK_REPLY = {"sender": None, "text": None, "media": None, "members": None, "keyword": ""}
"""The reply columns of a redacted event: blank, and marked as read."""


class StoredEvent(Base):
    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("message_id", "recipient", "type", "error_code", name="events_identity_unique"),
        # GET /messages/{tag}/events, and support_events by tag
        Index("events_message_pk_first_received_at_index", "message_pk", "first_received_at"),
        # support_events and support_extraneous by day, and newest first
        Index("events_first_received_at_index", "first_received_at"),
        # support_events and support_extraneous by number, newest first
        Index("events_recipient_first_received_at_index", "recipient", "first_received_at"),
        # support_unlinked and support_inbound by number, by day, and newest first: few rows
        Index(
            "events_unlinked_index",
            "first_received_at",
            "recipient",
            postgresql_where=text("linked_by IS NULL"),
            sqlite_where=text("linked_by IS NULL"),
        ),
        # UNPARSED events, which servers and workers read later
        Index("events_unread_index", "pk", postgresql_where=UNPARSED, sqlite_where=UNPARSED),
        # support_inbound by sender, newest first
        Index(
            "events_sender_first_received_at_index",
            "sender",
            "first_received_at",
            postgresql_where=text("sender IS NOT NULL"),
            sqlite_where=text("sender IS NOT NULL"),
        ),
        # support_opt_outs, and whether a YES of support_inbound follows a STOP
        Index(
            "events_keyword_index",
            "recipient",
            "sender",
            postgresql_where=text("keyword <> ''"),
            sqlite_where=text("keyword <> ''"),
        ),
        {"comment": "What Bandwidth said, each thing once, however often it came."},
    )

    pk: Mapped[int] = mapped_column(Key, primary_key=True, comment="Our key of the event; not shown outside.")
    message_id: Mapped[str] = mapped_column(bytewise(MAX_MESSAGE_ID), comment="Bandwidth's message.id.")
    recipient: Mapped[str] = mapped_column(
        bytewise(MAX_RECIPIENT), comment="The number the event is about; empty when it names none."
    )
    type: Mapped[str] = mapped_column(bytewise(MAX_TYPE), comment="Bandwidth's event type, verbatim.")
    error_code: Mapped[int] = mapped_column(comment="Bandwidth's errorCode; 0 when there is none.")
    message_pk: Mapped[int | None] = mapped_column(
        Key, ForeignKey(Message.pk), comment="The message it is linked to, set once; null while unlinked."
    )
    linked_by: Mapped[str | None] = mapped_column(String(16), comment="tag or messageId; null while unlinked.")
    tag: Mapped[str | None] = mapped_column(String(MAX_TAG), comment="The tag it came with; may be foreign.")
    description: Mapped[str | None] = mapped_column(Text, comment="Bandwidth's sentence; advisory only.")
    occurred_at: Mapped[datetime | None] = mapped_column(
        Instant, comment="Bandwidth's time of the event, the earliest of all deliveries; null if unreadable."
    )
    first_received_at: Mapped[datetime] = mapped_column(Instant, comment="When it first came, by our clock.")
    last_received_at: Mapped[datetime] = mapped_column(Instant, comment="When it last came, by our clock.")
    deliveries: Mapped[int] = mapped_column(comment="How often it came; more than 1 means duplicates.")
    source: Mapped[str] = mapped_column(String(16), comment="callback, or reconcile: asked of Bandwidth by us.")
    payload: Mapped[str] = mapped_column(Text, comment="The event's JSON as it first came, ASCII-escaped.")
    sender: Mapped[str | None] = mapped_column(
        bytewise(MAX_RECIPIENT), comment="from of an inbound event; null while unread, or if it has none."
    )
    text: Mapped[str | None] = mapped_column(
        Text, comment="What the person wrote; null while unread, or if the event has no text."
    )
    media: Mapped[str | None] = mapped_column(
        Text, comment="JSON array of an inbound event's media URLs; null while unread."
    )
    members: Mapped[str | None] = mapped_column(
        Text, comment="JSON array of all numbers that an inbound event was sent to; null while unread."
    )
    keyword: Mapped[str | None] = mapped_column(
        bytewise(16),
        comment="The opt-out or opt-in word that is all of an inbound event's text, in capitals; empty if none;"
        " null while unread.",
    )


class UnreadableCallback(Base):
    __tablename__ = "unreadable_callbacks"
    __table_args__ = (
        # support_unreadable by day, and newest first
        Index("unreadable_callbacks_first_received_at_index", "first_received_at"),
        {"comment": "Elements of callbacks that are no events we can understand, kept raw."},
    )

    pk: Mapped[int] = mapped_column(Key, primary_key=True, comment="Our key; not shown outside.")
    sha256: Mapped[str] = mapped_column(String(64), unique=True, comment="Of the payload, hexadecimal.")
    reason: Mapped[str] = mapped_column(Text, comment="Why it could not be understood.")
    payload: Mapped[str] = mapped_column(Text, comment="The element's JSON text, ASCII-escaped.")
    whole_body: Mapped[bool] = mapped_column(
        Boolean, comment="Whether it is a whole body, nested too deeply to be taken apart, and not one element."
    )
    first_received_at: Mapped[datetime] = mapped_column(Instant, comment="When it first came, by our clock.")
    last_received_at: Mapped[datetime] = mapped_column(Instant, comment="When it last came, by our clock.")
    deliveries: Mapped[int] = mapped_column(comment="How often it came.")


class Resolution(Base):
    __tablename__ = "resolutions"
    __table_args__ = (
        # receiver show, and support_resolutions by tag
        Index("resolutions_message_pk_index", "message_pk"),
        # support_resolutions by day, and newest first
        Index("resolutions_resolved_at_index", "resolved_at"),
        {"comment": "What a person decided about a message of which nobody knew whether it was sent."},
    )

    pk: Mapped[int] = mapped_column(Key, primary_key=True, comment="Our key; not shown outside.")
    message_pk: Mapped[int] = mapped_column(Key, ForeignKey(Message.pk), comment="The message; messages.pk.")
    send_status: Mapped[str] = mapped_column(String(16), comment="What was decided: accepted or refused.")
    reason: Mapped[str] = mapped_column(Text, comment="Why, in that person's words.")
    resolved_by: Mapped[str] = mapped_column(String(255), comment="Who decided.")
    resolved_at: Mapped[datetime] = mapped_column(Instant, comment="When.")


class IdempotencyKeyRow(Base):
    __tablename__ = "idempotency_keys"
    __table_args__ = (
        # the keys that have expired
        Index("idempotency_keys_expires_at_index", "expires_at"),
        # the keys of a message
        Index("idempotency_keys_message_pk_index", "message_pk"),
        {"comment": "Which request of a caller made which message, so that its repeat makes no other."},
    )

    api_key: Mapped[str] = mapped_column(
        bytewise(255), primary_key=True, comment="Name of the caller's API key; empty for the commands."
    )
    key: Mapped[str] = mapped_column(bytewise(255), primary_key=True, comment="The caller's Idempotency-Key.")
    sha256: Mapped[str] = mapped_column(String(64), comment="Of the request's canonical JSON, hexadecimal.")
    message_pk: Mapped[int] = mapped_column(Key, ForeignKey(Message.pk), comment="The message it made; messages.pk.")
    expires_at: Mapped[datetime | None] = mapped_column(
        Instant, comment="When the key may be used anew; null is never."
    )
    repeats: Mapped[int] = mapped_column(
        server_default=text("0"), comment="How often the request came again; lines of a file are not counted."
    )


class LaneRow(Base):
    __tablename__ = "lanes"
    __table_args__ = ({"comment": "What shares a rate of sending: the account, and each sender number."},)

    sender: Mapped[str] = mapped_column(
        bytewise(MAX_RECIPIENT), primary_key=True, comment="The sender; empty for the account."
    )
    next_at: Mapped[datetime] = mapped_column(Instant, comment="When it is free for the next message.")
    paused_until: Mapped[datetime | None] = mapped_column(
        Instant, comment="Of the account: until when nothing is sent, because Bandwidth answered 429."
    )
    pause_seconds: Mapped[float | None] = mapped_column(
        Float, comment="How long that pause was meant to be; the next is twice as long if it follows at once."
    )


class CredentialPauseRow(Base):
    __tablename__ = "credential_pauses"
    __table_args__ = (
        {"comment": "Which credentials Bandwidth refuses, and when the next message is tried with them."},
    )

    credentials: Mapped[str] = mapped_column(
        bytewise(64),
        primary_key=True,
        comment="HMAC-SHA256 of client id, token address and account, keyed by the secret; hexadecimal.",
    )
    denied: Mapped[str] = mapped_column(
        Text, comment="The last different messages in a row that were answered 403 or 404; JSON array of messages.pk."
    )
    paused_at: Mapped[datetime | None] = mapped_column(
        Instant,
        comment="Since when workers pause, because Bandwidth refuses these credentials; null while they do not.",
    )
    probe_at: Mapped[datetime | None] = mapped_column(Instant, comment="When the next message may be tried.")
    probe_seconds: Mapped[float | None] = mapped_column(
        Float, comment="How long the next probe waits for after this one."
    )
    probed_urgency: Mapped[int | None] = mapped_column(
        SmallInteger, comment="The message that was tried last: its urgency."
    )
    probed_pk: Mapped[int | None] = mapped_column(
        Key, comment="The message that was tried last: its messages.pk; the next one follows it in the queue."
    )
    error_status: Mapped[int | None] = mapped_column(comment="HTTP status of the last refusal, if there was one.")
    error_type: Mapped[str | None] = mapped_column(String(128), comment="The word for the last refusal.")
    updated_at: Mapped[datetime] = mapped_column(Instant, comment="When this row last changed.")


class ErrorCodeRow(Base):
    __tablename__ = "error_codes"
    __table_args__ = ({"comment": "What Bandwidth's error codes mean; written by receiver migrate."},)

    code: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Bandwidth's errorCode.")
    name: Mapped[str | None] = mapped_column(String(64), comment="Bandwidth's name for it, if it has one.")
    category: Mapped[str] = mapped_column(String(32), comment="Who refused: Bandwidth or the carrier, and whose fault.")
    billable: Mapped[bool | None] = mapped_column(
        Boolean, comment="Whether Bandwidth bills the attempt; null: unstated."
    )
    reason: Mapped[str] = mapped_column(Text, comment="What happened, in one sentence.")
    advice: Mapped[str] = mapped_column(Text, comment="What to do, in one sentence.")
    remove_number: Mapped[bool] = mapped_column(
        Boolean, comment="Whether the number should leave the lists: it cannot receive, or its owner has opted out."
    )


class ErrorRangeRow(Base):
    __tablename__ = "error_ranges"
    __table_args__ = (
        {"comment": "What the digits of a code say that error_codes has not; written by receiver migrate."},
    )

    first_code: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="The lowest of the range.")
    last_code: Mapped[int] = mapped_column(comment="The highest of the range.")
    category: Mapped[str] = mapped_column(String(32), comment="Who refused: Bandwidth or the carrier, and whose fault.")
    reason: Mapped[str] = mapped_column(Text, comment="What happened, in one sentence.")
    advice: Mapped[str] = mapped_column(Text, comment="What to do, in one sentence.")


METADATA = Base.metadata
"""The metadata of all tables."""
