"""The tables beside those of messages and events: keys of callers, lanes of the pace, pauses of credentials, and what
error codes mean."""

from datetime import datetime

from sqlalchemy import Boolean, Float, ForeignKey, Index, SmallInteger, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from receiver.core.events import MAX_RECIPIENT
from receiver.storage.models import Base, Message
from receiver.storage.types import Instant, Key, bytewise

METADATA = Base.metadata
"""Of all tables: these, and those of the models that are imported above."""


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
