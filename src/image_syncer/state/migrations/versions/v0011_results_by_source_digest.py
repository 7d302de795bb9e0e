"""The latest results of an image are found by its digest, for events about what is attached to it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        "image_syncer_results_by_latest_source_digest",
        "image_syncer_results",
        ["source_digest", "id"],
        sqlite_where=sa.text("latest = 1"),
        postgresql_where=sa.text("latest"),
    )
