"""Which process uploads which blob."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "image_syncer_blob_claims",
        sa.Column("registry", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
    )
    op.create_table(
        "image_syncer_claimers",
        sa.Column("holder", sa.Text, primary_key=True),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("shares", sa.Boolean, nullable=False),
    )
