"""The named queries, Procrastinate's and ours, in SQLite's dialect.

Procrastinate's texts are for PostgreSQL. The connector looks up the implementation by the query's name: a statement of
`PLAIN`, or a function of `WITH_STEPS` if it takes several statements. Unused queries are refused (`REFUSED`). A test
compares all three with the pinned version of Procrastinate.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, LiteralString

from procrastinate.exceptions import ConnectorException

Row = dict[str, Any]
Note = tuple[str, Mapping[str, Any]]
"""A queue, and the notification for its listeners after the commit."""

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x69734A62
SCHEMA: Final = """
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
CREATE INDEX IF NOT EXISTS jobs_todo ON jobs (priority DESC, id) WHERE status = 'todo';
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

REFUSED: Final = MappingProxyType(
    {
        "check_connection": "opening creates the tables",
        "count_jobs_status": "count_jobs counts superseded jobs too",
        "defer_periodic_job": "schedules are rows of the state",
        "fetch_job": "fetch_allowed_job applies the fleet limits",
        "finish_job": "settle_job is fenced",
        "get_job_status": "view_jobs returns more",
        "list_jobs": "view_jobs has pages, errors and times",
        "list_locks": "unused",
        "list_queues": "unused",
        "list_tasks": "unused",
        "listen_queue": "the connector calls its listeners itself",
        "retry_job": "settle_job is fenced",
        "select_stalled_jobs_by_started": "deprecated: heartbeats tell which worker is stalled",
        "update_heartbeat": "keep_heartbeat restores a pruned worker",
    }
)

# Every statement has `:now`, in seconds since 1970. Lists are passed as JSON, instants as seconds.
PLAIN: Final = MappingProxyType[str, LiteralString](
    {
        "count_jobs": "SELECT status, count(*) AS count FROM job_views GROUP BY status",
        "delete_old_jobs": """
            DELETE FROM jobs WHERE status IN (SELECT value FROM json_each(:statuses))
              AND (:queue IS NULL OR queue_name = :queue)
              AND (SELECT max(at) FROM events WHERE job_id = jobs.id) < :now - :nb_hours * 3600.0
        """,
        "fetch_allowed_job": """
            WITH full_registry AS (
                SELECT l.registry FROM limits l WHERE l.running <= (
                    SELECT count(*) FROM jobs d, json_each(d.args, '$.registries') r
                    WHERE d.status = 'doing' AND r.value = l.registry))
            UPDATE jobs SET status = 'doing', worker_id = :worker_id WHERE id = (
                SELECT j.id FROM jobs j
                WHERE j.status = 'todo' AND (j.scheduled_at IS NULL OR j.scheduled_at <= :now)
                  AND (:queues IS NULL OR j.queue_name IN (SELECT value FROM json_each(:queues)))
                  AND NOT EXISTS (SELECT 1 FROM jobs d WHERE d.status = 'doing' AND d.lock = j.lock)
                  AND NOT EXISTS (SELECT 1 FROM full_registry f JOIN json_each(j.args, '$.registries') r
                                  ON r.value = f.registry)
                ORDER BY j.priority DESC, j.id LIMIT 1)
            RETURNING *
        """,
        "join_job": """
            UPDATE jobs SET args = json_patch(args, :args), priority = max(priority, :priority),
                scheduled_at = CASE WHEN attempts > 0 THEN scheduled_at WHEN :scheduled_at IS NULL THEN NULL
                    ELSE min(scheduled_at, :scheduled_at) END
            WHERE queueing_lock = :queueing_lock AND status = 'todo' RETURNING id
        """,
        "job_lease": """
            SELECT :now - w.last_heartbeat AS silent_seconds FROM jobs j JOIN workers w ON w.id = j.worker_id
            WHERE j.id = :job_id AND j.status = 'doing' AND j.worker_id = :worker_id AND j.attempts = :attempts
        """,
        "keep_heartbeat": """
            INSERT INTO workers (id, last_heartbeat) VALUES (:worker_id, :now)
            ON CONFLICT (id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat
        """,
        "list_jobs_to_abort": """
            SELECT id FROM jobs WHERE status = 'doing' AND abort_requested
              AND (:queue_name IS NULL OR queue_name = :queue_name)
        """,
        "open_locks": """
            SELECT DISTINCT queueing_lock FROM jobs
            WHERE status IN ('todo', 'doing') AND queueing_lock IN (SELECT value FROM json_each(:locks))
        """,
        "prune_stalled_workers": """
            DELETE FROM workers WHERE last_heartbeat < :now - :seconds_since_heartbeat RETURNING id AS worker_id
        """,
        "register_worker": "INSERT INTO workers (last_heartbeat) VALUES (:now) RETURNING id AS worker_id",
        "select_stalled_jobs_by_heartbeat": """
            SELECT * FROM jobs WHERE status = 'doing' AND (:queue IS NULL OR queue_name = :queue)
              AND (:task_name IS NULL OR task_name = :task_name)
              AND (worker_id IS NULL OR worker_id IN
                   (SELECT id FROM workers WHERE last_heartbeat < :now - :seconds_since_heartbeat))
        """,
        "unregister_worker": "DELETE FROM workers WHERE id = :worker_id",
        "view_jobs": """
            SELECT * FROM job_views
            WHERE (:job_id IS NULL OR id = :job_id) AND (:before IS NULL OR id < :before)
              AND (:kind IS NULL OR task_name = :kind) AND (:lock IS NULL OR lock = :lock)
              AND (:rule IS NULL OR json_extract(args, '$.rule') = :rule)
              AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
            ORDER BY id DESC LIMIT :limit
        """,
        "view_steps": """
            SELECT type AS what, at AS happened_at FROM events WHERE job_id = :job_id ORDER BY id DESC LIMIT :limit
        """,
    }
)


class SqliteTransaction:
    """An open transaction at *now* (seconds since 1970); *notes* go to listeners after its commit."""

    def __init__(self, database: sqlite3.Connection, now: float) -> None:
        self._database = database
        self._now = now
        self.notes: list[Note] = []

    def execute(self, name: str, arguments: Mapping[str, Any]) -> Sequence[Row]:
        """Return the rows of the query *name*; `ConnectorException` if it is not implemented."""
        if name in WITH_STEPS:
            return WITH_STEPS[name](self, arguments)
        if name not in PLAIN:
            raise ConnectorException(f"{name} is not implemented on SQLite: {REFUSED.get(name, 'unknown')}")
        return self.rows(PLAIN[name], arguments)

    def rows(self, statement: LiteralString, arguments: Mapping[str, Any]) -> list[Row]:
        """Return the rows of *statement*."""
        stored = {name: _stored(value) for name, value in arguments.items()}
        cursor = self._database.execute(statement, {**stored, "now": self._now})
        names = [column[0] for column in cursor.description or ()]
        return [{name: _loaded(name, value) for name, value in zip(names, row, strict=True)} for row in cursor]

    def notify(self, kind: str, jobs: Sequence[Row]) -> None:
        """Add a notification for the listeners of each job's queue."""
        self.notes += [(job["queue_name"], {"type": kind, "job_id": job["id"]}) for job in jobs]


def _defer_jobs(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    statement: LiteralString = """
        INSERT INTO jobs (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        VALUES (:queue_name, :task_name, :priority, :lock, :queueing_lock, :args, :scheduled_at)
        RETURNING id, queue_name
    """
    jobs = [transaction.rows(statement, job._asdict())[0] for job in arguments["jobs"]]
    transaction.notify("job_inserted", jobs)
    return jobs


def _settle_job(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    settled = transaction.rows(
        """
        UPDATE jobs SET
            status = CASE WHEN :status = 'todo' AND abort_requested THEN 'aborted' ELSE :status END,
            attempts = attempts + :counted,
            scheduled_at = CASE WHEN :status = 'todo' THEN :retry_at ELSE scheduled_at END,
            worker_id = CASE WHEN :status = 'todo' THEN NULL ELSE worker_id END,
            abort_requested = 0
        WHERE id = :job_id AND status = 'doing' AND attempts = :attempts
          AND (worker_id IS NULL OR worker_id = :worker_id)
        RETURNING id, queue_name, status
        """,
        arguments,
    )
    if settled and (arguments["error"] is not None or arguments["superseded"]):
        transaction.rows(
            """
            INSERT INTO notes (job_id, error, superseded) VALUES (:job_id, :error, :superseded)
            ON CONFLICT (job_id) DO UPDATE SET
                error = coalesce(excluded.error, error), superseded = excluded.superseded
            """,
            arguments,
        )
    transaction.notify("job_inserted", settled)  # Other jobs may have waited for its target or for a limit.
    return settled


def _replay_job(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    replayed = transaction.rows(
        """
        UPDATE jobs SET attempts = CASE WHEN status = 'todo' THEN attempts ELSE 0 END, status = 'todo',
            scheduled_at = NULL, worker_id = NULL, abort_requested = 0
        WHERE id = :job_id AND status IN ('todo', 'failed', 'aborted', 'cancelled')
        RETURNING id, queue_name
        """,
        arguments,
    )
    if replayed:
        transaction.rows("UPDATE notes SET superseded = 0 WHERE job_id = :job_id", arguments)
    transaction.notify("job_inserted", replayed)
    return replayed


def _cancel_job(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    if arguments["delete_job"]:
        raise ConnectorException("cancelled jobs are kept")
    found = transaction.rows(
        """
        UPDATE jobs SET abort_requested = (status = 'doing'),
            status = CASE status WHEN 'todo' THEN 'cancelled' ELSE status END
        WHERE id = :job_id AND (status = 'todo' OR (status = 'doing' AND :abort))
        RETURNING id, queue_name
        """,
        arguments,
    )
    transaction.notify("abort_job_requested", found)
    return found or [{"id": None}]


def _replace_limits(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    transaction.rows("DELETE FROM limits", {})
    return transaction.rows(
        """
        INSERT INTO limits (registry, running) SELECT r.value, n.value
        FROM json_each(:registries) r JOIN json_each(:running) n ON n.key = r.key
        """,
        arguments,
    )


WITH_STEPS: Final = MappingProxyType[str, Callable[[SqliteTransaction, Mapping[str, Any]], Sequence[Row]]](
    {
        "cancel_job": _cancel_job,
        "defer_jobs": _defer_jobs,
        "replace_limits": _replace_limits,
        "replay_job": _replay_job,
        "settle_job": _settle_job,
    }
)


def _stored(value: object) -> object:
    if isinstance(value, datetime):
        return value.timestamp()
    return json.dumps(value) if isinstance(value, dict | list) else value


def _loaded(name: str, value: Any) -> object:
    if value is None:
        return None
    if name.endswith("_at"):
        return datetime.fromtimestamp(value, UTC)
    return json.loads(value) if name == "args" else value
