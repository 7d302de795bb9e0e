"""Events are claimed for a short time, so that two dispatchers of a fleet do not both work on one; and are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the end of the claim, NULL where there is none, and an index from which events are counted by source."""
    op.add_column("image_syncer_events", sa.Column("claimed_until", sa.BigInteger))
    op.create_index("image_syncer_events_by_source", "image_syncer_events", ["source", "status"])
