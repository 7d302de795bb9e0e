"""Defects of the Go tool, each shown to be absent (A1 to A11, A14 to A16 and A19)."""

import asyncio
import json
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from image_syncer.errors import ConfigError, StoreError
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.limits.retry import RetryPolicy
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Limits
from image_syncer.sync.result import Outcome
from image_syncer.testing import FakeRegistry
from image_syncer.testing.artifact_kinds import twenty_kinds
from image_syncer.testing.images import ODD, index, multi, nested, sharing, single, zero_layers
from support.docker_registry import DockerProfile, DockerRegistry
from support.registry_http import Peer
from support.skopeo import Skopeo
from support.syncs import by_target, sync_files

pytestmark = pytest.mark.real

PASSWORDS = {"alice": "right"}


@pytest.fixture
def guarded() -> Generator[DockerRegistry]:
    """A registry that wants Basic authentication."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry(DockerProfile(passwords=PASSWORDS)) as registry:
        yield registry


@pytest.mark.parametrize("key", ["team", "team/", "team/app"])
async def test_a1_a2_the_longest_matching_credential_wins_every_time(
    key: str, guarded: DockerRegistry, source: Peer, tmp_path: Path
) -> None:
    """A1: not a random one. A2: a key equal to the full repository works and nothing vanishes."""
    source.push("app", single("a"), "v1")
    wrong = {"username": "alice", "password": "wrong"}
    auth = {guarded.host: wrong, f"{guarded.host}/{key}": {"username": "alice", "password": "right"}}
    for number in range(5):
        rules = {f"{source.host}/app:v1": f"{guarded.host}/team/app:t{number}"}
        result = await sync_files(tmp_path, rules, auth=auth)
        assert [entry.outcome for entry in result.results] == [Outcome.COPIED], result.results[0].reason


async def test_a1_a_key_matches_whole_path_components(guarded: DockerRegistry, source: Peer, tmp_path: Path) -> None:
    """`host/team` says nothing about `host/teamwork`: the login of the host is used there."""
    source.push("app", single("a"), "v1")
    auth = {
        guarded.host: {"username": "alice", "password": "right"},
        f"{guarded.host}/team": {"username": "alice", "password": "wrong"},
    }
    result = await sync_files(tmp_path, {f"{source.host}/app:v1": f"{guarded.host}/teamwork/app"}, auth=auth)
    assert not result.failed


async def test_a3_an_index_entry_without_a_platform_is_kept(source: Peer, target: Peer, tmp_path: Path) -> None:
    """No crash, no loss: it passes every filter."""
    source.push("app", twenty_kinds()["no-platforms"], "v1")
    rules = {f"{source.host}/app:v1": f"{target.host}/app"}
    result = await sync_files(tmp_path, rules, systems=["linux"], architectures=["s390x"])
    assert [entry.outcome for entry in result.results] == [Outcome.COPIED]
    content = target.manifest("app", "v1")
    assert content is not None
    assert len(json.loads(content)["manifests"]) == 2


async def test_a4_a_missing_child_is_a_failure(
    source: Peer, source_registry: DockerRegistry, target: Peer, tmp_path: Path
) -> None:
    """Not "no manifest fits": the image fails, names its child, and no tag appears."""
    image = multi("a")
    source.push("app", image, "v1")
    child = image.manifests[0].digest
    source.delete_manifest("app", child)
    result = await sync_files(tmp_path, {f"{source.host}/app:v1": f"{target.host}/app"})
    (entry,) = result.results
    assert (entry.outcome, entry.side, entry.step) == (Outcome.FAILED, "source", "read manifest")
    assert str(child) in (entry.reason or "")
    assert result.failed
    assert target.tags("app") == []


async def test_a5_os_and_arch_are_not_swapped_in_nested_indexes(source: Peer, target: Peer, tmp_path: Path) -> None:
    """The filter means the same at every depth."""
    source.push("app", nested("a", 3), "v1")
    rules = {f"{source.host}/app:v1": f"{target.host}/app"}
    result = await sync_files(tmp_path, rules, systems=["linux"], architectures=["arm64"])
    assert [entry.outcome for entry in result.results] == [Outcome.COPIED], result.results[0].reason
    content = target.manifest("app", "v1")
    assert content is not None
    (entry,) = json.loads(content)["manifests"]
    assert "platform" not in entry  # The nested index; the amd64 image beside it is gone.


@pytest.mark.parametrize("docker", [False, True])
async def test_a6_variants_match_in_oci_and_docker(docker: bool, source: Peer, target: Peer, tmp_path: Path) -> None:
    """`arm:v7` finds its image, and what is dropped is dropped from the index as well."""
    source.push("app", multi("a", docker=docker), "v1")
    rules = {f"{source.host}/app:v1": f"{target.host}/app"}
    result = await sync_files(tmp_path, rules, architectures=["arm:v7"])
    assert not result.failed
    content = target.manifest("app", "v1")
    assert content is not None
    (entry,) = json.loads(content)["manifests"]
    assert entry["platform"]["variant"] == "v7"


@pytest.mark.parametrize("docker", [False, True])
async def test_a6_single_manifests_are_filtered_by_their_config(
    docker: bool, source: Peer, target: Peer, tmp_path: Path
) -> None:
    """In OCI and Docker media types."""
    source.push("app", single("a", docker=docker), "v1")
    rules = {f"{source.host}/app:v1": f"{target.host}/app"}
    result = await sync_files(tmp_path, rules, architectures=["arm64"])
    assert [entry.outcome for entry in result.results] == [Outcome.SKIPPED]


async def test_a7_a8_a9_twenty_kinds_arrive_with_their_digests(
    source: Peer, target: Peer, skopeo: Skopeo, tmp_path: Path
) -> None:
    """Nothing is re-serialised, nested or empty images neither crash nor vanish; skopeo reads the same bytes."""
    kinds = twenty_kinds()
    for name, image in kinds.items():
        source.push("kinds/all", image, name)
    result = await sync_files(tmp_path, {f"{source.host}/kinds/all": f"{target.host}/mirror/all"})
    assert len(kinds) == 20
    assert len(result.results) == 19  # The signature goes with its image.
    assert not result.failed, [entry.reason for entry in result.results if entry.reason]
    for name, image in kinds.items():
        for raw in image.manifests:
            assert target.manifest("mirror/all", str(raw.digest)) == raw.content, name
        assert skopeo.raw(f"{target.host}/mirror/all:{name}") == image.root.content, name


async def test_a7_an_untouched_filter_changes_no_byte(source: Peer, target: Peer, tmp_path: Path) -> None:
    """An index whose children all pass keeps its digest, also with unusual formatting."""
    image = multi("a", style=ODD)
    source.push("app", image, "v1")
    await sync_files(tmp_path, {f"{source.host}/app:v1": f"{target.host}/app"}, systems=["linux"])
    assert target.manifest("app", "v1") == image.root.content


async def test_a8_broken_combinations_are_one_clear_line(source: Peer, target: Peer, tmp_path: Path) -> None:
    """A digest in a comma list is refused with the line instead of a panic."""
    rules = {f"{source.host}/app@sha256:{'0' * 64},v1": f"{target.host}/app"}
    with pytest.raises(ConfigError, match=r"images\.json:1"):
        await sync_files(tmp_path, rules)


async def test_a9_manifests_without_layers_are_pushed(source: Peer, target: Peer, tmp_path: Path) -> None:
    """Zero layers, and even an index of nothing."""
    source.push("app", zero_layers("a"), "none")
    await sync_files(tmp_path, {f"{source.host}/app:none": f"{target.host}/app"})
    assert target.tags("app") == ["none"]
    empty = index(())
    async with FakeRegistry() as one, FakeRegistry() as other:
        one.load("app", empty, "empty")
        result = await sync_files(tmp_path, {f"{one.host}/app:empty": f"{other.host}/app"})
        assert [entry.outcome for entry in result.results] == [Outcome.COPIED], result.results[0].reason


async def test_a10_a11_a_no_op_is_one_head_per_tag_and_side(
    source: Peer, target: Peer, source_registry: DockerRegistry, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """No manifest is read (nor a pull counted), one ping per registry, one tag list: counted at the registries."""
    tags = [f"v{number}" for number in range(25)]
    source.push("app", multi("a"), *tags)
    rules = {f"{source.host}/app": f"{target.host}/app"}
    await sync_files(tmp_path, rules)
    source_registry.forget_requests()
    target_registry.forget_requests()
    result = await sync_files(tmp_path, rules)
    assert result.counts[Outcome.UNCHANGED] == 25
    at_source, at_target = source_registry.read_requests(), target_registry.read_requests()
    assert at_source.count(method="HEAD", kind="manifest") == at_target.count(method="HEAD", kind="manifest") == 25
    assert at_source.count(kind="tags") == 1
    assert at_source.count(kind="ping") == at_target.count(kind="ping") == 1
    assert (len(at_source), len(at_target)) == (27, 26)


async def test_a14_a_registry_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """Every wait is bounded: by default a minute, here less."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        limits = Limits(connect_seconds=0.5, stall_seconds=0.5)
        keychain = Keychain((), environment={}, home=tmp_path)
        async with Registries(keychain, limits=limits, policy=RetryPolicy(attempts=1), environment={}) as registries:
            repository = Repository("127.0.0.1:%d" % silent.getsockname()[1], "app")  # noqa: UP031 -- a port
            with pytest.raises(Exception, match=r"0\.5|answer|time") as error:
                await registries.source(repository).resolve("v1")
            assert isinstance(error.value, StoreError)


async def test_a14_everything_is_closed_after_a_run(source: Peer, target: Peer, tmp_path: Path) -> None:
    """No connection, file or task is left, also after a failure."""
    source.push("app", multi("a"), "v1")
    rules = {f"{source.host}/app:{tag}": f"{target.host}/app" for tag in ("v1", "missing")}
    before = open_descriptors()
    for _ in range(3):
        assert (await sync_files(tmp_path, rules)).failed
    assert open_descriptors() <= before
    assert len(asyncio.all_tasks()) == 1


def open_descriptors() -> int:
    """Return the number of open files and sockets of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a15_overlapping_rules_copy_a_pair_once(
    source: Peer, target: Peer, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """The second rule finds nothing left to do."""
    source.push("app", single("a"), "v1")
    base = f"{source.host}/app"
    rules = {base: f"{target.host}/app", f"{base}:v1": f"{target.host}/app", f"{base}:/v/": f"{target.host}/app"}
    result = await sync_files(tmp_path, rules)
    assert len(result.results) == 1
    assert target_registry.read_requests().count(method="PUT", kind="manifest") == 1


async def test_a16_results_are_about_images(source: Peer, target: Peer, tmp_path: Path) -> None:
    """One entry for each image and target, unchanged ones included."""
    for number, image in enumerate(sharing("s", 3, shared=(500, 600), own=(70,))):
        source.push("app", image, f"v{number}")
    rules = {f"{source.host}/app": f"{target.host}/app"}
    first = await sync_files(tmp_path, {**rules, f"{source.host}/none:v1": f"{target.host}/none"})
    outcomes = {name: entry.outcome for name, entry in by_target(first).items()}
    assert outcomes == {
        "app:v0": Outcome.COPIED,
        "app:v1": Outcome.COPIED,
        "app:v2": Outcome.COPIED,
        "none:v1": Outcome.FAILED,
    }
    assert (await sync_files(tmp_path, rules)).counts[Outcome.UNCHANGED] == 3


async def test_a19_a_dollar_in_a_login_survives(source: Peer, tmp_path: Path) -> None:
    """Harbor's `robot$x` works as it is written, `$$` is a `$`, and `${NAME}` is a variable."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    source.push("app", single("a"), "v1")
    with DockerRegistry(DockerProfile(passwords={"robot$x": "pa$$word"})) as harbor:
        rules = {f"{source.host}/app:v1": f"{harbor.host}/app"}
        auth = {harbor.host: {"username": "robot$x", "password": "${PASSWORD}"}}
        result = await sync_files(tmp_path, rules, auth=auth, environment={"PASSWORD": "pa$$word"})
        assert not result.failed, result.results[0].reason
        with pytest.raises(ConfigError, match=r"auth\.json:1.*PASSWORD"):
            await sync_files(tmp_path, rules, auth=auth)


async def test_a19_half_a_login_is_an_error(source: Peer, target: Peer, tmp_path: Path) -> None:
    """It is not silently anonymous."""
    auth = {target.host: {"username": "alice"}}
    with pytest.raises(ConfigError, match=r"auth\.json:1.*password"):
        await sync_files(tmp_path, {f"{source.host}/app": f"{target.host}/app"}, auth=auth)
