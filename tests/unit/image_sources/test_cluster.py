"""What a cluster runs, by the official client against a fake API server."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from image_syncer.daemon.cluster_follower import ClusterFollower, PodFollower
from image_syncer.daemon.reload import LiveConfig
from image_syncer.daemon.services import utc_now
from image_syncer.errors import Denied, Refused, StoreError, Unauthorized, Unavailable
from image_syncer.image_sources import cluster_client
from image_syncer.image_sources.cluster_client import open_cluster
from image_syncer.image_sources.cluster_images import ClusterMemory
from image_syncer.image_sources.cluster_pods import images_of_pods, pin
from image_syncer.image_sources.image_collector import ImageCollector
from image_syncer.structs import replace
from image_syncer.sync.image_lists import ClusterScope, ImageList
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.rule import AllTags, Rule
from support.fake_cluster import FakeCluster, ended, fake_cluster, pod

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
async def cluster() -> AsyncGenerator[FakeCluster]:
    """An empty cluster."""
    async with fake_cluster() as made:
        yield made


@pytest.fixture
def scope(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterScope:
    """All pods of the cluster; the proxies of this machine are not used."""
    monkeypatch.setenv("NO_PROXY", "*")
    return ClusterScope(kubeconfig=str(cluster.write_kubeconfig(tmp_path / "kubeconfig")))


async def found(scope: ClusterScope) -> list[str]:
    """Return the images of the cluster."""
    return [str(image) for image in (await ClusterMemory().find(scope)).images]


@pytest.mark.parametrize(
    ("image", "image_id", "expected"),
    [
        ("nginx:1.27", f"docker.io/library/nginx@{A}", f"nginx:1.27@{A}"),
        ("q.io/a", f"docker-pullable://q.io/a@{A}", f"q.io/a:latest@{A}"),
        (f"q.io/a@{A}", f"q.io/a@{B}", f"q.io/a@{A}"),
        ("q.io/a:1", f"q.io/other@{A}", "q.io/a:1"),
        ("q.io/a:1", A, "q.io/a:1"),
        ("q.io/a:1", "", "q.io/a:1"),
        ("q.io/a:1", f"docker://{A}", "q.io/a:1"),
    ],
)
def test_the_digest_that_runs_counts_if_it_is_of_the_same_repository(image: str, image_id: str, expected: str) -> None:
    """Runtimes also report ids of configs, and other names of the same content."""
    assert pin(image, image_id) == expected


def test_all_containers_of_a_pod_count() -> None:
    """Init containers if they are wanted; sidecars among them always."""
    containers: dict[str, Any] = {
        "initContainers": [
            {"name": "i", "image": "init:1"},
            {"name": "s", "image": "side:1", "restartPolicy": "Always"},
        ],
        "ephemeralContainers": [{"name": "e", "image": "debug:1"}],
    }
    pods = [pod("one", "app:1", **containers)]

    def names(scope: ClusterScope) -> list[str]:
        return [str(image).removeprefix("docker.io/library/") for image in images_of_pods(pods, scope, NOW).images]

    assert names(ClusterScope()) == ["app:1", "init:1", "side:1", "debug:1"]
    assert names(ClusterScope(include_init=False)) == ["app:1", "side:1", "debug:1"]
    assert images_of_pods(pods, ClusterScope(), NOW).images[0].why == "pod default/one, container c0"


@pytest.mark.parametrize(("days", "count"), [(0, 0), (6, 0), (8, 1)])
def test_an_ended_pod_counts_during_the_grace(days: int, count: int) -> None:
    """The pod ended seven days ago."""
    pods = [ended("job", "job:1", (NOW - timedelta(days=7)).isoformat())]
    scope = ClusterScope(grace_seconds=days * 86400.0)
    assert len(images_of_pods(pods, scope, NOW).images) == count


def test_the_newest_pod_decides_which_digest_has_the_tag() -> None:
    """The other digest is copied, too, without a tag."""
    old, new = pod("old", f"q.io/a:1=q.io/a@{A}"), pod("new", f"q.io/a:1=q.io/a@{B}")
    new["metadata"]["creationTimestamp"] = "2026-05-01T00:00:00Z"
    images = images_of_pods([old, new], ClusterScope(), NOW)
    assert [str(image) for image in images.images] == [f"q.io/a:1@{B}", f"q.io/a@{A}"]
    assert len(images.warnings) == 1


def test_images_of_deleted_pods_are_remembered_during_the_grace() -> None:
    """A tag belongs to a running image first."""

    def images(*texts: str) -> ImageCollector:
        collector = ImageCollector()
        for text in texts:
            collector.add(text, "pod")
        return collector

    memory, scope = ClusterMemory(), ClusterScope(grace_seconds=60.0)
    memory.remember(scope, images(f"q.io/a:1@{A}", "q.io/b:1").found().images, NOW)
    gone = memory.remember(scope, images(f"q.io/a:1@{B}").found().images, NOW + timedelta(seconds=30))
    assert [str(image) for image in gone] == [f"q.io/a@{A}", "q.io/b:1"]
    assert not memory.remember(scope, (), NOW + timedelta(seconds=91))
    assert not memory.remember(replace(scope, grace_seconds=0.0), (), NOW)


async def test_pods_are_listed_in_pages(
    cluster: FakeCluster, scope: ClusterScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that expires begins the list again."""
    monkeypatch.setattr(cluster_client, "PAGE", 2)
    cluster.pods = [pod(f"p{number}", f"q.io/a:{number}") for number in range(5)]
    cluster.expired_pages = 1
    assert await found(scope) == [f"q.io/a:{number}" for number in range(5)]
    assert [query.get("continue") for query in cluster.requests] == [None, "2", None, "2", "4"]


async def test_only_the_wanted_namespaces_are_asked(cluster: FakeCluster, scope: ClusterScope) -> None:
    """An account may have rights for them alone."""
    cluster.pods = [pod(name, f"q.io/{name}:1", namespace=name) for name in "abc"]
    assert await found(replace(scope, namespaces=("a", "c"))) == ["q.io/a:1", "q.io/c:1"]
    assert [query["path"] for query in cluster.requests] == [f"/api/v1/namespaces/{name}/pods" for name in "ac"]


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthorized), (403, Denied), (410, Unavailable), (500, Unavailable)]
)
async def test_an_answer_without_pods_is_one_error(
    cluster: FakeCluster, scope: ClusterScope, status: int, kind: type[StoreError]
) -> None:
    """It may be worth a retry, or not."""
    cluster.status = status
    with pytest.raises(kind):
        await found(scope)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kubeconfig": "/nowhere/config"}, "no usable configuration"),
        ({"context": "missing"}, "no usable configuration"),
        ({"context": "other"}, "no usable configuration"),
        ({"kubeconfig": None, "in_cluster": True}, "Service host/port is not set"),
    ],
)
async def test_a_configuration_that_is_not_usable_is_one_error(
    scope: ClusterScope, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    """It names what to do."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Refused, match=message) as error:
        await found(replace(scope, **changes))
    assert "name kubeconfig: and context:" in str(error.value)


async def test_a_server_that_is_down_is_a_temporary_error(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run asks again."""
    monkeypatch.setenv("NO_PROXY", "*")
    cluster.host = "http://127.0.0.1:1"
    path = cluster.write_kubeconfig(tmp_path / "down")
    with pytest.raises(Unavailable):
        await found(ClusterScope(kubeconfig=str(path)))


async def test_the_watch_follows_changes_bookmarks_and_expiry(cluster: FakeCluster, scope: ClusterScope) -> None:
    """A watch continues from the last version, also that of a bookmark; after 410 the pods are listed again."""
    changed = asyncio.Event()
    follower = PodFollower(scope, None, changed, lambda: NOW)
    cluster.pods = [pod("one", "q.io/a:1")]
    async with open_cluster(scope) as client, asyncio.timeout(100):
        steps = follower.follow(client)
        await anext(steps)  # Listed.
        assert changed.is_set()
        changed.clear()
        cluster.emit("ADDED", pod("two", "q.io/a:1"))
        cluster.emit("BOOKMARK", {"kind": "Pod"})
        cluster.events.put_nowait(None)
        await anext(steps)  # The first watch ended; the image was known.
        assert not changed.is_set()
        cluster.emit("MODIFIED", pod("two", "q.io/b:1"))
        cluster.emit("DELETED", pod("one", "q.io/c:1"))
        cluster.events.put_nowait(None)
        await anext(steps)
        assert changed.is_set()
        changed.clear()
        cluster.events.put_nowait({"type": "ERROR", "object": {"kind": "Status", "code": 410}})
        cluster.pods = [pod("three", "q.io/d:1")]
        await anext(steps)  # Listed again.
        assert changed.is_set()
        changed.clear()
        cluster.expired_watches = 1
        await anext(steps)  # And again.
        assert not changed.is_set()
        await steps.aclose()
    assert cluster.watches() == ["100", "102", "104", "104"]
    assert cluster.lists() == 3


class Jobs:
    """A queue that records the rules whose runs are requested."""

    def __init__(self) -> None:
        self.requested: asyncio.Queue[str] = asyncio.Queue()

    async def request_rule(self, rule: str) -> int:
        """Record *rule*."""
        self.requested.put_nowait(rule)
        return 1


async def test_the_daemon_runs_a_rule_when_its_cluster_changes(cluster: FakeCluster, scope: ClusterScope) -> None:
    """Once at the start, and once for many changes; not for a rule that does not watch."""
    targets = (TargetTemplate.parse("t.io/{repository}"),)
    rules = [
        Rule(name, ImageList("kubernetes", cluster=replace(scope, watch=name == "one")), AllTags(), targets)
        for name in ("one", "quiet")
    ]
    jobs = Jobs()
    follower = ClusterFollower(jobs.request_rule, LiveConfig(tuple(rules)), utc_now, rng=Random(1), settle_seconds=0.05)
    cluster.pods = [pod("one", "q.io/a:1")]
    running = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(100):
            assert await jobs.requested.get() == "one"
            cluster.status = 500
            cluster.events.put_nowait(None)  # The watch ends, and the next one fails.
            while len(cluster.watches()) < 2:  # noqa: ASYNC110 - the server only records
                await asyncio.sleep(0.01)
            cluster.status = 200
            cluster.emit("ADDED", pod("two", "q.io/b:1", "q.io/c:1"))
            assert await jobs.requested.get() == "one"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert jobs.requested.empty()
