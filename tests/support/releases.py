"""Makes a next release of the program: a copy of this one with one more migration."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]

PRESENT = max(path.name for path in (ROOT / "migrations" / "versions").glob("*.py"))[:4]
"""The newest revision of this release."""
NEXT = f"{int(PRESENT) + 1:04}"
"""The revision that the next release adds."""

MIGRATION = f'''"""A column, an index and a view that this release does not know."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{PRESENT}"
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
    """Makes the next release and returns the folder in which `receiver` is that release."""
    release = folder / "next"
    for name in ("receiver", "migrations"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, release / name, ignore=ignored, symlinks=True)
    versions, views = release / "migrations" / "versions", release / "migrations" / "views"
    (versions / f"{NEXT}_campaigns.py").write_text(MIGRATION)
    newest = max(views.glob("*.sql"))
    (views / f"{NEXT}.sql").write_text(newest.read_text().rstrip() + VIEW)
    comments = newest.with_suffix(".toml").read_text()
    for heading, line in COMMENTS.items():
        assert heading in comments
        comments = comments.replace(heading, heading + line)
    (views / f"{NEXT}.toml").write_text(comments)
    return release
