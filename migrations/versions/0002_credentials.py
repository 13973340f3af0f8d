"""How often a request came again, and the pause of workers whose credentials Bandwidth refuses.

The way down keeps the columns and the table with their rows, and the way up takes those that it finds. The version
before works on with them: every column that it does not know has a default or may be null.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def bytewise(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def column(name: str, kind: Any, comment: str, *, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable, comment=comment, **options)


def add(table: str, new: sa.Column[Any]) -> None:
    """Adds the column unless a way down has left it there."""
    present = {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}
    if new.name not in present:
        op.add_column(table, new)


def upgrade() -> None:
    # In the order in which a request to send locks the two tables, so that neither waits for the other for ever.
    add(
        "messages",
        column(
            "denied_at",
            INSTANT,
            "When Bandwidth first answered 403 or 404 to it while other messages passed; null otherwise.",
            nullable=True,
        ),
    )
    add(
        "idempotency_keys",
        column(
            "repeats",
            sa.Integer(),
            "How often the request came again; lines of a file are not counted.",
            server_default=sa.text("0"),
        ),
    )
    op.create_table(
        "credential_pauses",
        column(
            "credentials",
            bytewise(64),
            "HMAC-SHA256 of client id, token address and account, keyed by the secret; hexadecimal.",
        ),
        column(
            "denied",
            sa.Text(),
            "The last different messages in a row that were answered 403 or 404; JSON array of messages.pk.",
        ),
        column(
            "paused_at",
            INSTANT,
            "Since when workers pause, because Bandwidth refuses these credentials; null while they do not.",
            nullable=True,
        ),
        column("probe_at", INSTANT, "When the next message may be tried.", nullable=True),
        column("probe_seconds", sa.Float(), "How long the next probe waits for after this one.", nullable=True),
        column("probed_urgency", sa.SmallInteger(), "The message that was tried last: its urgency.", nullable=True),
        column(
            "probed_pk",
            KEY,
            "The message that was tried last: its messages.pk; the next one follows it in the queue.",
            nullable=True,
        ),
        column("error_status", sa.Integer(), "HTTP status of the last refusal, if there was one.", nullable=True),
        column("error_type", sa.String(length=128), "The word for the last refusal.", nullable=True),
        column("updated_at", INSTANT, "When this row last changed."),
        sa.PrimaryKeyConstraint("credentials", name="credential_pauses_primary_key"),
        comment="Which credentials Bandwidth refuses, and when the next message is tried with them.",
        if_not_exists=True,
    )


def downgrade() -> None:
    """Keeps the columns and the table; see above."""
