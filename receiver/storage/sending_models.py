"""The tables beside those of messages and events: keys of callers, lanes of the pace, and what error codes mean."""

from datetime import datetime

from sqlalchemy import Boolean, Float, ForeignKey, Index, String, Text
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
