"""The tables that sending needs besides the messages: keys of callers, and lanes of the pace."""

from datetime import datetime

from sqlalchemy import Float, ForeignKey, Index, String
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
