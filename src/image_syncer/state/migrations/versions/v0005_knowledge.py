"""Where blobs are, what targets named, what filters leave of an index, and uploads that did not end."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the four tables."""
    op.create_table(
        "image_syncer_blobs",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("registry", "digest")),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_syncer_blobs_by_age", "image_syncer_blobs", ["seen_at"])
    op.create_table(
        "image_syncer_copies",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("rule", "repository", "identifier")),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("source", "source_digest", "platforms", "target_digest")
        ),
        sa.Column("confirmed_at", sa.BigInteger, nullable=False),
        sa.Column("written_at", sa.BigInteger),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_syncer_copies_by_repository", "image_syncer_copies", ["repository", "confirmed_at"])
    op.create_index("image_syncer_copies_by_age", "image_syncer_copies", ["confirmed_at"])
    op.create_table(
        "image_syncer_trimmed",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("source_digest", "platforms")),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("trim_version", sa.Integer, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_syncer_trimmed_by_age", "image_syncer_trimmed", ["seen_at"])
    op.create_table(
        "image_syncer_uploads",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("registry", "repository", "digest")),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_syncer_uploads_by_age", "image_syncer_uploads", ["updated_at"])
