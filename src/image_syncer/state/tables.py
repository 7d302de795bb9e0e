"""The tables of this version; `migrations` creates them revision by revision.

Their names start with `image_syncer_`, since a PostgreSQL database may hold other tables too.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

from image_syncer.state.column_values import (
    PROSE_LIMIT,
    REFERENCE_LIMIT,
    WORD_LIMIT,
    instant_of,
    microseconds,
    words,
)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 in UTC: exact, and the same in both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the stored value."""
        del dialect  # both databases store the same number
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the instant in UTC."""
        del dialect
        return None if value is None else instant_of(value)


class Words(TypeDecorator[str]):
    """A text of at most *limit* characters that both databases can store (`column_values.words`)."""

    impl = Text
    cache_ok = True

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the stored value."""
        del dialect  # both databases store the same text
        return None if value is None else words(value, self.limit)


# SQLite generates identifiers only in a column of the type INTEGER.
_Id: Final = BigInteger().with_variant(Integer(), "sqlite")
_WORD: Final = WORD_LIMIT
_REFERENCE: Final = REFERENCE_LIMIT
_PROSE: Final = PROSE_LIMIT

metadata = MetaData()

events = Table(
    "image_syncer_events",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("source", Words(200), nullable=False),
    Column("delivery", Words(200)),
    # SHA-256 of what repeated deliveries share; NULL without a delivery identifier, or after the repetition window.
    Column("repetition_key", Text, unique=True),
    Column("repetitions", Integer, nullable=False),
    Column("repository", Words(_REFERENCE), nullable=False),
    Column("tag", Words(_REFERENCE), nullable=False),
    Column("digest", Words(_REFERENCE)),
    Column("received_at", Instant, nullable=False),
    Column("status", Words(_WORD), nullable=False),
    # The lease of the dispatcher that handles the event.
    Column("claimed_until", Instant),
    Column("decided_at", Instant),
    Index("image_syncer_events_by_status", "status", "id"),
    Index("image_syncer_events_by_repository", "repository", "id"),
    Index("image_syncer_events_by_age", "received_at"),
    Index("image_syncer_events_by_source", "source", "id"),
    Index("image_syncer_events_by_waiting", "status", "received_at"),
    # Identifiers of pruned rows are not reused.
    sqlite_autoincrement=True,
)

# The number of events by source and status, which triggers maintain in SQLite. In PostgreSQL it stays empty, since
# concurrent transactions would wait for each other's counters: there the number is the sum of `event_deltas`.
event_counts = Table(
    "image_syncer_event_counts",
    metadata,
    Column("source", Words(200), primary_key=True),
    Column("status", Words(_WORD), primary_key=True),
    Column("count", BigInteger, nullable=False),
)

# How statements changed the number of events by source and status. In PostgreSQL triggers insert the rows and sum them
# up now and then (revision 0014). In SQLite it stays empty.
event_deltas = Table(
    "image_syncer_event_deltas",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("source", Words(200), nullable=False),
    Column("status", Words(_WORD), nullable=False),
    Column("change", BigInteger, nullable=False),
)

SQLITE_TRIGGERS: Final = (
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

event_copies = Table(
    "image_syncer_event_copies",
    metadata,
    Column("event_id", _Id, ForeignKey(events.c.id, ondelete="CASCADE"), nullable=False),
    Column("source", Words(_REFERENCE), nullable=False),
    Column("target", Words(_REFERENCE), nullable=False),
    Column("outcome", Words(_WORD)),
    Column("reason", Words(_PROSE)),
    Column("finished_at", Instant),
    UniqueConstraint("event_id", "source", "target"),
    Index("image_syncer_event_copies_by_pair", "source", "target"),
)

schedules = Table(
    "image_syncer_schedules",
    metadata,
    Column("rule", Words(_REFERENCE), primary_key=True),
    Column("schedule", Text, nullable=False),
    Column("planned_for", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("claimed_until", Instant),
    Column("last_run_at", Instant),
    Index("image_syncer_schedules_by_due", "due_at"),
)

runs = Table(
    "image_syncer_runs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("trigger", Words(_WORD), nullable=False),
    Column("rules", Words(_PROSE), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    *(Column(name, Integer, nullable=False) for name in ("copied", "unchanged", "skipped", "failed")),
    *(Column(name, BigInteger, nullable=False) for name in ("bytes_copied", "bytes_mounted", "bytes_existing")),
    Column("source_requests", BigInteger, nullable=False),
    Column("target_requests", BigInteger, nullable=False),
    Column("warnings", Words(_PROSE), nullable=False),
    Column("unannounced", Integer),
    Index("image_syncer_runs_by_start", "started_at"),
    sqlite_autoincrement=True,
)

results = Table(
    "image_syncer_results",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("run_id", _Id, ForeignKey(runs.c.id, ondelete="CASCADE"), nullable=False),
    Column("rule", Words(_REFERENCE), nullable=False),
    Column("source", Words(_REFERENCE), nullable=False),
    Column("target", Words(_REFERENCE), nullable=False),
    Column("source_digest", Words(_REFERENCE)),
    Column("target_digest", Words(_REFERENCE)),
    Column("outcome", Words(_WORD), nullable=False),
    Column("reason", Words(_PROSE)),
    Column("side", Words(_WORD)),
    Column("step", Words(_REFERENCE)),
    Column("remedy", Words(_PROSE)),
    *(Column(name, BigInteger, nullable=False) for name in ("bytes_copied", "bytes_mounted", "bytes_existing")),
    Column("seconds", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Whether it is the newest result of its rule, source and target.
    Column("latest", Boolean, nullable=False, server_default=false()),
    # What became of the attached manifests, as JSON; NULL if they were not looked at.
    Column("referrers", Text),
    Index("image_syncer_results_by_run", "run_id", "outcome", "id"),
    Index("image_syncer_results_by_target", "target", "id"),
)
for _name, _columns in (
    ("by_latest", ()),
    ("by_latest_outcome", (results.c.outcome,)),
    ("by_latest_rule", (results.c.rule,)),
    ("by_latest_source_digest", (results.c.source_digest,)),
):
    # Partial indexes, since SQLite without statistics would prefer an index that begins with `latest`. The condition is
    # spelled as SQLAlchemy compiles that of a query.
    Index(
        f"image_syncer_results_{_name}",
        *_columns,
        results.c.id,
        sqlite_where=text("latest = 1"),
        postgresql_where=results.c.latest,
    )

open_copies = Table(
    "image_syncer_open_copies",
    metadata,
    Column("run_id", _Id, ForeignKey(runs.c.id, ondelete="CASCADE"), nullable=False),
    Column("rule", Words(_REFERENCE), nullable=False),
    Column("source", Words(_REFERENCE), nullable=False),
    Column("target", Words(_REFERENCE), nullable=False),
    UniqueConstraint("run_id", "source", "target"),
    Index("image_syncer_open_copies_by_pair", "source", "target"),
)

# The tables below are caches: rows may be wrong, and losing them only costs requests.

blobs = Table(
    "image_syncer_blobs",
    metadata,
    Column("registry", Words(_REFERENCE), primary_key=True),
    Column("digest", Words(_REFERENCE), primary_key=True),
    Column("repository", Words(_REFERENCE), nullable=False),
    Column("size_bytes", BigInteger),
    Column("seen_at", Instant, nullable=False),
    Index("image_syncer_blobs_by_age", "seen_at"),
)

copies = Table(
    "image_syncer_copies",
    metadata,
    Column("rule", Words(_REFERENCE), primary_key=True),
    # The target is split, since a run reads all tags of a repository at once.
    Column("repository", Words(_REFERENCE), primary_key=True),
    Column("identifier", Words(_REFERENCE), primary_key=True),
    Column("source", Words(_REFERENCE), nullable=False),
    Column("source_digest", Words(_REFERENCE), nullable=False),
    Column("platforms", Text, nullable=False),
    Column("target_digest", Words(_REFERENCE), nullable=False),
    Column("confirmed_at", Instant, nullable=False),
    # When image-syncer wrote that digest; NULL if it only found it.
    Column("written_at", Instant),
    Column("first_seen_at", Instant, nullable=False),
    Index("image_syncer_copies_by_repository", "repository", "confirmed_at"),
    Index("image_syncer_copies_by_age", "confirmed_at"),
)

trimmed = Table(
    "image_syncer_trimmed",
    metadata,
    Column("source_digest", Words(_REFERENCE), primary_key=True),
    Column("platforms", Text, primary_key=True),
    Column("digest", Words(_REFERENCE), nullable=False),
    # The version of the trimming rules, on which the digest depends.
    Column("trim_version", Integer, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Index("image_syncer_trimmed_by_age", "seen_at"),
)

uploads = Table(
    "image_syncer_uploads",
    metadata,
    Column("registry", Words(_REFERENCE), primary_key=True),
    Column("repository", Words(_REFERENCE), primary_key=True),
    Column("digest", Words(_REFERENCE), primary_key=True),
    Column("location", Text, nullable=False),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("holder", Text, nullable=False, server_default=""),
    Index("image_syncer_uploads_by_age", "updated_at"),
)

# What image-syncer found out about registries, such as "speaks plain HTTP" or "refuses this manifest".
host_facts = Table(
    "image_syncer_host_facts",
    metadata,
    Column("host", Words(_REFERENCE), primary_key=True),
    Column("key", Words(_REFERENCE), primary_key=True),
    Column("value", Words(_PROSE), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index("image_syncer_host_facts_by_expiry", "expires_at"),
)

referrer_checks = Table(
    "image_syncer_referrer_checks",
    metadata,
    Column("repository", Words(_REFERENCE), primary_key=True),
    Column("subject", Words(_REFERENCE), primary_key=True),
    Column("listed", Words(_REFERENCE), nullable=False),
    Column("settings", Words(_REFERENCE), nullable=False),
    Column("checked_at", Instant, nullable=False),
    Index("image_syncer_referrer_checks_by_age", "checked_at"),
    Index("image_syncer_referrer_checks_by_subject", "subject"),
)

attached_tags = Table(
    "image_syncer_attached_tags",
    metadata,
    Column("repository", Words(_REFERENCE), primary_key=True),
    Column("tag", Words(_REFERENCE), primary_key=True),
    Column("digest", Words(_REFERENCE), nullable=False),
    Column("written_at", Instant, nullable=False),
    Index("image_syncer_attached_tags_by_age", "written_at"),
)

# Since when tags are public, and when images were created.

first_seen = Table(
    "image_syncer_first_seen",
    metadata,
    Column("repository", Words(_REFERENCE), primary_key=True),
    Column("tag", Words(_REFERENCE), primary_key=True),
    Column("digest", Words(_REFERENCE), primary_key=True),
    Column("first_seen_at", Instant, nullable=False),
    # When it was last seen, within a day.
    Column("seen_at", Instant, nullable=False),
    Index("image_syncer_first_seen_by_age", "seen_at"),
)

image_dates = Table(
    "image_syncer_image_dates",
    metadata,
    Column("digest", Words(_REFERENCE), primary_key=True),
    # NULL: the image has no credible date.
    Column("created_at", Instant),
    Column("recorded_at", Instant, nullable=False),
    Index("image_syncer_image_dates_by_age", "recorded_at"),
)

# Which process uploads which blob, and the processes that claim blobs.

blob_claims = Table(
    "image_syncer_blob_claims",
    metadata,
    Column("registry", Words(_REFERENCE), primary_key=True),
    Column("digest", Words(_REFERENCE), primary_key=True),
    Column("holder", Text, nullable=False),
)

claimers = Table(
    "image_syncer_claimers",
    metadata,
    Column("holder", Text, primary_key=True),
    Column("seen_at", Instant, nullable=False),
    # Whether it knows about others, so that all its claims are in the table.
    Column("shares", Boolean, nullable=False),
)

# What the clock showed when rows were last removed (`trusted_clock`).
clock_looks = Table(
    "image_syncer_clock_looks",
    metadata,
    Column("name", Words(_WORD), primary_key=True),
    Column("seen_at", Instant, nullable=False),
    Column("boot", Words(_REFERENCE), nullable=False),
    # Microseconds since the machine started.
    Column("uptime", BigInteger, nullable=False),
)
