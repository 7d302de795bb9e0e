"""Copies that runs wait for, and how many images of a run no event had announced."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table and the column."""
    op.add_column("image_syncer_runs", sa.Column("unannounced", sa.Integer))
    op.create_table(
        "image_syncer_open_copies",
        sa.Column("run_id", _Id, sa.ForeignKey("image_syncer_runs.id", ondelete="CASCADE"), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("rule", "source", "target")),
        sa.UniqueConstraint("run_id", "source", "target"),
    )
    op.create_index("image_syncer_open_copies_by_pair", "image_syncer_open_copies", ["source", "target"])
