"""What is attached to an image after it was copied arrives too: by an event, by a recheck, by the tag list.

Over a real state, a real queue and registries in this process.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from image_syncer.app import Options
from image_syncer.cache import Caches
from image_syncer.cache.backend import LazyBackend
from image_syncer.cache.persistent import for_daemon
from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.event_recorder import EventRecorder
from image_syncer.daemon.event_rule_rechecks import EventRuleRechecks
from image_syncer.daemon.job_handlers import GONE, JobHandlers
from image_syncer.daemon.reload import LiveConfig
from image_syncer.daemon.services import Services, utc_now
from image_syncer.daemon.syncer_handle import open_syncer_handle
from image_syncer.errors import NotTrusted
from image_syncer.events import PushEvent
from image_syncer.jobs import JobFilter, JobRetryPolicy, JobStatus, WorkerOptions, open_jobs
from image_syncer.oci import Digest
from image_syncer.oci.referrer import legacy_tags, referrers_tag
from image_syncer.roles import GatedImage, ReferrerCheck
from image_syncer.server.metrics import Metrics
from image_syncer.server.registry_health import RegistryHealth
from image_syncer.state import StateCacheBackend, open_state
from image_syncer.structs import replace
from image_syncer.sync.referrer_settings import DEFAULT_REFERRERS, NO_REFERRERS, ReferrerSettings
from image_syncer.sync.rule import AllTags, Rule, RuleTarget, Selection, TagNames, Triggers
from image_syncer.sync.rule_trust import RuleTrust
from image_syncer.testing import faults, profiles
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import Image, artifact, cosign_signature, multi, single

POLICY = JobRetryPolicy(attempts=2, first_wait=0.1, longest_wait=0.2, attempts_if_missing=2)
SBOM = "application/spdx+json"
KEEP = timedelta(days=30)


@dataclass
class Bench:
    """A daemon without its server, and the registries between which it copies."""

    services: Services
    recorder: EventRecorder
    dispatcher: Dispatcher
    source: FakeRegistry
    target: FakeRegistry
    caches: Caches

    def use(
        self,
        selection: Selection | None = None,
        *,
        path: str = "app",
        events: bool = True,
        referrers: ReferrerSettings = DEFAULT_REFERRERS,
    ) -> Rule:
        """Put a rule over the source repository *path* in force, by default over all its tags."""
        rule = Rule(
            "app",
            self.source.repository(path),
            selection or AllTags(),
            (RuleTarget(self.target.repository("copied")),),
            triggers=Triggers(events=events),
            referrers=referrers,
        )
        self.services.config.apply((rule,), self.services.config.options, {})
        return rule

    async def push(self, image: Image, tag: str) -> None:
        """Push *image* to the source, which notifies the daemon; return once everything is copied."""
        self.source.load("app", image, tag)
        await self.announce(tag, image.digest)

    async def announce(self, tag: str, digest: Digest | None = None) -> None:
        """Notify the daemon of *tag*; return once no job is left."""
        await self.recorder.accept("hook", [PushEvent(self.source.repository("app"), tag, digest)])
        await self.dispatcher.dispatch()
        await self.idle()

    async def run_rule(self) -> None:
        """Run the rule as its schedule does."""
        await self.services.jobs.request_rule("app")
        await self.idle()

    async def idle(self) -> None:
        """Wait until no job waits or runs."""
        busy = JobFilter(statuses=frozenset({JobStatus.WAITING, JobStatus.RUNNING}))
        async with asyncio.timeout(20):
            while await self.services.jobs.list(busy):  # noqa: ASYNC110 - there is no event for an empty queue
                await asyncio.sleep(0.02)

    async def age_checks(self, seconds: float, *images: Image) -> None:
        """Make the last check of each of *images* *seconds* older."""
        await self.checks_are_written(*images)
        repository, subjects = self.target.repository("copied"), [image.digest for image in images]
        checks = await self.caches.referrers.checks(repository, subjects)
        aged = {one.subject: replace(one, checked_at=one.checked_at - seconds) for one in checks.values()}
        for check in aged.values():
            self.caches.referrers.record_check(check)
        await self._until_written(aged)

    async def checks_are_written(self, *images: Image) -> None:
        """Wait until the state has the checks of *images* by this process; they are written within a second."""
        subjects = [image.digest for image in images]
        await self._until_written(await self.caches.referrers.checks(self.target.repository("copied"), subjects))

    async def _until_written(self, checks: Mapping[Digest, ReferrerCheck]) -> None:
        repository, backend = (
            self.target.repository("copied"),
            StateCacheBackend(self.services.state.database, keep=KEEP),
        )
        async with asyncio.timeout(10):
            while times_of(await backend.referrer_checks(repository, [*checks])) != times_of(checks):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def has(self, image: Image) -> bool:
        """Whether the target holds the manifest of *image*."""
        return self.target.manifest("copied", str(image.digest)) is not None

    async def last_outcomes(self) -> list[tuple[str, str | None]]:
        """Return outcome and reason of the latest result of each image."""
        images = await self.services.state.runs.images()
        return [(result.outcome.value, result.reason) for _, result in images]


def times_of(checks: Mapping[Digest, ReferrerCheck]) -> dict[Digest, float]:
    """Return the time of each check."""
    return {subject: round(check.checked_at, 3) for subject, check in checks.items()}


@asynccontextmanager
async def bench(folder: Path, *, api: bool = True) -> AsyncGenerator[Bench]:
    """Open everything, with a running worker; the source has the referrers API or not."""
    options, stop, arrived = WorkerOptions(retry=POLICY, poll=0.05), asyncio.Event(), asyncio.Event()
    async with (
        FakeRegistry(None if api else replace(profiles.OCI, referrers=False)) as source,
        FakeRegistry() as target,
        open_state(str(folder / "state.db")) as state,
        open_jobs(str(folder / "jobs.db")) as jobs,
    ):
        backend = StateCacheBackend(state.database, keep=timedelta(days=30))
        lazy = LazyBackend(lambda: nullcontext(backend), lambda: False)
        async with (
            for_daemon(lazy, lambda _: None, rest_seconds=1) as caches,
            open_syncer_handle(Options(retries=0), caches) as syncers,
            asyncio.TaskGroup() as group,
        ):
            config = LiveConfig(())
            services = Services(
                state, jobs, syncers, config, Metrics(CollectorRegistry()), Random(1), RegistryHealth(utc_now)
            )
            handlers = JobHandlers(services, POLICY).handlers
            group.create_task(jobs.run_worker(handlers, options, stop=stop, rng=Random(1)))
            recorder = EventRecorder(state.events, config, arrived, utc_now)
            dispatcher = Dispatcher(state, jobs, config, arrived, utc_now, tick_seconds=None)
            yield Bench(services, recorder, dispatcher, source, target, caches)
            stop.set()


async def attach_by_api(it: Bench, image: Image) -> tuple[Image, str]:
    """Attach an SBOM, which the API lists; return it and the tag of an event about it."""
    sbom = artifact("sbom", SBOM, subject=image)
    it.source.load("app", sbom)
    return sbom, referrers_tag(image.digest)


async def attach_by_legacy_tag(it: Bench, image: Image) -> tuple[Image, str]:
    """Sign as older cosign versions do; return the signature and its tag."""
    signature, tag = cosign_signature(image), legacy_tags(image.digest)[0]
    it.source.load("app", signature, tag)
    return signature, tag


Attach = Callable[[Bench, Image], Awaitable[tuple[Image, str]]]
both = pytest.mark.parametrize("attach", [attach_by_api, attach_by_legacy_tag])


@both
@pytest.mark.parametrize("selection", [AllTags(), TagNames(("v1",))])
async def test_a_signature_arrives_by_its_event(tmp_path: Path, attach: Attach, selection: Selection) -> None:
    """The event concerns the image with the digest that its tag contains, and no other one."""
    async with bench(tmp_path) as it:
        it.use(selection)
        image = single("one")
        await it.push(image, "v1")
        await it.push(single("two"), "v2")
        jobs = len(await it.services.jobs.list())
        attached, tag = await attach(it, image)
        await it.announce(tag)
        assert it.has(attached)
        (job, *others) = (await it.services.jobs.list())[: len(await it.services.jobs.list()) - jobs]
        assert (job.args["source"].rpartition(":")[2], others) == ("v1", [])
        assert (await it.last_outcomes())[0] == ("copied", "referrers")


@pytest.mark.parametrize("api", [True, False])
async def test_a_signature_of_a_platform_arrives_by_its_event(tmp_path: Path, api: bool) -> None:
    """No image has its digest, so the newest images of the repository are looked at."""
    async with bench(tmp_path, api=api) as it:
        it.use()
        image = multi("many")
        await it.push(image, "v1")
        [platform, *_] = [raw for raw in image.manifests if raw.digest != image.digest]
        signature = artifact("signature", "application/vnd.example.signature", subject=Image(platform, (platform,), {}))
        tag = legacy_tags(platform.digest)[0]
        it.source.load("app", signature, tag)
        await it.announce(tag)
        assert it.has(signature)


async def test_a_signature_right_after_its_image_is_not_lost(tmp_path: Path) -> None:
    """The image is still on its way: no result has its digest, but its event has."""
    async with bench(tmp_path) as it:
        it.use()
        image = single("one")
        it.source.load("app", image, "v1")
        await it.recorder.accept("hook", [PushEvent(it.source.repository("app"), "v1", image.digest)])
        signature, tag = await attach_by_legacy_tag(it, image)
        await it.announce(tag)
        assert it.has(signature)
        assert {job.args["source"].rpartition(":")[2] for job in await it.services.jobs.list()} == {"v1"}


async def test_a_burst_of_signatures_is_one_job(tmp_path: Path) -> None:
    """And a repeated delivery is none."""
    async with bench(tmp_path) as it:
        it.use()
        image = single("one")
        await it.push(image, "v1")
        repository, tags = it.source.repository("app"), (referrers_tag(image.digest), *legacy_tags(image.digest))
        events = [PushEvent(repository, tag, None, f"delivery {tag}") for tag in tags]
        for _ in range(2):
            await it.recorder.accept("hook", events)
            await it.dispatcher.dispatch()
            await it.idle()
        assert len(await it.services.jobs.list()) == 2
        assert (await it.last_outcomes()) == [("unchanged", None)]


async def test_rules_without_referrers_ignore_their_events(tmp_path: Path) -> None:
    """So do rules that events do not trigger, and those of other repositories."""
    async with bench(tmp_path) as it:
        image = single("one")
        it.source.load("app", image, "v1")
        tag = legacy_tags(image.digest)[0]
        for use in (
            lambda: it.use(referrers=NO_REFERRERS),
            lambda: it.use(events=False),
            lambda: it.use(path="other"),
        ):
            use()
            [accepted] = await it.recorder.accept("hook", [PushEvent(it.source.repository("app"), tag)])
            assert (accepted.rules, await it.dispatcher.dispatch()) == ((), 0)
        assert await it.services.jobs.list() == []


async def test_an_image_that_is_gone_at_the_source_is_no_failure(tmp_path: Path) -> None:
    """Something was attached to another image of the repository; the target keeps this one."""
    async with bench(tmp_path) as it:
        it.use()
        image = single("one")
        await it.push(image, "v1")
        it.source.faults.add(faults.answer(404), path="*/manifests/v1")
        await it.announce(legacy_tags(image.digest)[0])
        assert (await it.last_outcomes()) == [("skipped", GONE)]
        assert it.has(image)


@both
async def test_a_signature_arrives_by_the_recheck(tmp_path: Path, attach: Attach) -> None:
    """Once in the interval, and not between."""
    async with bench(tmp_path) as it:
        it.use()
        image = single("one")
        it.source.load("app", image, "v1")
        await it.run_rule()
        attached, tag = await attach(it, image)
        if tag != referrers_tag(image.digest):
            it.use(TagNames(("v1",)))  # A list of tags would show it.
        await it.run_rule()
        assert not it.has(attached)
        await it.age_checks(25 * 3600, image)
        await it.run_rule()
        assert it.has(attached)
        assert (await it.last_outcomes()) == [("copied", "referrers")]
        jobs = len(await it.services.jobs.list())
        await it.run_rule()
        assert len(await it.services.jobs.list()) == jobs + 1  # The rule's own.


async def test_images_of_a_rule_without_a_schedule_are_compared_when_they_are_due(tmp_path: Path) -> None:
    """Only events run the rule, and none came; an image that is gone at the source is asked for once."""
    async with bench(tmp_path) as it:
        it.use()
        image, gone = single("one"), single("gone")
        await it.push(image, "v1")
        await it.push(gone, "v2")
        sbom, _ = await attach_by_api(it, image)
        it.source.faults.add(faults.answer(404), path="*/manifests/v2")
        rechecks = EventRuleRechecks(it.services, keep=timedelta(days=30))
        await it.checks_are_written(image, gone)
        assert await rechecks.request() == 0
        await it.age_checks(25 * 3600, image, gone)
        assert await rechecks.request() == 2
        await it.idle()
        await it.checks_are_written(image, gone)
        assert it.has(sbom)
        assert sorted(await it.last_outcomes()) == [("copied", "referrers"), ("skipped", GONE)]
        assert await rechecks.request() == 0
        it.use(events=False)
        await it.age_checks(25 * 3600, image, gone)
        assert await rechecks.request() == 0


async def test_a_signature_arrives_by_the_list_of_tags(tmp_path: Path) -> None:
    """A scheduled run reads the list anyway; the next run looks no more."""
    async with bench(tmp_path, api=False) as it:
        it.use()
        image = single("one")
        it.source.load("app", image, "v1")
        await it.run_rule()
        signature, _ = await attach_by_legacy_tag(it, image)
        await it.run_rule()
        assert it.has(signature)
        jobs = len(await it.services.jobs.list())
        await it.run_rule()
        assert len(await it.services.jobs.list()) == jobs + 1  # The rule's own.


class Signed:
    """A gate that wants a signature."""

    settings = "signed"

    async def check(self, image: GatedImage) -> None:
        """Refuse an image without anything attached."""
        if not image.attachments:
            raise NotTrusted("not signed")


async def test_an_image_that_its_gate_refused_is_copied_once_it_is_signed(tmp_path: Path) -> None:
    """The event of the signature is enough."""
    async with bench(tmp_path) as it:
        options = replace(it.services.config.options, retries=0, trust={"app": RuleTrust(Signed())})
        await it.services.syncers.change(options)
        rule = it.use(referrers=NO_REFERRERS)
        it.services.config.apply((rule,), options, {})
        image = single("one")
        await it.push(image, "v1")
        assert not it.has(image)
        _, tag = await attach_by_legacy_tag(it, image)
        await it.announce(tag)
        assert it.has(image)
