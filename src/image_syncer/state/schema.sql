CREATE TABLE image_syncer_attached_tags (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    written_at BIGINT NOT NULL,
    PRIMARY KEY (repository, tag)
);

CREATE INDEX image_syncer_attached_tags_by_age ON image_syncer_attached_tags (written_at);

CREATE TABLE image_syncer_blob_claims (
    registry TEXT NOT NULL,
    digest TEXT NOT NULL,
    holder TEXT NOT NULL,
    PRIMARY KEY (registry, digest)
);

CREATE TABLE image_syncer_blobs (
    registry TEXT NOT NULL,
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    size_bytes BIGINT,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (registry, digest)
);

CREATE INDEX image_syncer_blobs_by_age ON image_syncer_blobs (seen_at);

CREATE TABLE image_syncer_claimers (
    holder TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    shares BOOLEAN NOT NULL,
    PRIMARY KEY (holder)
);

CREATE TABLE image_syncer_clock_looks (
    name TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    boot TEXT NOT NULL,
    uptime BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE image_syncer_copies (
    rule TEXT NOT NULL,
    repository TEXT NOT NULL,
    identifier TEXT NOT NULL,
    source TEXT NOT NULL,
    source_digest TEXT NOT NULL,
    platforms TEXT NOT NULL,
    target_digest TEXT NOT NULL,
    confirmed_at BIGINT NOT NULL,
    written_at BIGINT,
    first_seen_at BIGINT NOT NULL,
    PRIMARY KEY (rule, repository, identifier)
);

CREATE INDEX image_syncer_copies_by_age ON image_syncer_copies (confirmed_at);

CREATE INDEX image_syncer_copies_by_repository ON image_syncer_copies (repository, confirmed_at);

CREATE TABLE image_syncer_event_counts (
    source TEXT NOT NULL,
    status TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (source, status)
);

CREATE TABLE image_syncer_event_deltas (
    id INTEGER NOT NULL,
    source TEXT NOT NULL,
    status TEXT NOT NULL,
    change BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE image_syncer_events (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    delivery TEXT,
    repetition_key TEXT,
    repetitions INTEGER NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT,
    received_at BIGINT NOT NULL,
    status TEXT NOT NULL,
    claimed_until BIGINT,
    decided_at BIGINT,
    UNIQUE (repetition_key)
);

CREATE INDEX image_syncer_events_by_age ON image_syncer_events (received_at);

CREATE INDEX image_syncer_events_by_repository ON image_syncer_events (repository, id);

CREATE INDEX image_syncer_events_by_source ON image_syncer_events (source, id);

CREATE INDEX image_syncer_events_by_status ON image_syncer_events (status, id);

CREATE INDEX image_syncer_events_by_waiting ON image_syncer_events (status, received_at);

CREATE TABLE image_syncer_first_seen (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (repository, tag, digest)
);

CREATE INDEX image_syncer_first_seen_by_age ON image_syncer_first_seen (seen_at);

CREATE TABLE image_syncer_host_facts (
    host TEXT NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (host, "key")
);

CREATE INDEX image_syncer_host_facts_by_expiry ON image_syncer_host_facts (expires_at);

CREATE TABLE image_syncer_image_dates (
    digest TEXT NOT NULL,
    created_at BIGINT,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (digest)
);

CREATE INDEX image_syncer_image_dates_by_age ON image_syncer_image_dates (recorded_at);

CREATE TABLE image_syncer_referrer_checks (
    repository TEXT NOT NULL,
    subject TEXT NOT NULL,
    listed TEXT NOT NULL,
    settings TEXT NOT NULL,
    checked_at BIGINT NOT NULL,
    PRIMARY KEY (repository, subject)
);

CREATE INDEX image_syncer_referrer_checks_by_age ON image_syncer_referrer_checks (checked_at);

CREATE INDEX image_syncer_referrer_checks_by_subject ON image_syncer_referrer_checks (subject);

CREATE TABLE image_syncer_runs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "trigger" TEXT NOT NULL,
    rules TEXT NOT NULL,
    dry_run BOOLEAN NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT,
    copied INTEGER NOT NULL,
    unchanged INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    bytes_copied BIGINT NOT NULL,
    bytes_mounted BIGINT NOT NULL,
    bytes_existing BIGINT NOT NULL,
    source_requests BIGINT NOT NULL,
    target_requests BIGINT NOT NULL,
    warnings TEXT NOT NULL,
    unannounced INTEGER
);

CREATE INDEX image_syncer_runs_by_start ON image_syncer_runs (started_at);

CREATE TABLE image_syncer_schedules (
    rule TEXT NOT NULL,
    schedule TEXT NOT NULL,
    planned_for BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    claimed_until BIGINT,
    last_run_at BIGINT,
    PRIMARY KEY (rule)
);

CREATE INDEX image_syncer_schedules_by_due ON image_syncer_schedules (due_at);

CREATE TABLE image_syncer_trimmed (
    source_digest TEXT NOT NULL,
    platforms TEXT NOT NULL,
    digest TEXT NOT NULL,
    trim_version INTEGER NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (source_digest, platforms)
);

CREATE INDEX image_syncer_trimmed_by_age ON image_syncer_trimmed (seen_at);

CREATE TABLE image_syncer_uploads (
    registry TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    location TEXT NOT NULL,
    offset_bytes BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    holder TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (registry, repository, digest)
);

CREATE INDEX image_syncer_uploads_by_age ON image_syncer_uploads (updated_at);

CREATE TABLE image_syncer_event_copies (
    event_id INTEGER NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT,
    reason TEXT,
    finished_at BIGINT,
    UNIQUE (event_id, source, target),
    FOREIGN KEY(event_id) REFERENCES image_syncer_events (id) ON DELETE CASCADE
);

CREATE INDEX image_syncer_event_copies_by_pair ON image_syncer_event_copies (source, target);

CREATE TABLE image_syncer_open_copies (
    run_id INTEGER NOT NULL,
    rule TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    UNIQUE (run_id, source, target),
    FOREIGN KEY(run_id) REFERENCES image_syncer_runs (id) ON DELETE CASCADE
);

CREATE INDEX image_syncer_open_copies_by_pair ON image_syncer_open_copies (source, target);

CREATE TABLE image_syncer_results (
    id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    rule TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    source_digest TEXT,
    target_digest TEXT,
    outcome TEXT NOT NULL,
    reason TEXT,
    side TEXT,
    step TEXT,
    remedy TEXT,
    bytes_copied BIGINT NOT NULL,
    bytes_mounted BIGINT NOT NULL,
    bytes_existing BIGINT NOT NULL,
    seconds FLOAT NOT NULL,
    attempts INTEGER NOT NULL,
    latest BOOLEAN DEFAULT 0 NOT NULL,
    referrers TEXT,
    PRIMARY KEY (id),
    FOREIGN KEY(run_id) REFERENCES image_syncer_runs (id) ON DELETE CASCADE
);

CREATE INDEX image_syncer_results_by_latest ON image_syncer_results (id) WHERE latest = 1;

CREATE INDEX image_syncer_results_by_latest_outcome ON image_syncer_results (outcome, id) WHERE latest = 1;

CREATE INDEX image_syncer_results_by_latest_rule ON image_syncer_results (rule, id) WHERE latest = 1;

CREATE INDEX image_syncer_results_by_latest_source_digest ON image_syncer_results (source_digest, id) WHERE latest = 1;

CREATE INDEX image_syncer_results_by_run ON image_syncer_results (run_id, outcome, id);

CREATE INDEX image_syncer_results_by_target ON image_syncer_results (target, id);

CREATE TABLE image_syncer_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT image_syncer_version_pkc PRIMARY KEY (version_num)
);

CREATE TRIGGER image_syncer_count_inserted AFTER INSERT ON image_syncer_events BEGIN
    INSERT INTO image_syncer_event_counts (source, status, count) VALUES (new.source, new.status, 1)
        ON CONFLICT (source, status) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER image_syncer_count_changed AFTER UPDATE OF status ON image_syncer_events
WHEN old.status <> new.status BEGIN
    UPDATE image_syncer_event_counts SET count = count - 1 WHERE source = old.source AND status = old.status;
    INSERT INTO image_syncer_event_counts (source, status, count) VALUES (new.source, new.status, 1)
        ON CONFLICT (source, status) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER image_syncer_count_deleted AFTER DELETE ON image_syncer_events BEGIN
    UPDATE image_syncer_event_counts SET count = count - 1 WHERE source = old.source AND status = old.status;
END;
