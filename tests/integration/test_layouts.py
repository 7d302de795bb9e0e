"""Images of all kinds go from a registry to a layout and back; skopeo, which reads layouts itself, is the judge."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from image_syncer.app import Options, Syncer, open_app
from image_syncer.oci import Reference, Repository
from image_syncer.oci import media_type as types
from image_syncer.registry.settings import RegistryAccount
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import AllTags, Rule
from image_syncer.testing import FakeRegistry, Image
from image_syncer.testing.artifact_kinds import twenty_kinds
from image_syncer.testing.images import artifact, multi, single
from support.docker_registry import DockerRegistry
from support.registry_http import Peer
from support.skopeo import Skopeo

KINDS = twenty_kinds()
PULLED = ("oci-index", "attested", "artifact", "many-layers", "zero-layers", "same-layer-twice")


@asynccontextmanager
async def syncer_for(*hosts: str) -> AsyncGenerator[Syncer]:
    """Give the tool for registries at *hosts* over plain HTTP."""
    access = tuple(RegistryAccount(host, insecure=True) for host in hosts)
    async with open_app(Options(access, environment={}, home=Path("/nonexistent"))) as syncer:
        yield syncer


async def sync(syncer: Syncer, source: str, *targets: str) -> None:
    """Copy all tags of *source* to *targets*, and then find nothing to do."""
    rule = Rule("all", Repository.parse(source), AllTags(), tuple(map(TargetTemplate.parse, targets)))
    done = await syncer.sync([rule])
    assert {result.outcome for result in done.results} == {Outcome.COPIED}, [result.reason for result in done.results]
    again = await syncer.sync([rule])
    assert {result.outcome for result in again.results} == {Outcome.UNCHANGED}


def skopeo_agrees(skopeo: Skopeo, folder: Path, layout: str, back: str) -> None:
    """Compare the manifests of all kinds in *layout* and at *back* with the originals; pull some kinds whole."""
    folder.mkdir()
    for number, (kind, image) in enumerate(KINDS.items()):
        assert skopeo.raw(f"{back}:{kind}") == image.root.content
        if image.root.media_type not in {types.OCI_MANIFEST, types.OCI_INDEX}:
            continue  # skopeo finds only those in a layout.
        assert skopeo.raw(f"{layout}:{kind}") == image.root.content
        if kind in PULLED:
            skopeo.pull(f"{layout}:{kind}", folder / str(number))


@pytest.mark.real
async def test_twenty_kinds_return_from_a_layout(
    docker_registry: DockerRegistry, skopeo: Skopeo, tmp_path: Path
) -> None:
    """Each manifest has the same bytes at the registry, in the directory, and back at the registry."""
    peer, home = Peer(docker_registry.host), f"{docker_registry.host}/layouts"
    for kind, image in KINDS.items():
        await asyncio.to_thread(peer.push, "layouts/app", image, kind)
    directory, archive = f"oci:{tmp_path / 'app'}", f"oci-archive:{tmp_path / 'app.tar'}"
    async with syncer_for(docker_registry.host) as syncer:
        await sync(syncer, f"{home}/app", directory, archive)
        await sync(syncer, directory, f"{home}/from-directory")
        await sync(syncer, archive, f"{home}/from-archive")
    await asyncio.to_thread(skopeo_agrees, skopeo, tmp_path / "pulled", directory, f"{home}/from-directory")
    for kind, image in KINDS.items():
        assert peer.manifest("layouts/from-archive", kind) == image.root.content
    whole = await asyncio.to_thread(skopeo.raw, f"{archive}:oci-index")
    assert whole == KINDS["oci-index"].root.content


@pytest.mark.real
async def test_layouts_of_skopeo_are_read(docker_registry: DockerRegistry, skopeo: Skopeo, tmp_path: Path) -> None:
    """With a tag, with a whole name, and without any name."""
    home = f"{docker_registry.host}/skopeo"
    image = multi("skopeo")
    await asyncio.to_thread(Peer(docker_registry.host).push, "skopeo/app", image, "v1")
    layouts = {
        f"oci:{tmp_path / 'tag'}:v1": f"oci:{tmp_path / 'tag'}:v1",
        f"oci:{tmp_path / 'name'}:quay.io/team/app:v1": f"oci:{tmp_path / 'name'}:v1",
        f"oci:{tmp_path / 'none'}": f"oci:{tmp_path / 'none'}",
        f"oci-archive:{tmp_path / 'app.tar'}:v1": f"oci-archive:{tmp_path / 'app.tar'}:v1",
    }
    async with syncer_for(docker_registry.host) as syncer:
        for number, (written, read) in enumerate(layouts.items()):
            await asyncio.to_thread(skopeo.copy, f"{home}/app:v1", written)
            target = Reference.parse(f"{home}/back:{number}")
            done = await syncer.copy(Reference.parse(read), [target])
            assert [result.target_digest for result in done.results] == [image.digest]
            assert (await syncer.inspect(target)).manifest.digest == image.digest


async def test_referrers_travel_through_a_layout(tmp_path: Path) -> None:
    """Those of an image and those of its platforms, and referrers of referrers; at the end the registry lists them."""
    image = multi("signed")
    child = next(raw for raw in image.manifests if raw.digest != image.digest)
    of_child = artifact("of a platform", "application/spdx+json", subject=Image(child, (child,), {}))
    sbom = artifact("sbom", "application/spdx+json", subject=image)
    signature = artifact("signature", "application/vnd.example.signature", subject=sbom)
    with FakeRegistry.in_thread() as registry:
        registry.load("team/app", image, "v1")
        for attached in (sbom, signature, of_child):
            registry.load("team/app", attached)
        async with syncer_for(registry.host) as syncer:
            for scheme in ("oci:", "oci-archive:"):
                path = f"{scheme}{tmp_path / scheme.rstrip(':')}"
                await sync(syncer, f"{registry.host}/team/app", path)
                back = f"{registry.host}/back/{scheme.rstrip(':')}"
                await sync(syncer, path, back)
                for one in (image, sbom, signature, of_child):
                    assert registry.manifest(f"back/{scheme.rstrip(':')}", str(one.digest)) == one.root


async def test_one_layout_holds_many_repositories(tmp_path: Path) -> None:
    """A rule for each of its names copies them on."""
    with FakeRegistry.in_thread() as registry:
        for name in ("team/app", "team/web"):
            registry.load(name, single(name), "v1", "v2")
        async with syncer_for(registry.host) as syncer:
            for name in ("team/app", "team/web"):
                await sync(syncer, f"{registry.host}/{name}", f"oci:{tmp_path}:{{repository}}")
            for name in ("team/app", "team/web"):
                await sync(syncer, f"oci:{tmp_path}:{name}", f"{registry.host}/back/{name}")
                assert registry.manifest(f"back/{name}", "v2") == single(name).root


async def test_an_image_moves_between_layouts(tmp_path: Path) -> None:
    """And within one, which writes only the index."""
    image = multi("moved")
    with FakeRegistry.in_thread() as registry:
        registry.load("team/app", image, "v1")
        async with syncer_for(registry.host) as syncer:
            steps = [
                f"{registry.host}/team/app:v1",
                f"oci:{tmp_path / 'a'}:v1",
                f"oci:{tmp_path / 'a'}:other/name:v2",
                f"oci-archive:{tmp_path / 'b.tar'}:v3",
                f"oci:{tmp_path / 'c'}@{image.digest}",
            ]
            for source, target in pairwise(steps[:4]):
                done = await syncer.copy(Reference.parse(source), [Reference.parse(target)])
                assert [result.target_digest for result in done.results] == [image.digest], done.results
            by_digest = Reference.parse(f"oci-archive:{tmp_path / 'b.tar'}@{image.digest}")
            done = await syncer.copy(by_digest, [Reference.parse(steps[4])])
            assert [result.outcome for result in done.results] == [Outcome.COPIED]
            assert (await syncer.inspect(Reference.parse(steps[4]))).manifest.digest == image.digest
            assert [tag async for tag in syncer.tags(Repository.parse(f"oci:{tmp_path / 'c'}"))] == ["latest"]
