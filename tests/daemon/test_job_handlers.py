"""Rules and events as jobs, over a real state, a real queue and registries in this process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from structlog.contextvars import merge_contextvars

from image_syncer.app import Options
from image_syncer.daemon.job_handlers import JobHandlers
from image_syncer.daemon.reconciler import Reconciler
from image_syncer.daemon.reload import LiveConfig
from image_syncer.daemon.services import Services, utc_now
from image_syncer.daemon.syncer_handle import open_syncer_handle
from image_syncer.jobs import CopyRequest, JobFilter, JobRetryPolicy, JobStatus, WorkerOptions, open_jobs
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import Timeouts
from image_syncer.server.metrics import Metrics
from image_syncer.server.registry_health import RegistryHealth
from image_syncer.state import NewEvent, NewRun, RunPlan, RunRecord, Trigger, open_state
from image_syncer.structs import replace
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import AllTags, Rule, RuleTarget, Triggers
from image_syncer.sync.tag_filter import TagFilter
from image_syncer.sync.tag_selection import Latest, TagSelection, TagVersions
from image_syncer.testing import faults
from image_syncer.testing.fake_registry import FakeRegistry, Interceptor
from image_syncer.testing.images import foreign, multi, sharing, single

POLICY = JobRetryPolicy(attempts=3, first_wait=0.1, longest_wait=0.2, attempts_if_missing=2)


@dataclass
class Bench:
    """A worker, and the registries between which it copies."""

    services: Services
    source: FakeRegistry
    target: FakeRegistry

    def rule(self, name: str = "app", platforms: PlatformFilter | None = None, *, events: bool = True) -> Rule:
        """Return a rule over all tags of `app`."""
        target = RuleTarget(self.target.repository("copied"))
        source = self.source.repository("app")
        return Rule(
            name,
            source,
            AllTags(),
            (target,),
            platforms=platforms or PlatformFilter(),
            triggers=Triggers(events=events),
        )

    def use(self, *rules: Rule) -> None:
        """Put *rules* in force."""
        self.services.config.apply(rules, self.services.config.options, {})

    async def carried_out(self, *rules: Rule) -> list[RunRecord]:
        """Run *rules* by jobs; return the ended runs, oldest first."""
        self.use(*rules)
        before = {run.id for run in await self.services.state.runs.page()}
        for rule in rules:
            await self.services.jobs.request_rule(rule.name)
        await self.idle()
        return [run for run in reversed(await self.services.state.runs.page()) if run.id not in before]

    async def idle(self) -> None:
        """Wait until no job waits or runs."""
        busy = JobFilter(statuses=frozenset({JobStatus.WAITING, JobStatus.RUNNING}))
        async with asyncio.timeout(20):
            while await self.services.jobs.list(busy):  # noqa: ASYNC110 - there is no event for an empty queue
                await asyncio.sleep(0.05)


@asynccontextmanager
async def bench(folder: Path, registries: Options | None = None) -> AsyncGenerator[Bench]:
    """Open everything, with a running worker; *registries* are the options of its syncer."""
    options, stop = WorkerOptions(retry=POLICY, poll=0.1), asyncio.Event()
    async with (
        FakeRegistry() as source,
        FakeRegistry() as target,
        open_state(str(folder / "state.db")) as state,
        open_jobs(str(folder / "jobs.db")) as jobs,
        open_syncer_handle(registries or Options(retries=0)) as syncers,
        asyncio.TaskGroup() as group,
    ):
        metrics, health = Metrics(CollectorRegistry()), RegistryHealth(utc_now)
        services = Services(state, jobs, syncers, LiveConfig(()), metrics, Random(1), health)
        group.create_task(jobs.run_worker(JobHandlers(services, POLICY).handlers, options, stop=stop, rng=Random(1)))
        yield Bench(services, source, target)
        stop.set()


async def test_a_rule_is_one_run_with_a_job_for_each_needed_copy(tmp_path: Path) -> None:
    """An unchanged image needs no job; the run ends with the last copy and counts all images."""
    async with bench(tmp_path) as it:
        for number, image in enumerate([single("one"), multi("two"), single("three")]):
            it.source.load("app", image, f"v{number}")
        (run,) = await it.carried_out(it.rule())
        assert (run.trigger, run.rules, run.counts[Outcome.COPIED]) == (Trigger.SCHEDULE, "app", 3)
        assert run.finished_at is not None
        it.source.load("app", single("four"), "v3")
        (run,) = await it.carried_out(it.rule())
        assert (run.counts[Outcome.UNCHANGED], run.counts[Outcome.COPIED]) == (3, 1)
        jobs = await it.services.jobs.list()
        assert [job.kind for job in jobs] == ["copy", "rule", "copy", "copy", "copy", "rule"]


async def test_each_run_of_a_pattern_finds_new_repositories(tmp_path: Path) -> None:
    """They are copied without an event; a repository without new images has nothing to do."""
    async with bench(tmp_path) as it:
        it.source.load("team/one", single("one"), "v1")
        it.source.load("other", single("other"), "v1")
        targets = (TargetTemplate.of(it.target.host, "{repository}"),)
        rule = Rule("team", SourcePattern.of(it.source.host, "team/**"), AllTags(), targets, lists=True)
        (run,) = await it.carried_out(rule)
        assert (run.counts[Outcome.COPIED], run.warnings) == (1, ())
        it.source.load("team/two", single("two"), "v1")
        (run,) = await it.carried_out(rule)
        assert (run.counts[Outcome.UNCHANGED], run.counts[Outcome.COPIED]) == (1, 1)
        assert it.target.manifest("team/two", "v1") == single("two").root
        assert it.target.manifest("other", "v1") is None


async def test_a_run_counts_images_without_an_event(tmp_path: Path) -> None:
    """They reveal a missing webhook."""
    async with bench(tmp_path) as it:
        for tag in ("announced", "unannounced"):
            it.source.load("app", single(tag), tag)
        announced = NewEvent("hook", str(it.source.repository("app")), "announced")
        await it.services.state.events.record([announced], now=utc_now())
        (run,) = await it.carried_out(it.rule())
        assert (run.unannounced, run.counts[Outcome.COPIED]) == (1, 2)
        it.source.load("app", single("later"), "later")
        (run,) = await it.carried_out(it.rule(events=False))
        assert (run.unannounced, run.counts[Outcome.COPIED]) == (None, 1)


async def test_copies_of_a_run_share_a_layer(tmp_path: Path) -> None:
    """It is read once, though each image is a job with its own target repository."""
    async with bench(tmp_path) as it:
        images = sharing("shared", 10, shared=(5000,), own=(100,))
        copies: list[CopyRequest] = []
        for number, image in enumerate(images):
            it.source.load("app", image, f"v{number}")
            target = it.target.repository(f"copied/{number}").tag("v1")
            copies.append(CopyRequest(it.source.repository("app").tag(f"v{number}"), target))
        await it.services.jobs.request_copies(copies)
        await it.idle()
        reads = it.source.requests.count(method="GET", kind="blob")
        assert reads == len({digest for image in images for digest in image.blobs})


async def test_the_platforms_of_a_rule_travel_with_its_copies(tmp_path: Path) -> None:
    """Also where the platforms are not those of a rule."""
    async with bench(tmp_path) as it:
        it.source.load("app", multi("both"), "v1")
        wanted = PlatformFilter.parse(platforms=["linux/arm64"])
        source, target = it.source.repository("app").tag("v1"), it.target.repository("copied").tag("v1")
        await it.services.jobs.request_copy(CopyRequest(source, target, platforms=wanted))
        await it.idle()
        async with it.services.syncers.current() as syncer:
            looked = await syncer.inspect(target)
        assert [platform.architecture for platform, _ in looked.platforms] == ["arm64"]


async def test_a_copy_of_an_event_copies_what_its_rule_says(tmp_path: Path) -> None:
    """A layer with `urls` is copied only if the rule wants it; this source does not hold it."""
    async with bench(tmp_path) as it:
        it.source.load("app", foreign("windows"), "v1")
        source, target = it.source.repository("app").tag("v1"), it.target.repository("copied").tag("v1")
        it.use(replace(it.rule(), nondistributable_layers=True))
        await it.services.jobs.request_copy(CopyRequest(source, target, rule="app", event="1"))
        await it.idle()
        assert it.target.content("copied").tags == {}
        it.use(it.rule())
        await it.services.jobs.request_copy(CopyRequest(source, target, rule="app", event="2"))
        await it.idle()
        assert list(it.target.content("copied").tags) == ["v1"]


async def test_a_push_that_its_rule_does_not_select_now_is_skipped(tmp_path: Path) -> None:
    """The name fits, but a newer version exists; a schedule would not select it either."""
    async with bench(tmp_path) as it:
        it.source.load("app", single("one"), "1.0", "1.1")
        latest = TagSelection(TagFilter(), TagVersions(), latest=Latest(1))
        it.use(replace(it.rule(), selection=latest))
        for number, tag in enumerate(("1.0", "1.1"), start=1):
            ends = it.source.repository("app").tag(tag), it.target.repository("copied").tag(tag)
            await it.services.jobs.request_copy(CopyRequest(*ends, rule="app", event=str(number)))
        await it.idle()
        assert list(it.target.content("copied").tags) == ["1.1"]
        found = await it.services.state.runs.images()
        assert {image.source.rpartition(":")[2]: (image.outcome, image.reason) for _, image in found} == {
            "1.0": (Outcome.SKIPPED, "is not among the 1 latest by semver"),
            "1.1": (Outcome.COPIED, None),
        }


async def test_a_referrer_of_an_image_that_its_rule_does_not_select_now_copies_nothing(tmp_path: Path) -> None:
    """Its image is not copied either."""
    async with bench(tmp_path) as it:
        it.source.load("app", single("one"), "1.0", "1.1")
        it.use(replace(it.rule(), selection=TagSelection(TagFilter(), TagVersions(), latest=Latest(1))))
        ends = it.source.repository("app").tag("1.0"), it.target.repository("copied").tag("1.0")
        await it.services.jobs.request_copy(CopyRequest(*ends, rule="app", event="1", referrers=True))
        await it.idle()
        ((_, image),) = await it.services.state.runs.images()
        assert (image.outcome, image.reason) == (Outcome.SKIPPED, "is not among the 1 latest by semver")
        assert it.target.content("copied").tags == {}


async def test_a_push_fails_if_the_tags_of_its_repository_cannot_be_listed(tmp_path: Path) -> None:
    """It is not known then whether the rule selects it."""

    async def refuse_list(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=403) if request.path.endswith("/tags/list") else None

    async with bench(tmp_path) as it:
        it.source.load("app", single("one"), "1.0")
        it.use(replace(it.rule(), selection=TagSelection(TagFilter(), TagVersions(), latest=Latest(1))))
        it.source.intercept.append(refuse_list)
        ends = it.source.repository("app").tag("1.0"), it.target.repository("copied").tag("1.0")
        await it.services.jobs.request_copy(CopyRequest(*ends, rule="app", event="1"))
        await it.idle()
        ((_, image),) = await it.services.state.runs.images()
        assert (image.outcome, image.side, image.step) == (Outcome.FAILED, "source", "list tags")
        assert it.target.content("copied").tags == {}


async def test_a_temporary_failure_is_retried_and_counts_once(tmp_path: Path) -> None:
    """The run waits for the last attempt."""
    async with bench(tmp_path) as it:
        it.source.load("app", single("flaky"), "v1")
        it.target.intercept.append(failing(6))  # More than one try repeats by itself.
        (run,) = await it.carried_out(it.rule())
        assert (run.counts[Outcome.COPIED], run.counts[Outcome.FAILED]) == (1, 0)
        (copy, _) = await it.services.jobs.list()
        assert copy.attempts > 1


async def test_a_copy_that_never_works_ends_its_run_as_failed(tmp_path: Path) -> None:
    """Its job has failed with the reason; an operator can retry it."""
    async with bench(tmp_path) as it:
        it.source.load("app", single("refused"), "v1")
        it.target.intercept.append(failing(10_000))
        (run,) = await it.carried_out(it.rule())
        assert (run.counts[Outcome.FAILED], run.finished_at is None) == (1, False)
        dead = await it.services.jobs.list(JobFilter(statuses=frozenset({JobStatus.FAILED})))
        assert [(job.kind, job.attempts) for job in dead] == [("copy", 3)]
        assert "push" in (dead[0].last_error or "")


async def test_an_outage_uses_up_no_attempt(tmp_path: Path) -> None:
    """The job succeeds when the registry is back, however often it was attempted."""
    impatient = Options(retries=0, timeouts=Timeouts(patience=0.5), postpone_on_quota=True)
    async with bench(tmp_path, impatient) as it, asyncio.timeout(40):
        it.source.load("app", single("kept"), "v1")
        it.target.faults.add(faults.answer(503))
        source, target = it.source.repository("app").tag("v1"), it.target.repository("copied").tag("v1")
        job = await it.services.jobs.request_copy(CopyRequest(source, target, event="1"))
        assert job is not None
        while await begun(it.services, job) <= POLICY.attempts:  # noqa: ASYNC110 - there is no event for a try
            await asyncio.sleep(0.05)
        it.target.faults.clear()
        await it.idle()
        (view,) = await it.services.jobs.list()
        assert (view.status, "down since" in (view.last_error or "")) == (JobStatus.SUCCEEDED, True)
        assert it.target.manifest("copied", "v1") is not None


async def test_the_log_names_each_copy_with_its_outcome_reason_and_remedy(tmp_path: Path) -> None:
    """A copy that worked at INFO, one that failed as a warning; the lines of its job name it, too."""
    async with bench(tmp_path) as it:
        it.source.load("app", single("good"), "v1")
        it.use(it.rule())
        source, target = it.source.repository("app"), it.target.repository("copied")
        with structlog.testing.capture_logs([merge_contextvars]) as logs:
            for tag in ("v1", "missing"):
                request = CopyRequest(source.tag(tag), target.tag(tag), rule="app", event="1")
                await it.services.jobs.request_copy(request)
            await it.idle()
        missing = str(source.tag("missing"))
        [copied] = [line for line in logs if line["event"] == "copy.finished"]
        assert (copied["log_level"], copied["outcome"], copied["rule"]) == ("info", "copied", "app")
        assert (copied["source"], copied["target"]) == (str(source.tag("v1")), str(target.tag("v1")))
        failed = [line for line in logs if line["event"] == "copy.failed"][-1]
        assert (failed["log_level"], failed["source"], failed["outcome"]) == ("warning", missing, "failed")
        assert "not found" in failed["reason"]
        assert "tag" in failed["remedy"]
        [ended] = [line for line in logs if line["event"] == "job.failed"]
        assert (ended["source"], ended["target"]) == (missing, str(target.tag("missing")))


async def test_a_dead_registry_is_one_log_line_and_one_outage(tmp_path: Path) -> None:
    """Not one for each image that waits for it; its return is one line, too."""
    impatient = Options(retries=0, timeouts=Timeouts(patience=0.5), postpone_on_quota=True)
    async with bench(tmp_path, impatient) as it, asyncio.timeout(60):
        it.target.faults.add(faults.answer(503))
        source, target = it.source.repository("app"), it.target.repository("copied")
        with structlog.testing.capture_logs() as logs:
            for number in range(5):
                it.source.load("app", single(f"image-{number}"), f"v{number}")
                request = CopyRequest(source.tag(f"v{number}"), target.tag(f"v{number}"), event="1")
                await it.services.jobs.request_copy(request)
            while len([line for line in logs if line["event"] == "job.postponed"]) < 12:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
            assert list(it.services.health.outages) == [it.target.host]
            assert "down since" in it.services.health.outages[it.target.host].error
            it.target.faults.clear()
            await it.idle()
        loud = [line["event"] for line in logs if line["log_level"] == "warning" and "registry." not in line["event"]]
        assert [line["registry"] for line in logs if line["event"] == "registry.down"] == [it.target.host]
        assert [line["registry"] for line in logs if line["event"] == "registry.up"] == [it.target.host]
        assert (loud, it.services.health.outages) == ([], {})


async def test_an_unknown_rule_is_retried_before_it_fails(tmp_path: Path) -> None:
    """Another process of the fleet may have reloaded earlier."""
    async with bench(tmp_path) as it:
        await it.services.jobs.request_rule("gone")
        await it.idle()
        (job,) = await it.services.jobs.list()
        assert (job.status, job.attempts) == (JobStatus.FAILED, POLICY.attempts)
        assert "no rule 'gone'" in (job.last_error or "")


async def test_a_copy_of_an_unknown_rule_is_not_made(tmp_path: Path) -> None:
    """The rule may have a gate. Another process of the fleet may know it; after its attempts the copy has failed."""
    async with bench(tmp_path) as it:
        it.source.load("app", single("image"), "v1")
        source, target = it.source.repository("app").tag("v1"), it.target.repository("copied").tag("v1")
        await it.services.jobs.request_copy(CopyRequest(source, target, rule="gone", event="1"))
        await it.idle()
        (job,) = await it.services.jobs.list()
        assert (job.status, job.attempts) == (JobStatus.FAILED, POLICY.attempts)
        assert "no rule 'gone'" in (job.last_error or "")
        assert it.target.content("copied").tags == {}


async def test_a_push_during_its_own_copy_wins(tmp_path: Path) -> None:
    """A run that read the old image cannot overwrite the new one: one job at a time writes a target."""
    async with bench(tmp_path) as it:
        old, new = single("old"), single("new")
        it.source.load("app", old, "v1")
        reached, go_on = asyncio.Event(), asyncio.Event()
        it.target.intercept.append(holding(reached, go_on))
        it.use(it.rule())
        await it.services.jobs.request_rule("app")
        async with asyncio.timeout(10):
            await reached.wait()
        it.source.load("app", new, "v1")
        source, target = it.source.repository("app").tag("v1"), it.target.repository("copied").tag("v1")
        await it.services.jobs.request_copy(CopyRequest(source, target, event="1"))
        await asyncio.sleep(1)  # Time enough to overtake, were it allowed.
        go_on.set()
        await it.idle()
        async with it.services.syncers.current() as syncer:
            assert (await syncer.inspect(target)).manifest.digest == new.digest


async def test_the_reconciler_ends_a_cancelled_copy(tmp_path: Path) -> None:
    """Its run and its event do not wait for it; a copy with a job is left alone."""
    async with bench(tmp_path) as it:
        state, jobs = it.services.state, it.services.jobs
        later = utc_now() + timedelta(days=1)
        copies = [
            CopyRequest(it.source.repository("app").tag(tag), it.target.repository("copied").tag(tag), not_before=later)
            for tag in ("gone", "kept")
        ]
        run = await state.runs.begin(NewRun(Trigger.SCHEDULE, ["app"], utc_now()))
        plan = RunPlan([], [Copy("app", copy.source, copy.target) for copy in copies])
        await state.open_copies.record_plan(run, plan, now=utc_now())
        gone, _ = await jobs.request_copies(copies)
        assert gone is not None
        assert await jobs.cancel(gone)
        assert await Reconciler(state, jobs, utc_now).reconcile() == 0
        assert await Reconciler(state, jobs, lambda: utc_now() + timedelta(hours=1)).reconcile() == 1
        found = await state.runs.get(run)
        assert found is not None
        assert (found.counts[Outcome.SKIPPED], found.finished_at) == (1, None)
        assert await state.open_copies.list_of_run(run) == [(str(copies[1].source), str(copies[1].target))]


async def begun(services: Services, job: int) -> int:
    """Return how often *job* was started."""
    found = await services.jobs.show(job)
    assert found is not None
    return sum(step.what == "started" for step in found[1])


def failing(times: int) -> Interceptor:
    """Return an interceptor that answers the first *times* manifest uploads with a server error."""
    remaining = [times]

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT" and "/manifests/" in request.path and remaining[0] > 0:
            remaining[0] -= 1
            return web.Response(status=503, headers={"Retry-After": "0"})
        return None

    return answer


def holding(reached: asyncio.Event, go_on: asyncio.Event) -> Interceptor:
    """Return an interceptor that holds the first manifest upload until *go_on*."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT" and "/manifests/" in request.path and not reached.is_set():
            reached.set()
            await go_on.wait()
        return None

    return answer
