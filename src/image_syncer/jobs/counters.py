"""Counters and indexes in PostgreSQL, so that lists and counts of a million jobs take milliseconds.

Triggers count the jobs of each statement. A single row of counters would make all writers of a fleet wait for each
other, so there are 16 shards, and each connection writes to one. A statement changes one row of counters, as its last
lock, so writers cannot deadlock over them. Processes of version 2 go on: the triggers count their statements too.
"""

from typing import Final, LiteralString

COUNTERS: Final[LiteralString] = """
LOCK TABLE procrastinate_jobs, image_syncer_job_notes IN SHARE ROW EXCLUSIVE MODE;

DROP INDEX image_syncer_jobs_rule;
CREATE INDEX image_syncer_jobs_rule ON procrastinate_jobs ((args ->> 'rule'), status, id);
CREATE INDEX image_syncer_jobs_lock_history ON procrastinate_jobs (lock, id);
CREATE INDEX image_syncer_notes_superseded ON image_syncer_job_notes (job_id) WHERE superseded;

CREATE TABLE image_syncer_job_count_shards (
    shard integer PRIMARY KEY, todo bigint NOT NULL DEFAULT 0, doing bigint NOT NULL DEFAULT 0,
    succeeded bigint NOT NULL DEFAULT 0, failed bigint NOT NULL DEFAULT 0, cancelled bigint NOT NULL DEFAULT 0,
    aborted bigint NOT NULL DEFAULT 0, superseded bigint NOT NULL DEFAULT 0) WITH (fillfactor = 20);
INSERT INTO image_syncer_job_count_shards (shard) SELECT generate_series(0, 15);

-- A superseded job is a failed one with a note that says so.
CREATE VIEW image_syncer_job_counts AS
    SELECT c.status, c.count FROM (
        SELECT sum(todo)::bigint AS todo, sum(doing)::bigint AS doing, sum(succeeded)::bigint AS succeeded,
            sum(failed - superseded)::bigint AS failed, sum(cancelled)::bigint AS cancelled,
            sum(aborted)::bigint AS aborted, sum(superseded)::bigint AS superseded
        FROM image_syncer_job_count_shards) s
    CROSS JOIN LATERAL (VALUES ('todo', todo), ('doing', doing), ('succeeded', succeeded), ('failed', failed),
        ('cancelled', cancelled), ('aborted', aborted), ('superseded', superseded)) AS c (status, count);

UPDATE image_syncer_job_count_shards c SET
    todo = j.todo, doing = j.doing, succeeded = j.succeeded, failed = j.failed, cancelled = j.cancelled,
    aborted = j.aborted, superseded = (SELECT count(*) FROM image_syncer_job_notes WHERE superseded)
FROM (
    SELECT count(*) FILTER (WHERE status = 'todo') AS todo, count(*) FILTER (WHERE status = 'doing') AS doing,
        count(*) FILTER (WHERE status = 'succeeded') AS succeeded, count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'cancelled') AS cancelled, count(*) FILTER (WHERE status = 'aborted') AS aborted
    FROM procrastinate_jobs) j
WHERE c.shard = 0;

CREATE FUNCTION image_syncer_count_jobs_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    delta bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(n.count ORDER BY n.status) INTO delta FROM image_syncer_status_sums_v1(
            (SELECT array_agg(status) FROM new_jobs), NULL) n;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(n.count ORDER BY n.status) INTO delta FROM image_syncer_status_sums_v1(
            NULL, (SELECT array_agg(status) FROM old_jobs)) n;
    ELSE
        SELECT array_agg(n.count ORDER BY n.status) INTO delta FROM image_syncer_status_sums_v1(
            (SELECT array_agg(status) FROM new_jobs), (SELECT array_agg(status) FROM old_jobs)) n;
    END IF;
    IF delta <> '{0,0,0,0,0,0}' THEN
        UPDATE image_syncer_job_count_shards SET
            todo = todo + delta[1], doing = doing + delta[2], succeeded = succeeded + delta[3],
            failed = failed + delta[4], cancelled = cancelled + delta[5], aborted = aborted + delta[6]
        WHERE shard = pg_backend_pid() % 16;
    END IF;
    RETURN NULL;
END
$$;

-- How many more of each status are in the first array than in the second one.
CREATE FUNCTION image_syncer_status_sums_v1(
    added procrastinate_job_status[], removed procrastinate_job_status[],
    OUT status integer, OUT count bigint) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT s.number::integer, coalesce(sum(c.change) , 0)::bigint
    FROM unnest('{todo,doing,succeeded,failed,cancelled,aborted}'::procrastinate_job_status[])
        WITH ORDINALITY AS s (status, number)
    LEFT JOIN (SELECT unnest(added) AS status, 1 AS change UNION ALL SELECT unnest(removed), -1) c USING (status)
    GROUP BY s.number
$$;

CREATE FUNCTION image_syncer_count_notes_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    delta bigint := 0;
BEGIN
    IF TG_OP <> 'DELETE' THEN
        delta := delta + (SELECT count(*) FROM new_notes WHERE superseded);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        delta := delta - (SELECT count(*) FROM old_notes WHERE superseded);
    END IF;
    IF delta <> 0 THEN
        UPDATE image_syncer_job_count_shards SET superseded = superseded + delta WHERE shard = pg_backend_pid() % 16;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER image_syncer_count_inserted AFTER INSERT ON procrastinate_jobs
    REFERENCING NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION image_syncer_count_jobs_v1();
CREATE TRIGGER image_syncer_count_updated AFTER UPDATE ON procrastinate_jobs
    REFERENCING OLD TABLE AS old_jobs NEW TABLE AS new_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION image_syncer_count_jobs_v1();
CREATE TRIGGER image_syncer_count_deleted AFTER DELETE ON procrastinate_jobs
    REFERENCING OLD TABLE AS old_jobs FOR EACH STATEMENT EXECUTE FUNCTION image_syncer_count_jobs_v1();
CREATE TRIGGER image_syncer_count_inserted AFTER INSERT ON image_syncer_job_notes
    REFERENCING NEW TABLE AS new_notes FOR EACH STATEMENT EXECUTE FUNCTION image_syncer_count_notes_v1();
CREATE TRIGGER image_syncer_count_updated AFTER UPDATE ON image_syncer_job_notes
    REFERENCING OLD TABLE AS old_notes NEW TABLE AS new_notes
    FOR EACH STATEMENT EXECUTE FUNCTION image_syncer_count_notes_v1();
CREATE TRIGGER image_syncer_count_deleted AFTER DELETE ON image_syncer_job_notes
    REFERENCING OLD TABLE AS old_notes FOR EACH STATEMENT EXECUTE FUNCTION image_syncer_count_notes_v1();

UPDATE image_syncer_job_schema SET version = 3;
"""
