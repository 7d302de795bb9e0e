"""A state and a queue in which everything that the API can show has happened once, at fixed times."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from image_syncer.app import Options
from image_syncer.jobs import CopyRequest, JobQueue, open_jobs
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.registry.settings import Credential, HostLimits, RegistryAccount
from image_syncer.state import (
    CopyEnd,
    IntervalSchedule,
    NewEvent,
    NewRun,
    RunPlan,
    State,
    Trigger,
    open_state,
)
from image_syncer.state import CronSchedule as CronTimes
from image_syncer.structs import replace
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.plan import Copy
from image_syncer.sync.referrer_report import ReferrerProblem, ReferrerReport
from image_syncer.sync.result import CopyResult, Outcome, Transferred
from image_syncer.sync.rule import AllTags, Cron, Rule, RuleTarget, TagNames, Triggers
from image_syncer.sync.rule import Every as EveryRule

NOW = datetime(2026, 5, 4, 9, 12, 33, 250_000, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
APP = Repository("registry.test", "team/app")
MIRROR = Repository("mirror.test", "team/app")
NGINX = Repository("docker.io", "library/nginx")
DIGEST = Digest.of(b"source")
TRIMMED = Digest.of(b"target")

RULES = (
    Rule(
        "team",
        SourcePattern.of("registry.test", "team/**"),
        AllTags(),
        (TargetTemplate.of("mirror.test", "{repository}"),),
        triggers=Triggers(events=True),
    ),
    Rule(
        "hub/nginx",
        NGINX,
        TagNames(("1.27", "1.26")),
        (
            RuleTarget(Repository("mirror.test", "hub/nginx")),
            RuleTarget(Repository("backup.test", "nginx"), ("a", "b")),
        ),
        PlatformFilter.parse(["linux/amd64"]),
        triggers=Triggers(EveryRule(93_784.0, 5.0), events=True),
    ),
    Rule("nightly", NGINX, AllTags(), (RuleTarget(MIRROR),), triggers=Triggers(Cron("30 2 * * *", "Europe/Berlin"))),
    Rule("by-hand", NGINX, AllTags(), (RuleTarget(MIRROR),)),
)
OPTIONS = Options(
    (
        RegistryAccount("a.test", insecure=True),
        RegistryAccount("mirror.test/team", Credential("alice", "hunter2")),
        RegistryAccount("mirror.test", Credential("alice", "hunter2")),
    ),
    transfers=3,
    host_limits={"docker.io": HostLimits(transfers=2, requests=7)},
)
COPY_LIMITS = {"mirror.test": 4}


@dataclass(frozen=True)
class Databases:
    """The state and the queue, open."""

    state: State
    jobs: JobQueue


@asynccontextmanager
async def filled_databases(folder: Path) -> AsyncGenerator[Databases]:
    """Open a state and a queue in *folder* in which something has happened."""
    async with open_state(str(folder / "state.db")) as state, open_jobs(str(folder / "jobs.db")) as jobs:
        await _fill_events(state)
        await _fill_runs(state)
        await _fill_schedules(state)
        await _fill_jobs(jobs, folder / "jobs.db")
        yield Databases(state, jobs)


async def _fill_events(state: State) -> None:
    events = [
        NewEvent("harbor", str(APP), "1.4.2", str(DIGEST), "delivery-1"),
        NewEvent("harbor", str(APP), "1.4.3"),
        NewEvent("images/sync/hook", "other.test/app", "2"),
        NewEvent("harbor", str(APP), "1.4.4"),
    ]
    copied, failed, unwanted, _ = [
        number for event in events for number in await state.events.record([event], now=NOW - 9 * MINUTE)
    ]
    await state.events.record(events[:1], now=NOW - 8 * MINUTE)
    targets = {
        copied: [(str(APP.tag("1.4.2")), str(MIRROR.tag("1.4.2")))],
        failed: [(str(APP.tag("1.4.3")), str(MIRROR.tag("1.4.3"))), (str(APP.tag("1.4.3")), "backup.test/app:1.4.3")],
    }
    await state.events.assign(targets)
    await state.events.mark_dispatched([copied, failed], now=NOW - 7 * MINUTE)
    await state.events.mark_unmatched([unwanted], now=NOW - 7 * MINUTE)
    for (source, target), outcome, reason in (
        (targets[copied][0], "copied", None),
        (targets[failed][0], "failed", "no space left"),
    ):
        await state.events.settle(CopyEnd(source, target, NOW - 6 * MINUTE, NOW - 5 * MINUTE, outcome, reason))


ATTACHED = ReferrerReport(
    source=((ReferrerKind.SIGNATURE, 1), (ReferrerKind.SBOM, 1)),
    target=((ReferrerKind.SIGNATURE, 1),),
    copied=1,
    refused=(ReferrerProblem(TRIMMED, ReferrerKind.SBOM, "the registry accepts no pushes"),),
)


async def _fill_runs(state: State) -> None:
    done = [
        CopyResult(
            "hub/nginx",
            "docker.io/library/nginx:1.27",
            "mirror.test/hub/nginx:1.27",
            Outcome.COPIED,
            DIGEST,
            TRIMMED,
            transferred=Transferred(734_003_200, 12, 34),
            seconds=2.25,
            attempts=2,
            referrers=ATTACHED,
        ),
        CopyResult(
            "hub/nginx",
            "docker.io/library/nginx:1.26",
            "mirror.test/hub/nginx:1.26",
            Outcome.FAILED,
            reason="tag is immutable",
            side="target",
            step="push manifest",
            remedy="allow it at the target",
        ),
        CopyResult(
            "hub/nginx", "docker.io/library/nginx:1.26", "backup.test/nginx:b", Outcome.UNCHANGED, DIGEST, DIGEST
        ),
        CopyResult(
            "hub/nginx",
            "docker.io/library/nginx:1.27",
            "backup.test/nginx:a",
            Outcome.SKIPPED,
            reason="interrupted",
            attempts=0,
        ),
    ]
    ended = await state.runs.begin(NewRun(Trigger.SCHEDULE, ["hub/nginx"], NOW - 120 * MINUTE))
    copies = [Copy(result.rule, NGINX.tag("1.27"), MIRROR.tag("x")) for result in done[:1]]
    await state.open_copies.record_plan(
        ended, RunPlan(done[1:], copies, warnings=["one", "two"], unannounced=3), now=NOW - 119 * MINUTE
    )
    await state.open_copies.settle(
        [replace(done[0], source=str(NGINX.tag("1.27")), target=str(MIRROR.tag("x")))],
        began_at=NOW - 118 * MINUTE,
        now=NOW - 117 * MINUTE,
    )
    await state.runs.begin(NewRun(Trigger.REQUEST, ["team", "by-hand"], NOW - MINUTE))
    await state.runs.begin(NewRun(Trigger.EVENT, ["team"], NOW - MINUTE))


async def _fill_schedules(state: State) -> None:
    schedules = {
        "hub/nginx": IntervalSchedule(timedelta(seconds=93_784), timedelta(seconds=5)),
        "nightly": CronTimes("30 2 * * *", "Europe/Berlin", timedelta(0)),
    }
    await state.schedules.replace_all(schedules, now=NOW - 10 * MINUTE, rng=Random(1))
    [due] = await state.schedules.claim(now=NOW - 9 * MINUTE)
    await state.schedules.mark_fired(due, now=NOW - 9 * MINUTE, rng=Random(1))


async def _fill_jobs(jobs: JobQueue, file: Path) -> None:
    for tag in ("1", "2", "3", "4", "5", "6"):
        await jobs.request_copy(CopyRequest(APP.tag(tag), MIRROR.tag(tag), rule="team", digest=DIGEST, event="1"))
    await jobs.request_rule("nightly", trigger=Trigger.REQUEST, not_before=NOW + MINUTE)
    await jobs.request_copy(CopyRequest(APP.tag("8"), MIRROR.tag("8"), not_before=NOW + 2 * MINUTE))
    await jobs.cancel(1)
    statuses = {2: "aborted", 3: "failed", 4: "failed", 5: "doing", 6: "succeeded"}
    await asyncio.to_thread(_set_jobs, file, statuses)


def _set_jobs(file: Path, statuses: dict[int, str]) -> None:
    """Give jobs the statuses and times that a worker would give them."""
    database = sqlite3.connect(file)
    with database:
        for job, status in statuses.items():
            database.execute("UPDATE jobs SET status = ?, attempts = ? WHERE id = ?", (status, job, job))
        for job, superseded in ((3, 0), (4, 1), (6, 0)):
            note = f"target: push blob: mirror.test/team/app: 507 no space left ({job})"
            database.execute("INSERT INTO notes VALUES (?, ?, ?)", (job, note, superseded))
        database.execute("UPDATE events SET at = ? + job_id + id / 100.0", (NOW.timestamp(),))
    database.close()
