"""A result has what became of the manifests that are attached to its image."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; earlier results do not say."""
    op.add_column("image_syncer_results", sa.Column("referrers", sa.Text))
