"""Our named queries in PostgreSQL's dialect, besides Procrastinate's.

They go through the connector like Procrastinate's, so that `sqlite_queries` can implement both by name. Each is one
statement and thus one transaction. docs/adr/0012-procrastinate-on-two-connectors.md has the reasons why Procrastinate's
`fetch_job`, `finish_job` and `retry_job` are not used.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, LiteralString

from image_syncer.jobs.counters import COUNTERS

SCHEMA_VERSION: Final = 3
SCHEMA: Final[LiteralString] = """
CREATE TABLE image_syncer_job_schema (version integer NOT NULL);
INSERT INTO image_syncer_job_schema VALUES (1);

CREATE TABLE image_syncer_job_limits (registry text PRIMARY KEY, running integer NOT NULL);

CREATE TABLE image_syncer_job_notes (
    job_id bigint PRIMARY KEY REFERENCES procrastinate_jobs (id) ON DELETE CASCADE,
    error text, superseded boolean NOT NULL);

CREATE VIEW image_syncer_job_views AS
    SELECT j.id, j.task_name, j.priority, j.lock, j.args, j.attempts, j.scheduled_at, j.worker_id, j.abort_requested,
        CASE WHEN j.status = 'failed' AND coalesce(n.superseded, false) THEN 'superseded' ELSE j.status::text END
            AS status,
        n.error,
        (SELECT min(e.at) FROM procrastinate_events e WHERE e.job_id = j.id AND e.type <> 'scheduled') AS created_at,
        (SELECT max(e.at) FROM procrastinate_events e WHERE e.job_id = j.id AND e.type <> 'scheduled') AS changed_at
    FROM procrastinate_jobs j LEFT JOIN image_syncer_job_notes n ON n.job_id = j.id;

CREATE FUNCTION image_syncer_wake_v1(queue varchar, job bigint) RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify('procrastinate_queue_v1#' || queue,
                     json_build_object('type', 'job_inserted', 'job_id', job)::text)
$$;

-- Fleet limits and one runner per lock need serialised fetches: all workers take this advisory lock, for about a
-- millisecond each. In a volatile function each statement sees everything that was committed before it started, thus
-- also the fetch before. The settings make the planner scan the index of queued jobs in order and stop at the first
-- match, whatever its statistics are: a queue grows from none to thousands faster than they follow (procrastinate
-- #1242). They inflate the estimated costs, for which PostgreSQL would compile each fetch for 50 ms: hence no jit.
CREATE FUNCTION image_syncer_fetch_job_v1(wanted_queues varchar[], fetching_worker bigint)
    RETURNS procrastinate_jobs LANGUAGE plpgsql
    SET lock_timeout TO '10s' SET jit TO off
    SET enable_sort TO off SET enable_seqscan TO off SET enable_bitmapscan TO off AS $$
DECLARE
    full_registries text[];
    found procrastinate_jobs;
BEGIN
    PERFORM pg_advisory_xact_lock(1768776039, 1);
    SELECT coalesce(array_agg(l.registry), '{}') INTO full_registries FROM image_syncer_job_limits l
    WHERE l.running <= (SELECT count(*) FROM procrastinate_jobs d
                        WHERE d.status = 'doing' AND d.args -> 'registries' ? l.registry);
    UPDATE procrastinate_jobs SET status = 'doing', worker_id = fetching_worker
    WHERE id = (
        SELECT j.id FROM procrastinate_jobs j
        WHERE j.status = 'todo' AND (j.scheduled_at IS NULL OR j.scheduled_at <= clock_timestamp())
          AND (wanted_queues IS NULL OR j.queue_name = ANY (wanted_queues))
          AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs d WHERE d.status = 'doing' AND d.lock = j.lock)
          AND (NOT j.args ? 'registries' OR NOT j.args -> 'registries' ?| full_registries)
        ORDER BY j.priority DESC, j.id LIMIT 1
        FOR UPDATE OF j SKIP LOCKED)
    RETURNING * INTO found;
    RETURN found;
END
$$;
"""

UPGRADES: Final[Mapping[int, LiteralString]] = {
    # Pushes by their age, newest first; with `oldest` the oldest job. Workers of version 1 go on with their function.
    1: """
CREATE INDEX image_syncer_jobs_urgency ON procrastinate_jobs (
    priority DESC, (CASE WHEN priority > 0 THEN (args -> 'asked_at')::double precision ELSE -id END) DESC)
    WHERE status = 'todo';
CREATE INDEX image_syncer_jobs_waiting ON procrastinate_jobs (id) WHERE status = 'todo';
CREATE INDEX image_syncer_jobs_rule ON procrastinate_jobs ((args ->> 'rule'), id);
CREATE INDEX image_syncer_jobs_status ON procrastinate_jobs (status, id);

CREATE FUNCTION image_syncer_fetch_job_v2(wanted_queues varchar[], fetching_worker bigint, oldest boolean)
    RETURNS procrastinate_jobs LANGUAGE plpgsql
    SET lock_timeout TO '10s' SET jit TO off
    SET enable_sort TO off SET enable_seqscan TO off SET enable_bitmapscan TO off AS $$
DECLARE
    full_registries text[];
    found procrastinate_jobs;
BEGIN
    PERFORM pg_advisory_xact_lock(1768776039, 1);
    SELECT coalesce(array_agg(l.registry), '{}') INTO full_registries FROM image_syncer_job_limits l
    WHERE l.running <= (SELECT count(*) FROM procrastinate_jobs d
                        WHERE d.status = 'doing' AND d.args -> 'registries' ? l.registry);
    IF oldest THEN
        UPDATE procrastinate_jobs SET status = 'doing', worker_id = fetching_worker
        WHERE id = (
            SELECT j.id FROM procrastinate_jobs j
            WHERE j.status = 'todo' AND (j.scheduled_at IS NULL OR j.scheduled_at <= clock_timestamp())
              AND (wanted_queues IS NULL OR j.queue_name = ANY (wanted_queues))
              AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs d WHERE d.status = 'doing' AND d.lock = j.lock)
              AND (NOT j.args ? 'registries' OR NOT j.args -> 'registries' ?| full_registries)
            ORDER BY j.id LIMIT 1
            FOR UPDATE OF j SKIP LOCKED)
        RETURNING * INTO found;
    ELSE
        UPDATE procrastinate_jobs SET status = 'doing', worker_id = fetching_worker
        WHERE id = (
            SELECT j.id FROM procrastinate_jobs j
            WHERE j.status = 'todo' AND (j.scheduled_at IS NULL OR j.scheduled_at <= clock_timestamp())
              AND (wanted_queues IS NULL OR j.queue_name = ANY (wanted_queues))
              AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs d WHERE d.status = 'doing' AND d.lock = j.lock)
              AND (NOT j.args ? 'registries' OR NOT j.args -> 'registries' ?| full_registries)
            ORDER BY j.priority DESC, (CASE WHEN j.priority > 0 THEN (j.args -> 'asked_at')::double precision
                                         ELSE -j.id END) DESC
            LIMIT 1
            FOR UPDATE OF j SKIP LOCKED)
        RETURNING * INTO found;
    END IF;
    RETURN found;
END
$$;

UPDATE image_syncer_job_schema SET version = 2;
""",
    2: COUNTERS,
}
"""The script that leads from each older version of the schema to the next one."""

QUERIES: Final = MappingProxyType[str, LiteralString](
    {
        "fetch_allowed_job": """
            SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts,
                   worker_id
            FROM image_syncer_fetch_job_v2(%(queues)s::varchar[], %(worker_id)s::bigint, %(oldest)s::boolean)
        """,
        # The end of an attempt, fenced: no effect unless this attempt still runs. NULL as worker: it was pruned as
        # stalled, but no worker has taken its job over yet.
        "settle_job": """
            WITH settled AS (
                UPDATE procrastinate_jobs SET
                    status = (CASE WHEN %(status)s::text = 'todo' AND abort_requested THEN 'aborted'
                              ELSE %(status)s::text END)::procrastinate_job_status,
                    attempts = attempts + %(counted)s::int,
                    scheduled_at = CASE WHEN %(status)s::text = 'todo' THEN %(retry_at)s::timestamptz
                                   ELSE scheduled_at END,
                    worker_id = CASE WHEN %(status)s::text = 'todo' THEN NULL ELSE worker_id END,
                    abort_requested = false
                WHERE id = %(job_id)s::bigint AND status = 'doing' AND attempts = %(attempts)s::int
                  AND (worker_id IS NULL OR worker_id = %(worker_id)s::bigint)
                RETURNING id, queue_name, status
            ), noted AS (
                INSERT INTO image_syncer_job_notes (job_id, error, superseded)
                SELECT id, %(error)s::text, %(superseded)s::boolean FROM settled
                WHERE %(error)s::text IS NOT NULL OR %(superseded)s::boolean
                ON CONFLICT (job_id) DO UPDATE SET
                    error = coalesce(excluded.error, image_syncer_job_notes.error), superseded = excluded.superseded
            )
            SELECT status::text AS status, image_syncer_wake_v1(queue_name, id) FROM settled
        """,
        # A request that is merged into a queued job: the arguments of the newer request, the higher priority, the
        # earlier start. A retry keeps its time, which the registry may have asked for.
        "join_job": """
            UPDATE procrastinate_jobs SET
                args = CASE WHEN args -> 'asked_at' > %(args)s::jsonb -> 'asked_at'
                       THEN %(args)s::jsonb || args ELSE args || %(args)s::jsonb END,
                priority = greatest(priority, %(priority)s::int),
                scheduled_at = CASE WHEN attempts > 0 THEN scheduled_at
                               WHEN %(scheduled_at)s::timestamptz IS NULL THEN NULL
                               ELSE least(scheduled_at, %(scheduled_at)s::timestamptz) END
            WHERE queueing_lock = %(queueing_lock)s::text AND status = 'todo'
            RETURNING id
        """,
        "replay_job": """
            WITH replayed AS (
                UPDATE procrastinate_jobs SET
                    attempts = CASE WHEN status = 'todo' THEN attempts ELSE 0 END,
                    status = 'todo', scheduled_at = NULL, worker_id = NULL, abort_requested = false
                WHERE id = %(job_id)s::bigint AND status IN ('todo', 'failed', 'aborted', 'cancelled')
                RETURNING id, queue_name
            ), noted AS (
                UPDATE image_syncer_job_notes SET superseded = false WHERE job_id IN (SELECT id FROM replayed)
            )
            SELECT id, image_syncer_wake_v1(queue_name, id) FROM replayed
        """,
        "keep_heartbeat": """
            INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE
            VALUES (%(worker_id)s::bigint, now()) ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()
        """,
        # A row, with the age of the worker's heartbeat, only while the attempt owns its job. A pruned worker is NULL in
        # its jobs, so it gets no row, whether another one has taken them over or not.
        "job_lease": """
            SELECT extract(epoch FROM clock_timestamp() - w.last_heartbeat)::float AS silent_seconds
            FROM procrastinate_jobs j JOIN procrastinate_workers w ON w.id = j.worker_id
            WHERE j.id = %(job_id)s::bigint AND j.status = 'doing' AND j.worker_id = %(worker_id)s::bigint
              AND j.attempts = %(attempts)s::int
        """,
        # Times that only a wrong clock can have set. A heartbeat becomes the present, so that a dead worker is noticed.
        # A retry starts at once. A job that never started keeps its time, which its request chose.
        "repair_times": """
            WITH heartbeats AS (
                UPDATE procrastinate_workers SET last_heartbeat = now()
                WHERE last_heartbeat > now() + %(skew)s::float * interval '1 second'
            ), wrong AS (
                SELECT j.id, (j.args -> 'asked_at')::float > extract(epoch FROM now()) + %(skew)s::float AS is_new,
                    j.scheduled_at > now() + (%(longest)s::float + %(skew)s::float) * interval '1 second' AND EXISTS (
                        SELECT 1 FROM procrastinate_events e WHERE e.job_id = j.id AND e.type = 'started') AS is_late
                FROM procrastinate_jobs j WHERE j.status = 'todo'
                  AND (j.scheduled_at > now() + (%(longest)s::float + %(skew)s::float) * interval '1 second'
                       OR (j.args -> 'asked_at')::float > extract(epoch FROM now()) + %(skew)s::float)
                FOR UPDATE OF j SKIP LOCKED
            )
            UPDATE procrastinate_jobs j SET
                scheduled_at = CASE WHEN w.is_late THEN NULL ELSE j.scheduled_at END,
                args = CASE WHEN w.is_new THEN jsonb_set(j.args, '{asked_at}', to_jsonb(extract(epoch FROM now())))
                       ELSE j.args END
            FROM wrong w WHERE j.id = w.id AND (w.is_late OR w.is_new) RETURNING j.id
        """,
        # The rows that an index of the status lists first, as the oldest jobs have the lowest identifiers.
        "delete_ended_jobs": """
            DELETE FROM procrastinate_jobs WHERE id IN (
                SELECT oldest.id FROM unnest(%(statuses)s::procrastinate_job_status[]) AS wanted (status)
                CROSS JOIN LATERAL (
                    SELECT j.id FROM procrastinate_jobs j WHERE j.status = wanted.status
                    ORDER BY j.id LIMIT %(most)s::int) oldest
                WHERE (SELECT max(e.at) FROM procrastinate_events e WHERE e.job_id = oldest.id)
                    < %(before)s::timestamptz)
        """,
        "replace_limits": """
            WITH gone AS (
                DELETE FROM image_syncer_job_limits WHERE registry <> ALL (%(registries)s::text[])
            )
            INSERT INTO image_syncer_job_limits (registry, running)
            SELECT * FROM unnest(%(registries)s::text[], %(running)s::int[])
            ON CONFLICT (registry) DO UPDATE SET running = excluded.running
        """,
        # The newest of each status by an index, then the newest of all these.
        "view_jobs": """
            WITH matching AS NOT MATERIALIZED (
                SELECT j.id, j.status, EXISTS (
                    SELECT 1 FROM image_syncer_job_notes n WHERE n.job_id = j.id AND n.superseded) AS superseded
                FROM procrastinate_jobs j
                WHERE (%(job_id)s::bigint IS NULL OR j.id = %(job_id)s::bigint)
                  AND (%(before)s::bigint IS NULL OR j.id < %(before)s::bigint)
                  AND (%(kind)s::text IS NULL OR j.task_name = %(kind)s::text)
                  AND (%(lock)s::text IS NULL OR j.lock = %(lock)s::text)
                  AND (%(rule)s::text IS NULL OR j.args ->> 'rule' = %(rule)s::text)
            ), wanted AS (
                SELECT status::procrastinate_job_status FROM unnest(coalesce(
                    array_remove(%(statuses)s::text[], 'superseded'),
                    enum_range(NULL::procrastinate_job_status)::text[])) status
            ), chosen AS (
                SELECT newest.id FROM wanted w CROSS JOIN LATERAL (
                    SELECT m.id FROM matching m WHERE m.status = w.status AND (w.status <> 'failed' OR NOT m.superseded)
                    ORDER BY m.id DESC LIMIT %(limit)s::int) newest
                UNION ALL (
                    SELECT m.id FROM image_syncer_job_notes n JOIN matching m ON m.id = n.job_id
                    WHERE n.superseded AND m.status = 'failed'
                      AND (%(statuses)s::text[] IS NULL OR 'superseded' = ANY (%(statuses)s::text[]))
                    ORDER BY n.job_id DESC LIMIT %(limit)s::int)
            )
            SELECT * FROM image_syncer_job_views WHERE id = ANY (ARRAY (SELECT id FROM chosen))
            ORDER BY id DESC LIMIT %(limit)s::int
        """,
        "view_steps": """
            SELECT type::text AS what, at AS happened_at FROM procrastinate_events
            WHERE job_id = %(job_id)s::bigint AND type <> 'scheduled' ORDER BY id DESC LIMIT %(limit)s::int
        """,
        "open_locks": """
            SELECT DISTINCT queueing_lock FROM procrastinate_jobs
            WHERE status IN ('todo', 'doing') AND queueing_lock = ANY (%(locks)s::text[])
        """,
        "count_jobs": "SELECT status, count FROM image_syncer_job_counts WHERE count > 0",
    }
)
