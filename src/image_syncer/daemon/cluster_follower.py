"""Follows the clusters of rules: a rule runs as soon as its cluster starts an image that was not there before."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final

import structlog

from image_syncer.concurrency.backoff import Backoff
from image_syncer.concurrency.taskpool import background
from image_syncer.daemon.event_recorder import Now
from image_syncer.daemon.reload import LiveConfig
from image_syncer.errors import StoreError
from image_syncer.image_sources.cluster_pods import images_of_pod
from image_syncer.image_sources.foreign_yaml import ValueMap
from image_syncer.jobs import JobsUnavailable
from image_syncer.structs import replace
from image_syncer.sync.image_lists import ClusterScope, ImageList
from image_syncer.sync.rule import Rule

if TYPE_CHECKING:
    from image_syncer.image_sources.cluster_client import ClusterClient

_CHECK_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 5.0  # A rollout starts many pods; one run copies the images of all.
_RETRY_SECONDS: Final = 2.0
_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0
_NEXT_WATCH_SECONDS: Final = 0.1

RequestRun = Callable[[str], Awaitable[int | None]]


class ClusterFollower:
    """Requests a run of each rule whose cluster starts another image; *settle_seconds* gathers changes.

    *request_run* queues a run of the rule with a name and returns its job, None if one is queued already.
    """

    def __init__(
        self,
        request_run: RequestRun,
        config: LiveConfig,
        now: Now,
        *,
        rng: Random,
        settle_seconds: float = _SETTLE_SECONDS,
    ) -> None:
        self._request_run = request_run
        self._config = config
        self._now = now
        self._backoff = Backoff(rng, _FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        self._settle_seconds = settle_seconds
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Follow the clusters of the rules in force until cancelled; starts again after a reload."""
        while True:
            rules = self._config.rules
            async with background(self._follow_all(rules)):
                while self._config.rules is rules:  # noqa: ASYNC110 - an attribute has no event
                    await asyncio.sleep(_CHECK_SECONDS)

    async def _follow_all(self, rules: Sequence[Rule]) -> None:
        names: dict[ClusterScope, list[str]] = {}
        for rule in rules:
            cluster = rule.source.cluster if isinstance(rule.source, ImageList) else None
            if cluster is not None and cluster.watch:
                names.setdefault(cluster, []).append(rule.name)
        async with asyncio.TaskGroup() as group:
            for scope, of_scope in names.items():
                changed = asyncio.Event()
                group.create_task(self._request_runs(of_scope, changed), name="cluster: runs")
                for namespace in scope.namespaces or (None,):
                    follower = PodFollower(scope, namespace, changed, self._now)
                    group.create_task(self._keep_following(follower), name="cluster: watch")

    async def _keep_following(self, follower: "PodFollower") -> None:
        from image_syncer.image_sources.cluster_client import open_cluster  # noqa: PLC0415 - the extra `kubernetes`

        failures = 0
        while True:
            try:
                async with open_cluster(follower.scope) as cluster:
                    async for _ in follower.follow(cluster):
                        failures = 0
            except StoreError as error:
                failures += 1
                self._log.warning("cluster.not_followed", cluster=str(follower), error=str(error))
                await asyncio.sleep(self._backoff.after(failures))

    async def _request_runs(self, rules: Sequence[str], changed: asyncio.Event) -> None:
        while True:
            await changed.wait()
            await asyncio.sleep(self._settle_seconds)
            changed.clear()
            for rule in rules:
                job = await self._request(rule)
                self._log.info("rule.cluster_changed", rule=rule, job=job)

    async def _request(self, rule: str) -> int | None:
        while True:
            try:
                return await self._request_run(rule)
            except JobsUnavailable as error:
                self._log.warning("cluster.postponed", rule=rule, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)


class PodFollower:
    """Follows the pods in one *namespace* of *scope*, None: in all; sets *changed* when a new image appears."""

    def __init__(self, scope: ClusterScope, namespace: str | None, changed: asyncio.Event, now: Now) -> None:
        self.scope = scope
        self.namespace = namespace
        self._changed = changed
        self._now = now
        self._running = replace(scope, grace_seconds=0.0)
        self._seen: set[str] = set()

    def __str__(self) -> str:
        return f"{self.scope.context or 'current context'}{'' if self.namespace is None else f', {self.namespace}'}"

    async def follow(self, cluster: "ClusterClient") -> AsyncGenerator[None]:
        """List the pods and watch them, forever; yields after each success. Raises `StoreError`.

        A version that is too old for the server (410) lists again; bookmarks keep the version fresh where little
        happens.
        """
        from image_syncer.image_sources.cluster_client import ResourceExpired  # noqa: PLC0415 - as above

        while True:
            listed = await cluster.list_pods(self.namespace)
            before, self._seen = self._seen, set()
            self._note(listed.pods, before)
            version = listed.version
            yield
            try:
                while True:
                    async for event in cluster.watch(self.namespace, version):
                        version = event.version or version
                        if event.kind in {"ADDED", "MODIFIED"}:
                            self._note([event.pod], self._seen)
                    yield
                    await asyncio.sleep(_NEXT_WATCH_SECONDS)
            except ResourceExpired:
                continue

    def _note(self, pods: Sequence[ValueMap], known: set[str]) -> None:
        """Add the images of *pods* to those seen; something has changed if one is not *known*."""
        now = self._now()
        images = {image.text for pod in pods for image in images_of_pod(pod, self._running, now)}
        if images - known:
            self._changed.set()
        self._seen |= images
