"""`image-syncer jobs` on the daemon's queue, in a SQLite file and in PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from image_syncer.errors import CopyFailed, Denied
from image_syncer.jobs import CopyJob, CopyRequest, JobQueue, JobRecord, JobStatus, open_jobs
from image_syncer.oci import Digest
from image_syncer.structs import replace
from jobs.workbench import SLUGGISH, Hands, busy, eventually, queued, seen, settled, wanted, working
from support.command_line import CommandLine, Done
from support.ports import free_port
from support.postgres import PASSWORD, Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Return the section `state` of a daemon's file."""
    if request.param == "sqlite":
        return {"path": str(tmp_path / "kept")}
    server: Postgres = request.getfixturevalue("postgres")
    return {"url": server.new_database()}


@pytest.fixture
async def jobs(store: dict[str, str], cli: CommandLine) -> AsyncGenerator[JobQueue]:
    """Return the queue of the daemon whose file is d.yaml."""
    cli.write("d.yaml", daemon(store))
    async with open_jobs(store.get("url") or f"{store['path']}/jobs.db") as opened:
        yield opened


def daemon(state: dict[str, str]) -> str:
    """Return a daemon's file."""
    return f"version: 1\nserver: {{listen: '127.0.0.1:8080'}}\nrules: []\nstate: {json.dumps(state)}\n"


async def call(cli: CommandLine, *arguments: str) -> Done:
    """Run `image-syncer jobs` in a thread, beside the workers of the test."""
    return await asyncio.to_thread(cli.run, "jobs", *arguments, "-c", "d.yaml")


async def json_of(cli: CommandLine, *arguments: str) -> Any:
    """Return the parsed JSON output of `image-syncer jobs`."""
    return json.loads((await call(cli, *arguments, "--output", "json")).stdout)


async def refuse(job: CopyJob) -> None:
    """Fail a copy for good."""
    raise CopyFailed(Denied(f"{job.target}: denied", remedy="ask for the right"), side="target", step="push blob")


def is_finished(view: JobRecord) -> bool:
    """Whether the job has its final status."""
    return view.status not in {JobStatus.WAITING, JobStatus.RUNNING}


async def failed(jobs: JobQueue, *requests: CopyRequest) -> list[int]:
    """Return the ids of jobs that failed for good."""
    ids = [await queued(jobs, request) for request in requests]
    async with working(jobs, Hands(refuse)):
        for job in ids:
            await settled(jobs, job, is_finished)
    return ids


async def test_jobs_are_listed_newest_first_with_their_errors_and_counted(jobs: JobQueue, cli: CommandLine) -> None:
    """In a pipe each job has one line without colours; the last line counts all jobs."""
    [dead] = await failed(jobs, wanted("app:1"))
    waiting = await queued(jobs, wanted("app:2"))
    rule = await jobs.request_rule("nightly")
    done = await call(cli, "list")
    lines = [line.split() for line in done.stdout.splitlines() if line]
    assert (done.returncode, done.stderr, "\x1b" in done.stdout) == (0, "", False)
    assert lines[0] == ["id", "kind", "status", "attempts", "age", "next", "what"]
    assert [line[:4] for line in lines[1:4]] == [
        [str(rule), "rule", "waiting", "0"],
        [str(waiting), "copy", "waiting", "0"],
        [str(dead), "copy", "failed", "1"],
    ]
    assert "src.example/app:1 → dst.example/app:1  target: push blob: dst.example/app:1: denied" in done.stdout
    assert lines[4] == ["total:", "2", "waiting,", "1", "failed"]


async def test_a_listing_can_be_narrowed_and_continued(jobs: JobQueue, cli: CommandLine) -> None:
    """The options filter by status, by kind and by page; `next` of the last page is null."""
    await failed(jobs, wanted("dead:1"))
    ids = [await queued(jobs, wanted(f"app:{number}")) for number in range(3)]
    await jobs.request_rule("nightly")
    await jobs.cancel(ids[0])
    kinds = [job["kind"] for job in (await json_of(cli, "list", "--kind", "rule"))["jobs"]]
    some = await json_of(cli, "list", "--status", "failed", "--status", "cancelled")
    first = await json_of(cli, "list", "--kind", "copy", "--limit", "2")
    second = await json_of(cli, "list", "--kind", "copy", "--limit", "3", "--before", str(first["next"]))
    assert (kinds, [job["status"] for job in some["jobs"]]) == (["rule"], ["cancelled", "failed"])
    assert [job["id"] for job in first["jobs"]] == [ids[2], ids[1]]
    assert (second["jobs"][0]["id"], second["next"]) == (ids[0], None)
    assert first["counts"] == {
        "waiting": 3, "running": 0, "succeeded": 0, "failed": 1, "superseded": 0, "cancelled": 1,
    }  # fmt: skip


async def test_show_prints_all_facts_of_a_job(jobs: JobQueue, cli: CommandLine) -> None:
    """It prints source, target, rule, event, error, time of the next attempt, and the steps."""

    async def fail_for_now(_job: CopyJob) -> None:
        raise busy()

    job = await queued(jobs, replace(wanted(), digest=Digest.of(b"x"), rule="all", event="17", priority=5))
    async with working(jobs, Hands(fail_for_now), SLUGGISH):
        await settled(jobs, job, lambda view: view.attempts)
    shown, facts = (await call(cli, "show", str(job))).stdout, await json_of(cli, "show", str(job))
    for text in ("src.example/app:1", "dst.example/app:1", str(Digest.of(b"x")), "all", "17", "asked to slow down"):
        assert text in shown
    assert "Z, in " in shown
    assert shown.splitlines()[-4:-1] == [line for line in shown.splitlines() if line.startswith("    ")]
    assert shown.rstrip().endswith("put back into the queue")
    assert (facts["attempts"], facts["priority"], facts["rule"], facts["event"]) == (1, 5, "all", "17")
    assert facts["next_at"] > facts["created_at"]
    assert [step["what"] for step in facts["steps"]] == ["deferred", "started", "deferred_for_retry"]


async def test_a_failed_job_is_retried_and_a_refusal_has_its_reason(jobs: JobQueue, cli: CommandLine) -> None:
    """Each job has its result; one refusal makes the exit code 1 and stops no other job."""
    again, joined = await failed(jobs, wanted("app:1"), wanted("app:2"))
    await queued(jobs, wanted("app:2"))
    fine = await queued(jobs, wanted("app:3"))
    await jobs.cancel(await queued(jobs, wanted("app:4")))
    async with working(jobs, Hands()):
        await settled(jobs, fine, is_finished)
    await queued(jobs, wanted("app:2"))
    done = await call(cli, "retry", "99", str(fine), str(again), str(joined), str(2**63))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"job {again} is queued",
        f"job {joined} was not queued: another job for the same image or rule already waits",
    ]
    assert done.stderr.splitlines() == [
        "image-syncer: there is no job 99",
        f"image-syncer: job {fine} is succeeded: cannot retry it",
        f"image-syncer: there is no job {2**63}",
    ]
    view = await seen(jobs, again)
    assert (view.status, view.attempts) == (JobStatus.WAITING, 0)


async def test_all_failed_jobs_are_retried_at_once(jobs: JobQueue, cli: CommandLine) -> None:
    """A second retry finds none, which is no failure."""
    ids = await failed(jobs, *(wanted(f"app:{number}") for number in range(3)))
    await queued(jobs, wanted("app:0"))
    done = await call(cli, "retry", "--failed")
    assert (done.returncode, done.stdout, done.stderr) == (
        0, "2 jobs queued again, 1 job not queued because others for the same image or rule wait\n", "",
    )  # fmt: skip
    assert [(await seen(jobs, job)).status.value for job in ids] == ["failed", "waiting", "waiting"]
    assert await json_of(cli, "retry", "--failed") == {"jobs": [{"id": ids[0], "result": "merged", "status": None}]}


async def test_cancel_ends_waiting_and_running_jobs(jobs: JobQueue, cli: CommandLine) -> None:
    """The worker that runs a job holds the lock of the embedded store; cancelling works beside it and lasts."""
    answered = asyncio.Event()

    async def linger(_job: CopyJob) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await answered.wait()

    hands = Hands(linger)
    later = await queued(jobs, replace(wanted("other:1", source="src2.example"), priority=-1))
    running = await queued(jobs, wanted("other:1"))
    async with working(jobs, hands):
        await eventually(lambda: hands.running)
        done = await call(cli, "cancel", str(running), str(later))
        answered.set()
        view = await settled(jobs, running, is_finished)
    assert done.stdout.splitlines() == [f"job {running} is running and will stop", f"job {later} is cancelled"]
    assert (done.returncode, view.status, hands.ended) == (0, JobStatus.CANCELLED, [])
    again = await call(cli, "cancel", str(running), "--output", "json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["jobs"] == [{"id": running, "result": "refused", "status": "cancelled"}]


async def test_showing_an_unknown_job_is_an_error(jobs: JobQueue, cli: CommandLine) -> None:
    """The exit code is 1."""
    done = await call(cli, "show", "7")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "image-syncer: there is no job 7\n")
    assert (await call(cli, "list")).stdout == "\n  no jobs\n\n"


async def test_jobs_of_a_daemon_that_never_ran_create_no_database(cli: CommandLine, store: dict[str, str]) -> None:
    """No file, directory or table appears."""
    cli.write("d.yaml", daemon(store))
    for arguments in (["list"], ["retry", "--failed"], ["cancel", "1"]):
        done = await call(cli, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert "not created yet (the daemon creates it at its first start" in done.stderr
        assert done.stderr.count("\n") == 1
    if "url" in store:
        with psycopg.connect(store["url"]) as connection:
            count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            assert connection.execute(count).fetchone() == (0,)
    else:
        assert [path.name for path in cli.directory.iterdir()] == ["d.yaml"]


def test_a_database_that_is_down_is_an_error_without_its_password(cli: CommandLine) -> None:
    """The exit code is 1, since a later try may work."""
    url = f"postgresql://owner:{quote(PASSWORD)}@127.0.0.1:{free_port()}/jobs"
    cli.write("d.yaml", daemon({"url": url}))
    done = cli.run("jobs", "list", "-c", "d.yaml")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "Connection refused" in done.stderr
    assert "check that the database runs" in done.stderr
    assert PASSWORD not in done.stderr
    assert url.split("@", maxsplit=1)[0] not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list"], "no --config FILE, and no configs/sync.yaml in this directory (image-syncer jobs list -c FILE)"),
        (["list", "-c", "none.yaml"], "none.yaml: "),
        (["list", "-c", "once.yaml"], "once.yaml: this file has no server, so it has no jobs"),
        (["list", "--status", "doing"], "'--status'"),
        (["list", "--limit", "0"], "'--limit'"),
        (["show", "seven"], "(see image-syncer jobs show --help)"),
        (["retry"], "no job ids are given (image-syncer jobs retry ID..., or image-syncer jobs retry --failed)"),
        (["retry", "1", "--failed"], "job ids and --failed exclude each other"),
        (["cancel"], "Missing argument 'ID...' (see image-syncer jobs cancel --help)"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(cli: CommandLine, arguments: list[str], message: str) -> None:
    """The line names the problem and the remedy; stdout is empty."""
    cli.write("once.yaml", "version: 1\nrules: [{name: a, source: src.example/a, targets: dst.example/a}]\n")
    done = cli.run("jobs", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


async def test_jobs_need_no_secret_of_the_server(cli: CommandLine) -> None:
    """Only state: is read. Its relative path belongs to the directory of the file, wherever the command runs."""
    cli.write("other/unused", "")
    cli.write(
        "etc/d.yaml",
        "version: 1\nrules: []\nstate: {path: '${PLACE}'}\n"
        "server: {listen: ':8080', auth: {basic: {username: u, password: '${OPERATOR_PASSWORD}'}}}\n"
        "hooks: {h: {kind: github, secret: '${HOOK_SECRET}'}}\n"
        "registries: {q.io: {username: u, password: '${REGISTRY_PASSWORD}'}}\n",
    )
    cli.environment["PLACE"] = "kept"
    async with open_jobs(str(cli.directory / "etc/kept/jobs.db")) as jobs:
        job = await queued(jobs, wanted())
    done = await asyncio.to_thread(cli.run, "jobs", "show", str(job), "-c", "etc/d.yaml", "--output", "json")
    moved = await asyncio.to_thread(cli.shell, f"cd other && $it jobs show {job} -c ../etc/d.yaml --output json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(moved.stdout) == json.loads(done.stdout)
    del cli.environment["PLACE"]
    unset = await asyncio.to_thread(cli.run, "jobs", "list", "-c", "etc/d.yaml")
    assert unset.returncode == 2
    assert "state.path: the environment variable PLACE is not set" in unset.stderr


def test_another_state_directory_is_suspected(cli: CommandLine) -> None:
    """The daemon of a service manager may have another XDG_STATE_HOME than the shell of an operator."""
    cli.write("d.yaml", "version: 1\nrules: []\nserver: {}\n")
    done = cli.run("jobs", "list", "-c", "d.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "jobs.db: there are no jobs yet, or the daemon has another state directory" in done.stderr
    assert "set state: {path: DIRECTORY} in d.yaml, or XDG_STATE_HOME as for the daemon" in done.stderr
    assert [path.name for path in cli.directory.iterdir()] == ["d.yaml"]


async def test_the_default_file_of_the_fork_works_without_its_login(cli: CommandLine) -> None:
    """`jobs` finds the queue of its daemon and does not check the login of its hook."""
    cli.write(
        "configs/sync.yaml",
        "registry: {reg: [{sourceName: src.example, namespace: t, destinationName: dst.example}]}\n",
    )
    async with open_jobs(str(cli.directory / ".local/state/image-syncer/jobs.db")) as jobs:
        job = await queued(jobs, wanted())
    done = await asyncio.to_thread(cli.run, "jobs", "show", str(job))
    assert (done.returncode, done.stderr) == (0, "")
    assert "dst.example/app:1" in done.stdout
