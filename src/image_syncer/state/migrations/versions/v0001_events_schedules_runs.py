"""Events with their copies, schedules, runs with their results.

A migration is history: it spells its tables out and never imports those of today.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    _events()
    _schedules()
    _runs()


def _events() -> None:
    op.create_table(
        "image_syncer_events",
        sa.Column("id", _Id, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("delivery", sa.Text),
        sa.Column("repetition_key", sa.Text, unique=True),
        sa.Column("repetitions", sa.Integer, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("digest", sa.Text),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("decided_at", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("image_syncer_events_by_status", "image_syncer_events", ["status", "id"])
    op.create_index("image_syncer_events_by_repository", "image_syncer_events", ["repository", "id"])
    op.create_index("image_syncer_events_by_age", "image_syncer_events", ["received_at"])
    op.create_table(
        "image_syncer_event_copies",
        sa.Column("event_id", _Id, sa.ForeignKey("image_syncer_events.id", ondelete="CASCADE"), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("finished_at", sa.BigInteger),
        sa.UniqueConstraint("event_id", "source", "target"),
    )
    op.create_index("image_syncer_event_copies_by_pair", "image_syncer_event_copies", ["source", "target"])


def _schedules() -> None:
    op.create_table(
        "image_syncer_schedules",
        sa.Column("rule", sa.Text, primary_key=True),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("planned_for", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("claimed_until", sa.BigInteger),
        sa.Column("last_run_at", sa.BigInteger),
    )
    op.create_index("image_syncer_schedules_by_due", "image_syncer_schedules", ["due_at"])


def _runs() -> None:
    op.create_table(
        "image_syncer_runs",
        sa.Column("id", _Id, primary_key=True),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("copied", "unchanged", "skipped", "failed")),
        *_bytes(),
        sa.Column("source_requests", sa.BigInteger, nullable=False),
        sa.Column("target_requests", sa.BigInteger, nullable=False),
        sa.Column("warnings", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("image_syncer_runs_by_start", "image_syncer_runs", ["started_at"])
    op.create_table(
        "image_syncer_results",
        sa.Column("id", _Id, primary_key=True),
        sa.Column("run_id", _Id, sa.ForeignKey("image_syncer_runs.id", ondelete="CASCADE"), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("rule", "source", "target")),
        *(sa.Column(name, sa.Text) for name in ("source_digest", "target_digest")),
        sa.Column("outcome", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("reason", "side", "step", "remedy")),
        *_bytes(),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_index("image_syncer_results_by_run", "image_syncer_results", ["run_id", "outcome", "id"])
    op.create_index("image_syncer_results_by_target", "image_syncer_results", ["target", "id"])


def _bytes() -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.BigInteger, nullable=False) for name in ("bytes_copied", "bytes_mounted", "bytes_existing")
    ]
