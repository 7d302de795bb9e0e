"""The requests of a run to real registries, counted in their access logs: the table in docs/explanation/requests.md.

`pytest -s tests/integration/test_budgets.py` prints it.
"""

from pathlib import Path

import pytest

from image_syncer.testing import Accounts, FakeRegistry, Profile, profiles
from image_syncer.testing.images import Image, files_layer, multi, single
from support.docker_registry import DockerRegistry
from support.registry_http import Peer
from support.syncs import sync_files

MIB = 1024 * 1024
FREE = ("ping", "token", "tags")

SHARED = files_layer({"shared": b"shared"})


def new_requests(registry: DockerRegistry) -> list[str]:
    """Return the requests to *registry* since the last call, as `METHOD kind`, without pings and tag lists."""
    log = registry.read_requests()
    registry.forget_requests()
    return sorted(f"{request.method} {request.kind}" for request in log if request.kind not in FREE)


def print_row(line: str, source: list[str], target: list[str]) -> None:
    """Print a line of the table."""
    sides = (
        ", ".join(f"{side.count(what)} {what}" for what in dict.fromkeys(side)) or "-" for side in (source, target)
    )
    print(f"\n| {line} | {' | '.join(sides)} |")  # noqa: T201 - this is the table


def blob(seed: str, size_bytes: int) -> Image:
    """Return an image of one layer."""
    return single(seed, layers=(size_bytes,))


async def test_a_no_op_costs_a_head_per_tag_and_side(
    source_registry: DockerRegistry, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """Each side also gets a ping, and the source the tag list."""
    for number in range(20):
        Peer(source_registry.host).push("app", blob(f"a{number}", 1000), f"v{number}")
    rules = {f"{source_registry.host}/app": f"{target_registry.host}/app"}
    await sync_files(tmp_path, rules)
    source_registry.forget_requests()
    target_registry.forget_requests()
    result = await sync_files(tmp_path, rules)
    assert {entry.outcome for entry in result.results} == {"unchanged"}
    logs = source_registry.read_requests(), target_registry.read_requests()
    assert [(log.count(kind="ping"), log.count(kind="tags")) for log in logs] == [(1, 1), (1, 0)]
    source, target = new_requests(source_registry), new_requests(target_registry)
    print_row("no-op, 20 tags", source, target)
    assert source == target == ["HEAD manifest"] * 20


@pytest.mark.parametrize("size", [1000, 9 * MIB])
async def test_a_new_blob_costs_one_get_and_one_upload(
    size: int, source_registry: DockerRegistry, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """One GET at the source; a HEAD, a POST and a PUT at the target. The image is a config and a layer."""
    Peer(source_registry.host).push("app", blob("a", size), "v1")
    new_requests(source_registry)
    await sync_files(tmp_path, {f"{source_registry.host}/app:v1": f"{target_registry.host}/app"})
    source, target = new_requests(source_registry), new_requests(target_registry)
    print_row(f"new image of a config and a layer of {size} bytes", source, target)
    assert source == ["GET blob"] * 2 + ["GET manifest", "GET referrers", "HEAD manifest"]
    assert target == ["HEAD blob"] * 2 + ["HEAD manifest"] + ["POST upload"] * 2 + ["PUT manifest"] + ["PUT upload"] * 2


async def test_blobs_of_a_new_repository_are_pushed_without_a_head(
    source_registry: DockerRegistry, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """Two HEADs, then one tag list, which says that the repository is new: each blob costs a POST and a PUT."""
    Peer(source_registry.host).push("app", single("a", layers=(1000, 1001, 1002, 1003, 1004)), "v1")
    new_requests(source_registry)
    await sync_files(tmp_path, {f"{source_registry.host}/app:v1": f"{target_registry.host}/app"})
    assert target_registry.read_requests().count(kind="tags") == 1
    source, target = new_requests(source_registry), new_requests(target_registry)
    print_row("new image of six blobs in a new repository", source, target)
    assert target == ["HEAD blob"] * 2 + ["HEAD manifest"] + ["POST upload"] * 6 + ["PUT manifest"] + ["PUT upload"] * 6


async def test_a_registry_that_stores_a_blob_with_one_post_gets_no_put(
    source_registry: DockerRegistry, tmp_path: Path
) -> None:
    """The first small blob is a trial. A later run knows the result: a blob of a new repository costs one request."""
    for number in range(2):
        layers = tuple(1000 + 10 * number + layer for layer in range(5))
        Peer(source_registry.host).push(f"app{number}", single(f"a{number}", layers=layers), "v1")
    new_requests(source_registry)
    with FakeRegistry.in_thread() as fake:
        for number in range(2):
            fake.requests.clear()
            new_requests(source_registry)
            rules = {f"{source_registry.host}/app{number}:v1": f"{fake.host}/app{number}"}
            await sync_files(tmp_path, rules, state=tmp_path / "state.db")
        target = sorted(f"{one.method} {one.kind}" for one in fake.requests if one.kind not in FREE)
        print_row("new image of six blobs in a new repository, one POST", new_requests(source_registry), target)
        # The fake registry knows a repository from its first blob on. If one is stored before the tag list is read,
        # the repository counts as existing, and its other blobs are looked up, too.
        assert 2 <= target.count("HEAD blob") <= 6
        others = [one for one in target if one != "HEAD blob"]
        assert others == ["HEAD manifest"] + ["POST upload"] * 6 + ["PUT manifest"]


async def test_a_blob_in_another_repository_is_mounted(
    source_registry: DockerRegistry, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """It costs one POST, and no request to the source."""
    image = blob("a", 1000)
    for name in ("one", "two", "three"):
        Peer(source_registry.host).push(name, image, "v1")
    new_requests(source_registry)
    rules = {f"{source_registry.host}/{name}:v1": f"{target_registry.host}/{name}" for name in ("one", "two", "three")}
    result = await sync_files(tmp_path, rules)
    source, target = new_requests(source_registry), new_requests(target_registry)
    print_row("the same image in 3 repositories", source, target)
    assert (source.count("GET blob"), source.count("GET manifest")) == (2, 1)
    assert (target.count("HEAD blob"), target.count("PUT upload"), target.count("POST upload")) == (2, 2, 2 + 4)
    assert sorted(entry.transferred.mounted for entry in result.results) == [0, image.size_bytes, image.size_bytes]


async def test_a_registry_that_mounts_is_not_asked_for_blobs(
    source_registry: DockerRegistry, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """After the first mount, the POST that begins an upload also tells whether the blob exists."""
    names = [f"app{number:02}" for number in range(12)]
    for name in names:
        Peer(source_registry.host).push(name, single(name, layers=(SHARED, 500)), "v1")
    new_requests(source_registry)
    await sync_files(
        tmp_path, {f"{source_registry.host}/{name}:v1": f"{target_registry.host}/{name}" for name in names}, proc=1
    )
    target = new_requests(target_registry)
    print_row("12 images in 12 repositories, one layer shared", new_requests(source_registry), target)
    own, mounts = 2 * 12 + 1, 11
    assert target.count("PUT upload") == own
    assert target.count("POST upload") == own + mounts
    assert target.count("HEAD blob") <= own / 2

    await sync_files(
        tmp_path,
        {f"{source_registry.host}/{name}:v1": f"{target_registry.host}/{name}" for name in names},
        proc=1,
        force=True,
    )
    again = new_requests(target_registry)
    assert again.count("PUT upload") == 0


async def test_k_targets_cost_the_source_what_one_does(
    source_registry: DockerRegistry, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """Requests and bytes at the source are those of one target."""
    Peer(source_registry.host).push("app", single("a", layers=(1000, 3 * MIB)), "v1")
    new_requests(source_registry)
    with DockerRegistry() as second, DockerRegistry() as third:
        targets = [f"{registry.host}/app:v1" for registry in (target_registry, second, third)]
        result = await sync_files(tmp_path, {f"{source_registry.host}/app:v1": targets})
        read = source_registry.read_requests()
        source, target = new_requests(source_registry), new_requests(target_registry)
        assert new_requests(second) == new_requests(third) == target
    print_row("one image to 3 registries (one of them shown)", source, target)
    assert {entry.outcome for entry in result.results} == {"copied"}
    assert source == ["GET blob"] * 3 + ["GET manifest", "GET referrers", "HEAD manifest"]
    assert 3 * MIB < read.bytes_out < 3 * MIB + 20_000


async def test_further_tags_of_one_manifest_cost_one_request_each(
    source_registry: DockerRegistry, target_registry: DockerRegistry, tmp_path: Path
) -> None:
    """The manifest is read once and pushed once, without further requests for its blobs or children."""
    image = multi("a")
    Peer(source_registry.host).push("app", image, "v1", "v1.2", "latest")
    new_requests(source_registry)
    await sync_files(tmp_path, {f"{source_registry.host}/app": f"{target_registry.host}/app"})
    source, target = new_requests(source_registry), new_requests(target_registry)
    print_row("3 tags of one index of 3 images", source, target)
    assert (source.count("HEAD manifest"), source.count("GET manifest")) == (3, len(image.manifests))
    assert target.count("PUT manifest") == len(image.manifests) + 2
    assert target.count("PUT upload") == len(image.blobs)


async def test_a_listing_with_digests_saves_the_heads(target_registry: DockerRegistry, tmp_path: Path) -> None:
    """Google's registries have one: the source costs the pages of its list and a HEAD that confirms it."""
    with FakeRegistry.in_thread(Profile(listed_digests=True, page_limit=10)) as fake:
        for number in range(20):
            fake.load("app", blob(f"a{number}", 1000), f"v{number}")
        rules = {f"{fake.host}/app": f"{target_registry.host}/app"}
        await sync_files(tmp_path, rules)
        fake.requests.clear()
        new_requests(target_registry)
        result = await sync_files(tmp_path, rules)
        source = sorted(f"{request.method} {request.kind}" for request in fake.requests if request.kind != "ping")
        target = new_requests(target_registry)
        print_row("no-op, 20 tags in a list of 2 pages that says digests", source, target)
        assert {entry.outcome for entry in result.results} == {"unchanged"}
        assert (source, target) == (["GET tags", "GET tags", "HEAD manifest"], ["HEAD manifest"] * 20)

        fake.load("app", blob("moved", 1000), "v7")
        fake.requests.clear()
        result = await sync_files(tmp_path, rules)
        assert [entry.outcome.value for entry in result.results].count("copied") == 1
        assert fake.requests.count(kind="manifest", method="HEAD") == 2


async def test_a_list_of_artifacts_saves_the_heads(target_registry: DockerRegistry, tmp_path: Path) -> None:
    """Harbor's API has one: a page of it and a HEAD that confirms it replace the HEADs of all tags."""
    profile = profiles.HARBOR.guarded(Accounts(anonymous={"*": frozenset({"pull"})}))
    with FakeRegistry.in_thread(profile) as fake:
        for number in range(20):
            fake.load("p/app", blob(f"h{number}", 1000), f"v{number}")
        rules = {f"{fake.host}/p/app": f"{target_registry.host}/harbor/app"}
        await sync_files(tmp_path, rules)
        fake.requests.clear()
        new_requests(target_registry)
        result = await sync_files(tmp_path, rules)
        kinds = {"manifest", "tags", "other"}
        source = sorted(f"{request.method} {request.kind}" for request in fake.requests if request.kind in kinds)
        target = new_requests(target_registry)
        print_row("no-op, 20 tags in a list of artifacts", source, target)
        assert {entry.outcome for entry in result.results} == {"unchanged"}
        assert (source, target) == (["GET other", "GET tags", "HEAD manifest"], ["HEAD manifest"] * 20)

        fake.load("p/app", blob("moved at Harbor", 1000), "v7")
        fake.requests.clear()
        result = await sync_files(tmp_path, rules)
        assert [entry.outcome.value for entry in result.results].count("copied") == 1
        assert fake.requests.count(kind="manifest", method="HEAD") == 2
