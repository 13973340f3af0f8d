"""The next release of the program, as it might be: a copy of this one with one more migration."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]

MIGRATION = '''"""A column, an index and a view that this release does not know."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("campaign", sa.String(length=64), nullable=True))
    op.create_index("messages_campaign_index", "messages", ["campaign"])


def downgrade() -> None:
    op.drop_index("messages_campaign_index", "messages")
    op.drop_column("messages", "campaign")
'''
VIEW = "\n\nCREATE VIEW support_campaigns AS SELECT tag, campaign FROM messages;\n"
COMMENTS = {
    "[views]\n": 'support_campaigns = "A row per message, with its campaign."\n',
    "[columns]\n": 'campaign = "What the message is part of."\n',
}


def make_next_release(folder: Path) -> Path:
    """The folder in which `receiver` is the next release."""
    release = folder / "next"
    for name in ("receiver", "migrations"):
        shutil.copytree(ROOT / name, release / name, ignore=shutil.ignore_patterns("__pycache__"))
    versions, views = release / "migrations" / "versions", release / "migrations" / "views"
    (versions / "0002_campaigns.py").write_text(MIGRATION)
    (views / "0002.sql").write_text((views / "0001.sql").read_text().rstrip() + VIEW)
    comments = (views / "0001.toml").read_text()
    for heading, line in COMMENTS.items():
        assert heading in comments
        comments = comments.replace(heading, heading + line)
    (views / "0002.toml").write_text(comments)
    return release
