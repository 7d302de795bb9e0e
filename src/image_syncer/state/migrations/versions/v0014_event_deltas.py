"""Counters of events in PostgreSQL, so that a count of a million events reads some dozen rows.

A trigger inserts a row for each source and status that a statement changes; the count is the sum of these rows. An
insert waits for no other transaction, so writers neither wait for each other nor deadlock, in whatever order they lock
events. About every 64th row sums up the rows that no other transaction holds, and skips the rest.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_COUNTED = """
    INSERT INTO image_syncer_event_deltas (source, status, change)
    SELECT source, status, count(*) FROM image_syncer_events GROUP BY source, status
"""
# The transaction that deletes rows inserts their sum, so each reader sees the one or the other. In the stricter
# isolation levels, where a row that another transaction has deleted meanwhile is an error, nothing is summed up.
_FUNCTION = """
    CREATE FUNCTION image_syncer_count_events_v1() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        lowest bigint;
        highest bigint;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            WITH written AS (
                INSERT INTO image_syncer_event_deltas (source, status, change)
                SELECT source, status, count(*) FROM new_events GROUP BY source, status RETURNING id)
            SELECT min(id), max(id) INTO lowest, highest FROM written;
        ELSIF TG_OP = 'DELETE' THEN
            WITH written AS (
                INSERT INTO image_syncer_event_deltas (source, status, change)
                SELECT source, status, -count(*) FROM old_events GROUP BY source, status RETURNING id)
            SELECT min(id), max(id) INTO lowest, highest FROM written;
        ELSE
            WITH written AS (
                INSERT INTO image_syncer_event_deltas (source, status, change)
                SELECT source, status, sum(c.change) FROM (
                    SELECT source, status, 1 AS change FROM new_events
                    UNION ALL SELECT source, status, -1 FROM old_events) c
                GROUP BY source, status HAVING sum(c.change) <> 0 RETURNING id)
            SELECT min(id), max(id) INTO lowest, highest FROM written;
        END IF;
        IF highest / 64 > (lowest - 1) / 64 AND current_setting('transaction_isolation') = 'read committed' THEN
            WITH free AS (SELECT id FROM image_syncer_event_deltas FOR UPDATE SKIP LOCKED),
            folded AS (
                DELETE FROM image_syncer_event_deltas WHERE id IN (SELECT id FROM free)
                RETURNING source, status, change)
            INSERT INTO image_syncer_event_deltas (source, status, change)
            SELECT source, status, sum(change) FROM folded GROUP BY source, status HAVING sum(change) <> 0;
        END IF;
        RETURN NULL;
    END
    $$
"""
_TRIGGERS = (
    ("inserted", "INSERT", "NEW TABLE AS new_events"),
    ("updated", "UPDATE", "OLD TABLE AS old_events NEW TABLE AS new_events"),
    ("deleted", "DELETE", "OLD TABLE AS old_events"),
)


def upgrade() -> None:
    """Create the table, count the existing events, and keep the count from now on."""
    op.create_table(
        "image_syncer_event_deltas",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name != "postgresql":
        return
    # Rows that other processes write between the count and the triggers would be missed.
    op.execute("LOCK TABLE image_syncer_events IN SHARE ROW EXCLUSIVE MODE")
    op.execute("ALTER TABLE image_syncer_event_deltas SET (autovacuum_vacuum_scale_factor = 0)")
    op.execute("ALTER TABLE image_syncer_event_deltas SET (autovacuum_vacuum_threshold = 1000)")
    op.execute(_COUNTED)
    op.execute(_FUNCTION)
    for name, change, tables in _TRIGGERS:
        op.execute(
            f"CREATE TRIGGER image_syncer_count_events_{name} AFTER {change} ON image_syncer_events "
            f"REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION image_syncer_count_events_v1()"
        )
