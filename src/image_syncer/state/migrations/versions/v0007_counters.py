"""Counters of events in SQLite, and indexes for lists of many events and images."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COUNTED = """
    INSERT INTO image_syncer_event_counts (source, status, count)
    SELECT source, status, count(*) FROM image_syncer_events GROUP BY source, status
"""
_TRIGGERS = (
    """
    CREATE TRIGGER image_syncer_count_inserted AFTER INSERT ON image_syncer_events BEGIN
        INSERT INTO image_syncer_event_counts (source, status, count) VALUES (new.source, new.status, 1)
            ON CONFLICT (source, status) DO UPDATE SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER image_syncer_count_changed AFTER UPDATE OF status ON image_syncer_events
    WHEN old.status <> new.status BEGIN
        UPDATE image_syncer_event_counts SET count = count - 1 WHERE source = old.source AND status = old.status;
        INSERT INTO image_syncer_event_counts (source, status, count) VALUES (new.source, new.status, 1)
            ON CONFLICT (source, status) DO UPDATE SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER image_syncer_count_deleted AFTER DELETE ON image_syncer_events BEGIN
        UPDATE image_syncer_event_counts SET count = count - 1 WHERE source = old.source AND status = old.status;
    END
    """,
)


def upgrade() -> None:
    """Create the table, count the existing events, and replace indexes."""
    op.create_table(
        "image_syncer_event_counts",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(_COUNTED)
        for trigger in _TRIGGERS:
            op.execute(trigger)
    op.drop_index("image_syncer_events_by_source", "image_syncer_events")
    op.create_index("image_syncer_events_by_source", "image_syncer_events", ["source", "id"])
    op.create_index("image_syncer_events_by_waiting", "image_syncer_events", ["status", "received_at"])
    latest = sa.column("latest", sa.Boolean)
    op.drop_index("image_syncer_results_by_latest", "image_syncer_results")
    for name, columns in (("by_latest", ()), ("by_latest_outcome", ("outcome",)), ("by_latest_rule", ("rule",))):
        op.create_index(
            f"image_syncer_results_{name}",
            "image_syncer_results",
            [*columns, "id"],
            sqlite_where=sa.text("latest = 1"),
            postgresql_where=latest,
        )
