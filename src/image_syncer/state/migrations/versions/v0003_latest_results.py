"""The latest result of each image is marked, so that a list of all images needs no look at every run."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_LATEST = """
    UPDATE image_syncer_results SET latest = true
    WHERE id IN (SELECT max(id) FROM image_syncer_results GROUP BY rule, source, target)
"""


def upgrade() -> None:
    """Add the mark, set it for what is there, and make it quick to find."""
    op.add_column("image_syncer_results", sa.Column("latest", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(_LATEST)
    op.create_index("image_syncer_results_by_latest", "image_syncer_results", ["latest", "id"])
