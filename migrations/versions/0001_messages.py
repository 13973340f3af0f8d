"""Messages, recipients, events, and what Bandwidth said that could not be understood.

At base there are no support views, but the tables stay: a downgrade never costs a row, and the way up takes the tables
as it finds them. To be rid of the rows, drop the database.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def bytewise(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def column(name: str, kind: Any, comment: str, *, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable, comment=comment, **options)


def index(name: str, table: str, columns: list[Any], *, where: str | None = None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition, if_not_exists=True)


def upgrade() -> None:
    op.create_table(
        "error_codes",
        column("code", sa.Integer(), "Bandwidth's errorCode.", autoincrement=False),
        column("name", sa.String(length=64), "Bandwidth's name for it, if it has one.", nullable=True),
        column("category", sa.String(length=32), "Who refused: Bandwidth or the carrier, and whose fault."),
        column("billable", sa.Boolean(), "Whether Bandwidth bills the attempt; null: unstated.", nullable=True),
        column("reason", sa.Text(), "What happened, in one sentence."),
        column("advice", sa.Text(), "What to do, in one sentence."),
        column(
            "remove_number",
            sa.Boolean(),
            "Whether the number should leave the lists: it cannot receive, or its owner has opted out.",
        ),
        sa.PrimaryKeyConstraint("code", name="error_codes_primary_key"),
        comment="What Bandwidth's error codes mean; written by receiver migrate.",
        if_not_exists=True,
    )
    op.create_table(
        "error_ranges",
        column("first_code", sa.Integer(), "The lowest of the range.", autoincrement=False),
        column("last_code", sa.Integer(), "The highest of the range."),
        column("category", sa.String(length=32), "Who refused: Bandwidth or the carrier, and whose fault."),
        column("reason", sa.Text(), "What happened, in one sentence."),
        column("advice", sa.Text(), "What to do, in one sentence."),
        sa.PrimaryKeyConstraint("first_code", name="error_ranges_primary_key"),
        comment="What the digits of a code say that error_codes has not; written by receiver migrate.",
        if_not_exists=True,
    )
    op.create_table(
        "messages",
        column("pk", KEY, "Our key of the message; not shown outside."),
        column("tag", bytewise(40), "Our identifier, sent to Bandwidth and echoed in every event."),
        column("reference", bytewise(255), "The application's own identifier; need not be unique.", nullable=True),
        column("application_id", sa.String(length=255), "Bandwidth's applicationId."),
        column("sender", bytewise(64), "from: an E.164 number, a short code or an alphanumeric id."),
        column("text", sa.Text(), "The message's text.", nullable=True),
        column("media", sa.Text(), "JSON array of media URLs; [] when there are none."),
        column("priority", sa.String(length=16), "default or high, if asked for.", nullable=True),
        column("urgency", sa.SmallInteger(), "0 for the priority high, else 1: the queue's order."),
        column("expiration", INSTANT, "Bandwidth must not send it after this.", nullable=True),
        column("units", sa.Integer(), "Recipients x segments, counted by us: what it takes of the pace."),
        column(
            "receipts",
            sa.Boolean(),
            "Whether an event said that delivery receipts are on; then delivered is the carrier's word.",
        ),
        column("segment_count", sa.Integer(), "As Bandwidth answered; always 1 for MMS.", nullable=True),
        column(
            "send_status",
            sa.String(length=16),
            "queued, submitting, accepted, refused (known not to have been sent) or unknown.",
        ),
        column(
            "refused_because",
            sa.String(length=16),
            "bandwidth, rate_limited, unreachable, expired, cancelled or operator.",
            nullable=True,
        ),
        column("error_status", sa.Integer(), "HTTP status of Bandwidth's refusal, if it answered.", nullable=True),
        column("error_type", sa.String(length=128), "Bandwidth's word for the error.", nullable=True),
        column("error_description", sa.Text(), "Bandwidth's sentence about the error.", nullable=True),
        column(
            "error_fields",
            sa.Text(),
            "JSON array of Bandwidth's fieldErrors, each [field, sentence]; null when there are none.",
            nullable=True,
        ),
        column("attempt", sa.Integer(), "How often a request to Bandwidth was begun."),
        column(
            "failures",
            sa.Integer(),
            "How many of those are known not to have sent it, and were tried again; a 429 does not count.",
        ),
        column(
            "claimable_at",
            INSTANT,
            "While queued, when a worker may claim it: at once, after a pause, or when the lease of the worker that"
            " has it ends.",
            nullable=True,
        ),
        column("deadline", INSTANT, "When a message that is still submitting counts as unknown.", nullable=True),
        column("created_at", INSTANT, "When the application asked for it."),
        column("submitted_at", INSTANT, "When the last request went out.", nullable=True),
        column("overdue_at", INSTANT, "When every recipient's outcome should be known.", nullable=True),
        column("updated_at", INSTANT, "When this row last changed."),
        column(
            "redacted_at",
            INSTANT,
            "When its text, media and numbers were blanked by receiver purge --redact; null: they are there.",
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("pk", name="messages_primary_key"),
        sa.UniqueConstraint("tag", name="messages_tag_unique"),
        comment="One outbound group message, 1 to 10 recipients.",
        if_not_exists=True,
    )
    # GET /messages?reference=, and support_messages by reference
    index("messages_reference_index", "messages", ["reference"])
    # GET /messages, ?since= and ?until=, newest first; support_messages by day, and newest first
    index("messages_created_at_index", "messages", ["created_at"])
    # GET /messages?from= and support_messages by sender, newest first
    index("messages_sender_created_at_index", "messages", ["sender", "created_at"])
    # GET /messages?sendStatus=, newest first
    index("messages_send_status_created_at_index", "messages", ["send_status", "created_at"])
    # GET /messages?updatedSince=
    index("messages_updated_at_index", "messages", ["updated_at"])
    # what workers claim, in this order; what nobody may claim yet is passed over without a look at the table
    index("messages_queue_index", "messages", ["urgency", "pk", "claimable_at"], where="send_status = 'queued'")

    op.create_table(
        "idempotency_keys",
        column("api_key", bytewise(255), "Name of the caller's API key; empty for the commands."),
        column("key", bytewise(255), "The caller's Idempotency-Key."),
        column("sha256", sa.String(length=64), "Of the request's canonical JSON, hexadecimal."),
        column("message_pk", KEY, "The message it made; messages.pk."),
        column("expires_at", INSTANT, "When the key may be used anew; null is never.", nullable=True),
        sa.ForeignKeyConstraint(["message_pk"], ["messages.pk"], name="idempotency_keys_message_pk_foreign_key"),
        sa.PrimaryKeyConstraint("api_key", "key", name="idempotency_keys_primary_key"),
        comment="Which request of a caller made which message, so that its repeat makes no other.",
        if_not_exists=True,
    )
    # the keys that have expired
    index("idempotency_keys_expires_at_index", "idempotency_keys", ["expires_at"])
    # the keys of a message
    index("idempotency_keys_message_pk_index", "idempotency_keys", ["message_pk"])

    op.create_table(
        "lanes",
        column("sender", bytewise(64), "The sender; empty for the account."),
        column("next_at", INSTANT, "When it is free for the next message."),
        column(
            "paused_until",
            INSTANT,
            "Of the account: until when nothing is sent, because Bandwidth answered 429.",
            nullable=True,
        ),
        column(
            "pause_seconds",
            sa.Float(),
            "How long that pause was meant to be; the next is twice as long if it follows at once.",
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("sender", name="lanes_primary_key"),
        comment="What shares a rate of sending: the account, and each sender number.",
        if_not_exists=True,
    )

    op.create_table(
        "unreadable_callbacks",
        column("pk", KEY, "Our key; not shown outside."),
        column("sha256", sa.String(length=64), "Of the payload, hexadecimal."),
        column("reason", sa.Text(), "Why it could not be understood."),
        column("payload", sa.Text(), "The element's JSON text, ASCII-escaped."),
        column(
            "whole_body",
            sa.Boolean(),
            "Whether it is a whole body, nested too deeply to be taken apart, and not one element.",
        ),
        column("first_received_at", INSTANT, "When it first came, by our clock."),
        column("last_received_at", INSTANT, "When it last came, by our clock."),
        column("deliveries", sa.Integer(), "How often it came."),
        sa.PrimaryKeyConstraint("pk", name="unreadable_callbacks_primary_key"),
        sa.UniqueConstraint("sha256", name="unreadable_callbacks_sha256_unique"),
        comment="Elements of callbacks that are no events we can understand, kept raw.",
        if_not_exists=True,
    )
    # support_unreadable by day, and newest first
    index("unreadable_callbacks_first_received_at_index", "unreadable_callbacks", ["first_received_at"])

    op.create_table(
        "events",
        column("pk", KEY, "Our key of the event; not shown outside."),
        column("message_id", bytewise(128), "Bandwidth's message.id."),
        column("recipient", bytewise(64), "The number the event is about; empty when it names none."),
        column("type", bytewise(64), "Bandwidth's event type, verbatim."),
        column("error_code", sa.Integer(), "Bandwidth's errorCode; 0 when there is none."),
        column("message_pk", KEY, "The message it is linked to, set once; null while unlinked.", nullable=True),
        column("linked_by", sa.String(length=16), "tag or messageId; null while unlinked.", nullable=True),
        column("tag", sa.String(length=1024), "The tag it came with; may be foreign.", nullable=True),
        column("description", sa.Text(), "Bandwidth's sentence; advisory only.", nullable=True),
        column(
            "occurred_at",
            INSTANT,
            "Bandwidth's time of the event, the earliest of all deliveries; null if unreadable.",
            nullable=True,
        ),
        column("first_received_at", INSTANT, "When it first came, by our clock."),
        column("last_received_at", INSTANT, "When it last came, by our clock."),
        column("deliveries", sa.Integer(), "How often it came; more than 1 means duplicates."),
        column("source", sa.String(length=16), "callback, or reconcile: asked of Bandwidth by us."),
        column("payload", sa.Text(), "The event's JSON as it first came, ASCII-escaped."),
        sa.ForeignKeyConstraint(["message_pk"], ["messages.pk"], name="events_message_pk_foreign_key"),
        sa.PrimaryKeyConstraint("pk", name="events_primary_key"),
        sa.UniqueConstraint("message_id", "recipient", "type", "error_code", name="events_identity_unique"),
        comment="What Bandwidth said, each thing once, however often it came.",
        if_not_exists=True,
    )
    # GET /messages/{tag}/events, and support_events by tag
    index("events_message_pk_first_received_at_index", "events", ["message_pk", "first_received_at"])
    # support_events and support_extraneous by day, and newest first
    index("events_first_received_at_index", "events", ["first_received_at"])
    # support_events and support_extraneous by number, newest first
    index("events_recipient_first_received_at_index", "events", ["recipient", "first_received_at"])
    # support_unlinked and support_inbound by number, by day, and newest first: few rows
    index("events_unlinked_index", "events", ["first_received_at", "recipient"], where="linked_by IS NULL")

    op.create_table(
        "message_ids",
        column("message_id", bytewise(128), "Bandwidth's message.id."),
        column("message_pk", KEY, "The message, set once and never changed; null until it is known.", nullable=True),
        column(
            "answered", sa.Boolean(), "Whether Bandwidth's answer to our request named it (otherwise only events did)."
        ),
        column("linked_at", INSTANT, "When its message became known.", nullable=True),
        sa.ForeignKeyConstraint(["message_pk"], ["messages.pk"], name="message_ids_message_pk_foreign_key"),
        sa.PrimaryKeyConstraint("message_id", name="message_ids_primary_key"),
        comment="Every message id Bandwidth ever named, and the message it stands for once that is known.",
        if_not_exists=True,
    )
    # the ids of a message
    index("message_ids_message_pk_index", "message_ids", ["message_pk"])
    # GET /messages?updatedSince=
    index("message_ids_linked_at_index", "message_ids", ["linked_at"])

    op.create_table(
        "recipients",
        column("message_pk", KEY, "The message; messages.pk."),
        column("recipient", bytewise(64), "to: the E.164 number."),
        column("position", sa.SmallInteger(), "Its place in the request, from 0."),
        column("status", sa.String(length=16), "pending, sending, sent, unconfirmed, delivered, failed or not_sent."),
        column(
            "standing", sa.LargeBinary(), "The winning statement's rank among all; events only raise it. Empty: none."
        ),
        column("event_pk", KEY, "The winning statement; events.pk.", nullable=True),
        column("error_code", sa.Integer(), "Of the winning statement; see error_codes.", nullable=True),
        column("description", sa.Text(), "Of the winning statement, in Bandwidth's words.", nullable=True),
        column("occurred_at", INSTANT, "Of the winning statement.", nullable=True),
        column("invalid_recipient", sa.Boolean(), "Whether any failure said that this number cannot receive."),
        column("created_at", INSTANT, "That of its message, so that an index sorts by it."),
        column("updated_at", INSTANT, "When this row last changed."),
        sa.ForeignKeyConstraint(["message_pk"], ["messages.pk"], name="recipients_message_pk_foreign_key"),
        sa.PrimaryKeyConstraint("message_pk", "recipient", name="recipients_primary_key"),
        comment="One number of a message, with its one truthful outcome.",
        if_not_exists=True,
    )
    is_open, is_failed = "status IN ('pending', 'sending', 'sent')", "status = 'failed'"
    day = "(CAST(occurred_at AT TIME ZONE 'UTC' AS date))"
    # GET /messages?to= and support_recipients by number, newest first
    index("recipients_recipient_created_at_index", "recipients", ["recipient", "created_at"])
    # GET /messages?status=, newest first; but delivered, which nearly all are
    index("recipients_status_created_at_index", "recipients", ["status", "created_at"], where="status <> 'delivered'")
    # GET /messages?complete=false, and support_overdue by number, by day, and newest first: few rows
    index("recipients_open_index", "recipients", ["created_at", "recipient"], where=is_open)
    # support_recipients by day, and newest first; GET /messages?status=delivered
    index("recipients_created_at_index", "recipients", ["created_at"])
    # GET /messages?updatedSince=
    index("recipients_updated_at_index", "recipients", ["updated_at"])
    if op.get_context().dialect.name == "postgresql":
        # support_failures by day, and newest first, counted without a look at the table
        index("recipients_failed_index", "recipients", [sa.text(day), "error_code", "occurred_at"], where=is_failed)
    else:
        # support_failures, counted without a look at the table; SQLAlchemy reads no expression from an index of SQLite
        index("recipients_failed_index", "recipients", ["occurred_at", "error_code"], where=is_failed)

    op.create_table(
        "resolutions",
        column("pk", KEY, "Our key; not shown outside."),
        column("message_pk", KEY, "The message; messages.pk."),
        column("send_status", sa.String(length=16), "What was decided: accepted or refused."),
        column("reason", sa.Text(), "Why, in that person's words."),
        column("resolved_by", sa.String(length=255), "Who decided."),
        column("resolved_at", INSTANT, "When."),
        sa.ForeignKeyConstraint(["message_pk"], ["messages.pk"], name="resolutions_message_pk_foreign_key"),
        sa.PrimaryKeyConstraint("pk", name="resolutions_primary_key"),
        comment="What a person decided about a message of which nobody knew whether it was sent.",
        if_not_exists=True,
    )
    # receiver show, and support_resolutions by tag
    index("resolutions_message_pk_index", "resolutions", ["message_pk"])
    # support_resolutions by day, and newest first
    index("resolutions_resolved_at_index", "resolutions", ["resolved_at"])


def downgrade() -> None:
    """Keeps the tables; see above."""
