"""The named queries, Procrastinate's and ours, in SQLite's dialect.

Procrastinate's texts are for PostgreSQL. The connector looks up the implementation by the query's name: a statement of
`PLAIN`, or a function of `WITH_STEPS` if it takes several statements. Unused queries are refused (`REFUSED`). A test
compares all three with the pinned version of Procrastinate.
"""

# ruff: noqa: S608 - all parts of a statement are literals, which the type checker verifies (LiteralString)

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

REFUSED: Final = MappingProxyType(
    {
        "check_connection": "opening creates the tables",
        "count_jobs_status": "count_jobs counts superseded jobs too",
        "defer_periodic_job": "schedules are rows of the state",
        "delete_old_jobs": "delete_ended_jobs does not trust the clock of the store",
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
        "count_jobs": "SELECT status, count FROM counts WHERE count > 0",
        "join_job": """
            UPDATE jobs SET
                args = CASE WHEN json_extract(args, '$.asked_at') > json_extract(:args, '$.asked_at')
                    THEN json_patch(:args, args) ELSE json_patch(args, :args) END,
                priority = max(priority, :priority),
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


def _repair_times(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    transaction.rows("UPDATE workers SET last_heartbeat = :now WHERE last_heartbeat > :now + :skew", arguments)
    late = transaction.rows(
        """
        UPDATE jobs SET scheduled_at = NULL WHERE status = 'todo' AND scheduled_at > :now + :longest + :skew
          AND EXISTS (SELECT 1 FROM events e WHERE e.job_id = jobs.id AND e.type = 'started') RETURNING id
        """,
        arguments,
    )
    new = transaction.rows(
        """
        UPDATE jobs SET args = json_set(args, '$.asked_at', :now)
        WHERE status = 'todo' AND json_extract(args, '$.asked_at') > :now + :skew RETURNING id
        """,
        arguments,
    )
    return [{"id": job} for job in sorted({row["id"] for row in (*late, *new)})]


def _replace_limits(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    transaction.rows("DELETE FROM limits", {})
    return transaction.rows(
        """
        INSERT INTO limits (registry, running) SELECT r.value, n.value
        FROM json_each(:registries) r JOIN json_each(:running) n ON n.key = r.key
        """,
        arguments,
    )


def _delete_ended_jobs(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    for status in arguments["statuses"]:
        transaction.rows(
            """
            DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE status = :status ORDER BY id LIMIT :most)
              AND (SELECT max(at) FROM events WHERE job_id = jobs.id) < :before
            """,
            {**arguments, "status": status},
        )
    return []


def _fetch_allowed_job(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    """Return the next job: the most urgent one, or the oldest one, so that none starves."""
    order: LiteralString = "j.id"
    if not arguments["oldest"]:
        # The expression of the index `jobs_urgency`: pushes by their age, newest first; rules in the order of requests.
        order = """
            j.priority DESC,
            CASE WHEN j.priority > 0 THEN json_extract(j.args, '$.asked_at') ELSE -j.id END DESC
        """
    return transaction.rows(
        f"""
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
            ORDER BY {order} LIMIT 1)
        RETURNING *
        """,
        arguments,
    )


_ALL_STATUSES: Final[tuple[LiteralString, ...]] = (
    "todo",
    "doing",
    "succeeded",
    "failed",
    "cancelled",
    "aborted",
    "superseded",
)
_VIEW_CONDITIONS: Final[Mapping[str, LiteralString]] = {
    "job_id": "j.id = :job_id",
    "before": "j.id < :before",
    "kind": "j.task_name = :kind",
    "lock": "j.lock = :lock",
    "rule": "json_extract(j.args, '$.rule') = :rule",
}


def _view_jobs(transaction: SqliteTransaction, arguments: Mapping[str, Any]) -> Sequence[Row]:
    """Return the newest matching jobs: the newest of each status by an index, then the newest of all these."""
    conditions = " AND ".join(text for name, text in _VIEW_CONDITIONS.items() if arguments[name] is not None) or "1"
    statuses = arguments["statuses"]
    if statuses is None and arguments["rule"] is None:
        chosen: LiteralString = f"SELECT j.id FROM jobs j WHERE {conditions} ORDER BY j.id DESC LIMIT :limit"
    else:
        branches: list[LiteralString] = [
            f"SELECT id FROM ({_newest_of(status, conditions)})"
            for status in _ALL_STATUSES
            if statuses is None or statuses.count(status)
        ]
        chosen = " UNION ALL ".join(branches) or "SELECT NULL"
    return transaction.rows(f"SELECT * FROM job_views WHERE id IN ({chosen}) ORDER BY id DESC LIMIT :limit", arguments)


def _newest_of(status: LiteralString, conditions: LiteralString) -> LiteralString:
    end: LiteralString = f"AND {conditions} ORDER BY j.id DESC LIMIT :limit"
    superseded: LiteralString = "EXISTS (SELECT 1 FROM notes n WHERE n.job_id = j.id AND n.superseded)"
    if status == "superseded":
        return f"""
            SELECT j.id FROM notes n CROSS JOIN jobs j ON j.id = n.job_id
            WHERE n.superseded AND j.status = 'failed' AND {conditions} ORDER BY n.job_id DESC LIMIT :limit
        """
    if status == "failed":
        return f"SELECT j.id FROM jobs j WHERE j.status = 'failed' AND NOT {superseded} {end}"
    return f"SELECT j.id FROM jobs j WHERE j.status = '{status}' {end}"


WITH_STEPS: Final = MappingProxyType[str, Callable[[SqliteTransaction, Mapping[str, Any]], Sequence[Row]]](
    {
        "cancel_job": _cancel_job,
        "defer_jobs": _defer_jobs,
        "delete_ended_jobs": _delete_ended_jobs,
        "fetch_allowed_job": _fetch_allowed_job,
        "repair_times": _repair_times,
        "replace_limits": _replace_limits,
        "replay_job": _replay_job,
        "settle_job": _settle_job,
        "view_jobs": _view_jobs,
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
