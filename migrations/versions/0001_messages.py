"""Messages, recipients, events, and what Bandwidth said that could not be understood.

At base there are no support views, but the tables stay: a downgrade never costs a row, and the way up takes the tables
as it finds them. To be rid of the rows, drop the database.
"""

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


def upgrade() -> None:
    op.create_table(
        "error_codes",
        sa.Column("code", sa.Integer(), autoincrement=False, nullable=False, comment="Bandwidth's errorCode."),
        sa.Column("name", sa.String(length=64), nullable=True, comment="Bandwidth's name for it, if it has one."),
        sa.Column(
            "category",
            sa.String(length=32),
            nullable=False,
            comment="Who refused: Bandwidth or the carrier, and whose fault.",
        ),
        sa.Column(
            "billable", sa.Boolean(), nullable=True, comment="Whether Bandwidth bills the attempt; null: unstated."
        ),
        sa.Column("advice", sa.Text(), nullable=False, comment="What happened and what to do, in one sentence."),
        sa.PrimaryKeyConstraint("code", name="error_codes_primary_key"),
        comment="What Bandwidth's error codes mean; written by receiver migrate.",
        if_not_exists=True,
    )
    op.create_table(
        "messages",
        sa.Column("pk", KEY, nullable=False, comment="Our key of the message; not shown outside."),
        sa.Column(
            "tag", bytewise(40), nullable=False, comment="Our identifier, sent to Bandwidth and echoed in every event."
        ),
        sa.Column(
            "reference",
            sa.String(length=255),
            nullable=True,
            comment="The application's own identifier; need not be unique.",
        ),
        sa.Column("application_id", sa.String(length=255), nullable=False, comment="Bandwidth's applicationId."),
        sa.Column(
            "sender", bytewise(64), nullable=False, comment="from: an E.164 number, a short code or an alphanumeric id."
        ),
        sa.Column("text", sa.Text(), nullable=True, comment="The message's text."),
        sa.Column("media", sa.Text(), nullable=False, comment="JSON array of media URLs; [] when there are none."),
        sa.Column("priority", sa.String(length=16), nullable=True, comment="default or high, if asked for."),
        sa.Column("expiration", INSTANT, nullable=True, comment="Bandwidth must not send it after this."),
        sa.Column(
            "receipts",
            sa.Boolean(),
            nullable=False,
            comment="Whether an event said that delivery receipts are on; then delivered is the carrier's word.",
        ),
        sa.Column("segment_count", sa.Integer(), nullable=True, comment="As Bandwidth answered; always 1 for MMS."),
        sa.Column(
            "send_status",
            sa.String(length=16),
            nullable=False,
            comment="queued, submitting, accepted, refused (known not to have been sent) or unknown.",
        ),
        sa.Column(
            "refused_because",
            sa.String(length=16),
            nullable=True,
            comment="bandwidth, rate_limited, unreachable, expired, cancelled or operator.",
        ),
        sa.Column(
            "error_status", sa.Integer(), nullable=True, comment="HTTP status of Bandwidth's refusal, if it answered."
        ),
        sa.Column("error_type", sa.String(length=128), nullable=True, comment="Bandwidth's word for the error."),
        sa.Column("error_description", sa.Text(), nullable=True, comment="Bandwidth's sentence about the error."),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="How often a request to Bandwidth was begun."),
        sa.Column(
            "deadline", INSTANT, nullable=True, comment="When a message that is still submitting counts as unknown."
        ),
        sa.Column("created_at", INSTANT, nullable=False, comment="When the application asked for it."),
        sa.Column("submitted_at", INSTANT, nullable=True, comment="When the last request went out."),
        sa.Column("overdue_at", INSTANT, nullable=True, comment="When every recipient's outcome should be known."),
        sa.Column("updated_at", INSTANT, nullable=False, comment="When this row last changed."),
        sa.PrimaryKeyConstraint("pk", name="messages_primary_key"),
        sa.UniqueConstraint("tag", name="messages_tag_unique"),
        comment="One outbound group message, 1 to 10 recipients.",
        if_not_exists=True,
    )
    op.create_index("messages_created_at_index", "messages", ["created_at"], if_not_exists=True)
    op.create_index("messages_reference_index", "messages", ["reference"], if_not_exists=True)
    op.create_index("messages_send_status_tag_index", "messages", ["send_status", "tag"], if_not_exists=True)
    op.create_index("messages_sender_tag_index", "messages", ["sender", "tag"], if_not_exists=True)
    op.create_index("messages_updated_at_index", "messages", ["updated_at"], if_not_exists=True)

    op.create_table(
        "unreadable_callbacks",
        sa.Column("pk", KEY, nullable=False, comment="Our key; not shown outside."),
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="Of the payload, hexadecimal."),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it could not be understood."),
        sa.Column("payload", sa.Text(), nullable=False, comment="The element's JSON text, ASCII-escaped."),
        sa.Column("first_received_at", INSTANT, nullable=False, comment="When it first came, by our clock."),
        sa.Column("last_received_at", INSTANT, nullable=False, comment="When it last came, by our clock."),
        sa.Column("deliveries", sa.Integer(), nullable=False, comment="How often it came."),
        sa.PrimaryKeyConstraint("pk", name="unreadable_callbacks_primary_key"),
        sa.UniqueConstraint("sha256", name="unreadable_callbacks_sha256_unique"),
        comment="Elements of callbacks that are no events we can understand, kept raw.",
        if_not_exists=True,
    )
    op.create_table(
        "events",
        sa.Column("pk", KEY, nullable=False, comment="Our key of the event; not shown outside."),
        sa.Column("message_id", bytewise(128), nullable=False, comment="Bandwidth's message.id."),
        sa.Column(
            "recipient",
            bytewise(64),
            nullable=False,
            comment="The number the event is about; empty when it names none.",
        ),
        sa.Column("type", bytewise(64), nullable=False, comment="Bandwidth's event type, verbatim."),
        sa.Column("error_code", sa.Integer(), nullable=False, comment="Bandwidth's errorCode; 0 when there is none."),
        sa.Column(
            "message_pk", KEY, nullable=True, comment="The message it is linked to, set once; null while unlinked."
        ),
        sa.Column("linked_by", sa.String(length=16), nullable=True, comment="tag or messageId; null while unlinked."),
        sa.Column("tag", sa.String(length=1024), nullable=True, comment="The tag it came with; may be foreign."),
        sa.Column("description", sa.Text(), nullable=True, comment="Bandwidth's sentence; advisory only."),
        sa.Column(
            "occurred_at",
            INSTANT,
            nullable=True,
            comment="Bandwidth's time of the event, the earliest of all deliveries; null if unreadable.",
        ),
        sa.Column("first_received_at", INSTANT, nullable=False, comment="When it first came, by our clock."),
        sa.Column("last_received_at", INSTANT, nullable=False, comment="When it last came, by our clock."),
        sa.Column(
            "deliveries", sa.Integer(), nullable=False, comment="How often it came; more than 1 means duplicates."
        ),
        sa.Column(
            "source", sa.String(length=16), nullable=False, comment="callback, or reconcile: asked of Bandwidth by us."
        ),
        sa.Column("payload", sa.Text(), nullable=False, comment="The event's JSON as it first came, ASCII-escaped."),
        sa.ForeignKeyConstraint(["message_pk"], ["messages.pk"], name="events_message_pk_foreign_key"),
        sa.PrimaryKeyConstraint("pk", name="events_primary_key"),
        sa.UniqueConstraint("message_id", "recipient", "type", "error_code", name="events_identity_unique"),
        comment="What Bandwidth said, each thing once, however often it came.",
        if_not_exists=True,
    )
    op.create_index(
        "events_message_pk_first_received_at_index", "events", ["message_pk", "first_received_at"], if_not_exists=True
    )
    op.create_index("events_first_received_at_index", "events", ["first_received_at"], if_not_exists=True)
    op.create_index("events_recipient_index", "events", ["recipient"], if_not_exists=True)
    op.create_index(
        "events_unlinked_index",
        "events",
        ["first_received_at"],
        postgresql_where=sa.text("linked_by IS NULL"),
        sqlite_where=sa.text("linked_by IS NULL"),
        if_not_exists=True,
    )

    op.create_table(
        "message_ids",
        sa.Column("message_id", bytewise(128), nullable=False, comment="Bandwidth's message.id."),
        sa.Column(
            "message_pk", KEY, nullable=True, comment="The message, set once and never changed; null until it is known."
        ),
        sa.Column(
            "answered",
            sa.Boolean(),
            nullable=False,
            comment="Whether Bandwidth's answer to our request named it (otherwise only events did).",
        ),
        sa.Column("linked_at", INSTANT, nullable=True, comment="When its message became known."),
        sa.ForeignKeyConstraint(["message_pk"], ["messages.pk"], name="message_ids_message_pk_foreign_key"),
        sa.PrimaryKeyConstraint("message_id", name="message_ids_primary_key"),
        comment="Every message id Bandwidth ever named, and the message it stands for once that is known.",
        if_not_exists=True,
    )
    op.create_index("message_ids_linked_at_index", "message_ids", ["linked_at"], if_not_exists=True)
    op.create_index("message_ids_message_pk_index", "message_ids", ["message_pk"], if_not_exists=True)

    op.create_table(
        "recipients",
        sa.Column("message_pk", KEY, nullable=False, comment="The message; messages.pk."),
        sa.Column("recipient", bytewise(64), nullable=False, comment="to: the E.164 number."),
        sa.Column("position", sa.SmallInteger(), nullable=False, comment="Its place in the request, from 0."),
        sa.Column(
            "status",
            sa.String(length=16),
            nullable=False,
            comment="pending, sending, sent, unconfirmed, delivered, failed or not_sent.",
        ),
        sa.Column(
            "standing",
            sa.LargeBinary(),
            nullable=False,
            comment="The winning statement's rank among all; events only raise it. Empty: none.",
        ),
        sa.Column("event_pk", KEY, nullable=True, comment="The winning statement; events.pk."),
        sa.Column("error_code", sa.Integer(), nullable=True, comment="Of the winning statement; see error_codes."),
        sa.Column("description", sa.Text(), nullable=True, comment="Of the winning statement, in Bandwidth's words."),
        sa.Column("occurred_at", INSTANT, nullable=True, comment="Of the winning statement."),
        sa.Column(
            "invalid_recipient",
            sa.Boolean(),
            nullable=False,
            comment="Whether any failure said that this number cannot receive.",
        ),
        sa.Column("updated_at", INSTANT, nullable=False, comment="When this row last changed."),
        sa.ForeignKeyConstraint(["message_pk"], ["messages.pk"], name="recipients_message_pk_foreign_key"),
        sa.PrimaryKeyConstraint("message_pk", "recipient", name="recipients_primary_key"),
        comment="One number of a message, with its one truthful outcome.",
        if_not_exists=True,
    )
    op.create_index(
        "recipients_recipient_message_pk_index", "recipients", ["recipient", "message_pk"], if_not_exists=True
    )
    op.create_index("recipients_status_message_pk_index", "recipients", ["status", "message_pk"], if_not_exists=True)
    op.create_index("recipients_updated_at_index", "recipients", ["updated_at"], if_not_exists=True)
    op.create_index(
        "recipients_failed_index",
        "recipients",
        ["occurred_at", "error_code"],
        postgresql_where=sa.text("status = 'failed'"),
        sqlite_where=sa.text("status = 'failed'"),
        if_not_exists=True,
    )


def downgrade() -> None:
    """Keeps the tables; see above."""
