"""Since when tags are public, and when images were created."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "image_syncer_first_seen",
        sa.Column("repository", sa.Text, primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_syncer_first_seen_by_age", "image_syncer_first_seen", ["seen_at"])
    op.create_table(
        "image_syncer_image_dates",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("created_at", sa.BigInteger),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_syncer_image_dates_by_age", "image_syncer_image_dates", ["recorded_at"])
