"""The schema of the SQLite file of jobs, as the scripts that lead from one version to the next."""

from typing import Final

APPLICATION_ID: Final = 0x69734A62

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS workers (id INTEGER PRIMARY KEY AUTOINCREMENT, last_heartbeat REAL NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue_name TEXT NOT NULL, task_name TEXT NOT NULL,
    priority INTEGER NOT NULL, lock TEXT, queueing_lock TEXT, args TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'todo'
        CHECK (status IN ('todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborted')),
    scheduled_at REAL, attempts INTEGER NOT NULL DEFAULT 0, abort_requested INTEGER NOT NULL DEFAULT 0,
    worker_id INTEGER REFERENCES workers (id) ON DELETE SET NULL,
    CHECK (NOT (status = 'todo' AND abort_requested)));
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    type TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS notes (
    job_id INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE, error TEXT, superseded INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS limits (registry TEXT PRIMARY KEY, running INTEGER NOT NULL) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS jobs_queueing_lock ON jobs (queueing_lock) WHERE status = 'todo';
CREATE UNIQUE INDEX IF NOT EXISTS jobs_lock ON jobs (lock) WHERE status = 'doing';
CREATE INDEX IF NOT EXISTS jobs_worker ON jobs (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_job ON events (job_id);
CREATE TRIGGER IF NOT EXISTS job_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO events (job_id, type, at) VALUES (new.id, 'deferred', (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER IF NOT EXISTS job_changed AFTER UPDATE OF status ON jobs WHEN old.status <> new.status BEGIN
    INSERT INTO events (job_id, type, at) VALUES (new.id,
        CASE new.status WHEN 'doing' THEN 'started'
            WHEN 'todo' THEN CASE old.status WHEN 'doing' THEN 'deferred_for_retry' ELSE 'retried' END
            ELSE new.status END,
        (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE VIEW IF NOT EXISTS job_views AS
    SELECT j.id, j.task_name, j.priority, j.lock, j.args, j.attempts, j.scheduled_at, j.worker_id, j.abort_requested,
        CASE WHEN j.status = 'failed' AND coalesce(n.superseded, 0) THEN 'superseded' ELSE j.status END AS status,
        n.error,
        (SELECT min(e.at) FROM events e WHERE e.job_id = j.id) AS created_at,
        (SELECT max(e.at) FROM events e WHERE e.job_id = j.id) AS changed_at
    FROM jobs j LEFT JOIN notes n ON n.job_id = j.id;
"""

# Counters and indexes: lists and counts of a million jobs must take milliseconds. The triggers on notes move a job
# between "failed" and "superseded". Queued jobs are indexed in the order in which they run (`fetch_allowed_job`).
_COUNTERS: Final = """
DROP INDEX IF EXISTS jobs_todo;
CREATE INDEX jobs_urgency ON jobs (
    priority, CASE WHEN priority > 0 THEN json_extract(args, '$.asked_at') ELSE -id END) WHERE status = 'todo';
CREATE INDEX jobs_status ON jobs (status, id);
CREATE INDEX jobs_rule ON jobs (json_extract(args, '$.rule'), status, id);
CREATE INDEX jobs_lock_history ON jobs (lock, id);
CREATE INDEX notes_superseded ON notes (job_id) WHERE superseded;
CREATE TABLE counts (status TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counts (status, count) SELECT status, count(*) FROM job_views GROUP BY status;
CREATE TRIGGER count_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO counts (status, count) VALUES (new.status, 1)
        ON CONFLICT (status) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER count_changed AFTER UPDATE OF status ON jobs WHEN old.status <> new.status BEGIN
    UPDATE counts SET count = count - 1 WHERE status = old.status;
    INSERT INTO counts (status, count) VALUES (new.status, 1)
        ON CONFLICT (status) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER count_deleted AFTER DELETE ON jobs BEGIN
    UPDATE counts SET count = count - 1 WHERE status = old.status;
END;
CREATE TRIGGER count_superseded AFTER INSERT ON notes WHEN new.superseded BEGIN
    UPDATE counts SET count = count - 1 WHERE status = 'failed';
    INSERT INTO counts (status, count) VALUES ('superseded', 1)
        ON CONFLICT (status) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER count_note_changed AFTER UPDATE OF superseded ON notes WHEN old.superseded <> new.superseded BEGIN
    UPDATE counts SET count = count + old.superseded - new.superseded WHERE status = 'failed';
    INSERT INTO counts (status, count) VALUES ('superseded', new.superseded - old.superseded)
        ON CONFLICT (status) DO UPDATE SET count = count + excluded.count;
END;
CREATE TRIGGER count_note_deleted AFTER DELETE ON notes WHEN old.superseded BEGIN
    UPDATE counts SET count = count + 1 WHERE status = 'failed';
    UPDATE counts SET count = count - 1 WHERE status = 'superseded';
END;
"""

MIGRATIONS: Final = (_TABLES, _COUNTERS)
"""The script at index n leads from version n to version n + 1."""

SCHEMA_VERSION: Final = len(MIGRATIONS)
