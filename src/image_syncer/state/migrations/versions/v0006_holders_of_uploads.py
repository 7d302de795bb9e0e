"""Which process works on an upload."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; it is null for existing uploads."""
    op.add_column("image_syncer_uploads", sa.Column("holder", sa.Text, nullable=False, server_default=""))
