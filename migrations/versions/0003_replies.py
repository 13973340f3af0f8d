"""What people wrote, read once and kept in columns; and which API key asked for a message.

Only columns and indexes are added here. The columns of the events that are stored already stay null, which means
unread: server and worker read them later, a thousand rows at a time, and also what the previous version stores beside
this one. The way down drops the indexes and keeps the columns with what they hold, and the way up takes those that it
finds.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INBOUND = "type IN ('message-received', 'requested-location-response', 'suggestion-response')"
INDEXES = {
    # what server and worker read later, like workers: unread, or redacted by the previous version
    "events_unread_index": (
        ["pk"],
        f"linked_by IS NULL AND {INBOUND} AND (keyword IS NULL"
        """ OR (payload = '{"redacted":true}' AND members IS NOT NULL))""",
    ),
    # support_inbound by sender, newest first
    "events_sender_first_received_at_index": (["sender", "first_received_at"], "sender IS NOT NULL"),
    # support_opt_outs, and whether a YES of support_inbound follows a STOP
    "events_keyword_index": (["recipient", "sender"], "keyword <> ''"),
}


def bytewise(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def add(table: str, *new: sa.Column[Any]) -> None:
    """Adds the columns unless a way down has left them there."""
    present = {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}
    for each in new:
        if each.name not in present:
            op.add_column(table, each)


def upgrade() -> None:
    # In the order in which storing an event locks the two tables, so that neither waits for the other for ever.
    add(
        "events",
        sa.Column("sender", bytewise(64), comment="from of an inbound event; null while unread, or if it has none."),
        sa.Column("text", sa.Text(), comment="What the person wrote; null while unread, or if the event has no text."),
        sa.Column("media", sa.Text(), comment="JSON array of an inbound event's media URLs; null while unread."),
        sa.Column(
            "members",
            sa.Text(),
            comment="JSON array of all numbers that an inbound event was sent to; null while unread.",
        ),
        sa.Column(
            "keyword",
            bytewise(16),
            comment="The opt-out or opt-in word that is all of an inbound event's text, in capitals; empty if none;"
            " null while unread.",
        ),
    )
    add(
        "messages",
        sa.Column(
            "asked_by",
            sa.String(length=255),
            comment="Name of the API key that asked for it; empty for the commands; null before this version.",
        ),
    )
    for name, (columns, where) in INDEXES.items():
        condition = sa.literal_column(where)  # text() would take :true for a parameter
        op.create_index(name, "events", columns, postgresql_where=condition, sqlite_where=condition, if_not_exists=True)


def downgrade() -> None:
    """Drops the indexes, and keeps the columns; see above."""
    for name in INDEXES:
        op.drop_index(name, "events", if_exists=True)
