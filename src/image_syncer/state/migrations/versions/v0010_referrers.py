"""When the referrers of an image were compared, and which legacy tags were written."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "image_syncer_referrer_checks",
        sa.Column("repository", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("listed", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("checked_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_syncer_referrer_checks_by_age", "image_syncer_referrer_checks", ["checked_at"])
    op.create_index("image_syncer_referrer_checks_by_subject", "image_syncer_referrer_checks", ["subject"])
    op.create_table(
        "image_syncer_attached_tags",
        sa.Column("repository", sa.Text, primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_syncer_attached_tags_by_age", "image_syncer_attached_tags", ["written_at"])
