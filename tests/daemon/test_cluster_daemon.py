"""The daemon of a rule that takes its images from a cluster: a fake API server, and two real registries."""

import asyncio
from pathlib import Path

import pytest

from image_syncer.testing.images import multi, single
from support.daemons import running, wait_for
from support.docker_registry import DockerRegistry
from support.fake_cluster import FakeCluster, fake_cluster, pod
from support.registry_http import Peer

pytestmark = pytest.mark.real


async def test_the_daemon_copies_what_the_cluster_starts(tmp_path: Path) -> None:
    """At its start what runs, by the digest that runs; then what is new, without a schedule."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as one, DockerRegistry() as other:
        source, target = Peer(one.host), Peer(other.host)
        image, newer = multi("running"), single("newer")
        source.push("team/app", image, "v1")
        source.push("team/app", single("moved"), "v1")  # The tag names other content than the pods run.
        source.push("team/new", newer, "v2")
        async with fake_cluster() as cluster:
            name = f"{source.host}/team/app"
            cluster.pods = [pod("app", f"{name}:v1={name}@{image.root.digest}")]
            configure(tmp_path, cluster, target)
            loop = asyncio.get_running_loop()

            def drive() -> None:
                with running(tmp_path, "serve", "-c", "native.yaml"):
                    wait_for(lambda: target.tags("mirror/team/app") == ["v1"])
                    changed = pod("new", f"{source.host}/team/new:v2")
                    loop.call_soon_threadsafe(lambda: cluster.pods.append(changed))
                    loop.call_soon_threadsafe(cluster.emit, "ADDED", changed)
                    wait_for(lambda: target.tags("mirror/team/new") == ["v2"])

            await asyncio.to_thread(drive)
        assert target.manifest("mirror/team/app", "v1") == image.root.content
        assert target.manifest("mirror/team/new", "v2") == newer.root.content


def configure(folder: Path, cluster: FakeCluster, target: Peer) -> None:
    """Write the native file of the daemon."""
    cluster.write_kubeconfig(folder / "kubeconfig")
    (folder / "native.yaml").write_text(f"""
version: 1
rules:
  - name: cluster
    images_from: {{kubernetes: {{kubeconfig: kubeconfig}}}}
    targets: '{target.host}/mirror/{{repository}}'
server: {{listen: '127.0.0.1:0', allow_open: true}}
state: {{path: '{folder}'}}
""")
