"""PostgreSQL: the counters of jobs are right, and lists read indexes, so that a million jobs take milliseconds."""

import asyncio
from collections import Counter

import psycopg
from procrastinate.schema import SchemaManager

from image_syncer.jobs import CopyJob, JobFilter, JobStatus, open_jobs
from image_syncer.jobs.queries import QUERIES, SCHEMA, UPGRADES
from image_syncer.structs import replace
from jobs.workbench import QUICK, Hands, eventually, queued, wanted, working
from support.postgres import Postgres

FILL = b"""
INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args, status)
SELECT 'image-syncer.copy', 'copy', 'target ' || n, 'copy ' || n, jsonb_build_object('rule', 'rule' || n % 20),
    (CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END)::procrastinate_job_status
FROM generate_series(1, 20000) n
"""
NOTES = b"INSERT INTO image_syncer_job_notes SELECT id, 'x', id % 3 = 0 FROM procrastinate_jobs WHERE status = 'failed'"
BY_ROWS = b"SELECT status, count(*) FROM image_syncer_job_views GROUP BY status"
BY_COUNTERS = b"SELECT status, count FROM image_syncer_job_counts WHERE count <> 0"


def assert_counted(url: str) -> Counter[str]:
    """Check that the triggers counted each job, and return the numbers by status."""
    with psycopg.connect(url) as connection:
        connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows, counters = (Counter(dict(connection.execute(query).fetchall())) for query in (BY_ROWS, BY_COUNTERS))
    assert counters == rows
    return rows


def change(url: str, *statements: bytes) -> None:
    """Execute *statements*, each as its own transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_the_counters_follow_every_change(postgres: Postgres) -> None:
    """They equal a count of all rows after retries, cancellations, merged retries and the removal of old jobs."""
    url = postgres.new_database()

    async def fail(job: CopyJob) -> None:
        await jobs.request_copy(wanted(str(job.source).partition("/")[2]))  # A successor: the retry is superseded.
        raise ConnectionError

    async with open_jobs(url) as jobs:
        ids = [await queued(jobs, wanted(f"app:{number}")) for number in range(6)]
        await jobs.cancel(ids[0])
        async with working(jobs, Hands(fail), replace(QUICK, concurrency=2)):
            await eventually(lambda: assert_counted(url)["superseded"] >= 5, seconds=20)
        await jobs.retry(ids[1])
        await jobs.retry(ids[0])
        assert (await jobs.counts())[JobStatus.SUPERSEDED] == assert_counted(url)["superseded"]
    change(url, b"DELETE FROM procrastinate_jobs WHERE status = 'failed'")
    assert assert_counted(url)["superseded"] == 0


async def test_workers_at_once_count_each_job_without_waiting_for_one_row(postgres: Postgres) -> None:
    """Four queues of one database, each with its own connections: nothing deadlocks, and no job is missed."""
    url, hands = postgres.new_database(), Hands()
    async with open_jobs(url) as one, open_jobs(url) as two, open_jobs(url) as three, open_jobs(url) as four:
        queues = (one, two, three, four)
        async with working(one, hands), working(two, hands):
            requests = [[wanted(f"app{number}:{n}") for n in range(40)] for number in range(len(queues))]
            await asyncio.gather(*(queue.request_copies(some) for queue, some in zip(queues, requests, strict=True)))
            await eventually(lambda: assert_counted(url)["succeeded"] == 160, seconds=60)


def test_jobs_of_version_2_are_counted_by_the_upgrade(postgres: Postgres) -> None:
    """Those that are there, and each change afterwards."""
    url = postgres.new_database()
    with psycopg.connect(url) as connection:
        connection.execute(SchemaManager.get_schema())
        connection.execute(SCHEMA)
        connection.execute(UPGRADES[1])
    change(url, FILL, NOTES)

    async def upgrade() -> None:
        async with open_jobs(url) as jobs:
            assert (await jobs.counts())[JobStatus.SUCCEEDED] == 19_800

    asyncio.run(upgrade())
    assert assert_counted(url)["superseded"] in {66, 67}
    change(url, b"UPDATE procrastinate_jobs SET status = 'aborted' WHERE id < 50", b"DELETE FROM procrastinate_jobs")
    assert not +assert_counted(url)


FILTERS = [
    JobFilter(),
    JobFilter(rule="rule7"),
    JobFilter(lock="target 77"),
    *(JobFilter(frozenset({status}), rule=rule) for status in JobStatus for rule in (None, "rule7")),
]


async def test_a_list_of_jobs_reads_an_index_and_not_every_job(postgres: Postgres) -> None:
    """No filter scans the table, and each list is what a scan would find."""
    url = postgres.new_database()
    async with open_jobs(url) as jobs:
        change(url, FILL, NOTES, b"ANALYZE")
        with psycopg.connect(url, autocommit=True) as connection:
            everything = connection.execute(
                b"SELECT id, status, lock, args ->> 'rule' FROM image_syncer_job_views ORDER BY id DESC"
            ).fetchall()
            for filtered in FILTERS:
                arguments = filtered.to_arguments()
                plan = connection.execute(b"EXPLAIN " + QUERIES["view_jobs"].encode(), arguments).fetchall()
                assert not [line for (line,) in plan if "Seq Scan on procrastinate_jobs" in line], (filtered, plan)
                expected = [
                    number
                    for number, status, lock, rule in everything
                    if (arguments["statuses"] is None or status in arguments["statuses"])
                    and filtered.lock in {None, lock}
                    and filtered.rule in {None, rule}
                ]
                assert [job.id for job in await jobs.list(filtered)] == expected[: filtered.limit]


async def test_counting_reads_the_counters_alone(postgres: Postgres) -> None:
    """Not the jobs: the page and the metrics ask for it all the time."""
    url = postgres.new_database()
    async with open_jobs(url):
        with psycopg.connect(url) as connection:
            plan = connection.execute(b"EXPLAIN " + QUERIES["count_jobs"].encode()).fetchall()
    assert not [line for (line,) in plan if "procrastinate_jobs" in line]
