"""What is attached to an image arrives whole between registries with and without the referrers API.

An independent reader by plain HTTP finds it at the target, by the way that the target offers.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from image_syncer.oci import Digest, RawManifest, media_type
from image_syncer.oci.referrer import legacy_tags, referrer_entry, referrers_tag
from image_syncer.sync.result import Outcome
from image_syncer.testing import FakeRegistry, Image
from image_syncer.testing.images import artifact, cosign_signature, multi
from support.docker_registry import DockerRegistry
from support.registry_http import Peer
from support.syncs import sync_files

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SBOM = "application/spdx+json"
KINDS = ("api", "tag schema")


@dataclass(frozen=True)
class Registry:
    """A registry; *fake* is the one with the API, None for docker-registry, which has none."""

    peer: Peer
    fake: FakeRegistry | None

    def attach(self, repository: str, subject: Digest, *attached: Image) -> None:
        """Push referrers of *subject*, with the index of the tag schema where the registry lists none."""
        for one in attached:
            self.peer.push(repository, one)
        if self.fake is None:
            self.peer.push(repository, index_of(*attached), referrers_tag(subject))

    def attached_to(self, repository: str, subject: Digest) -> dict[str, str]:
        """Return the digests of the referrers of *subject* with their artifact types, as an independent client."""
        if self.fake is None:
            content = self.peer.manifest(repository, referrers_tag(subject))
        else:
            content = self.peer.get(f"/v2/{repository}/referrers/{subject}")
        listed = cast("list[dict[str, Any]]", json.loads(content or b"{}").get("manifests") or [])
        return {entry["digest"]: entry.get("artifactType", "") for entry in listed}


def index_of(*attached: Image) -> Image:
    """Return the index of the tag schema for *attached*."""
    entries = [
        {
            "mediaType": one.root.media_type,
            "digest": str(one.digest),
            "size": len(one.root.content),
            "artifactType": referrer_entry(one.root).artifact_type,
        }
        for one in attached
    ]
    document = {"schemaVersion": 2, "mediaType": media_type.OCI_INDEX, "manifests": entries}
    raw = RawManifest.of(json.dumps(document).encode(), media_type.OCI_INDEX)
    return Image(raw, (raw,), {})


def _registry(kind: str) -> Generator[Registry]:
    if kind == "api":
        with FakeRegistry.in_thread() as fake:
            yield Registry(Peer(fake.host), fake)
        return
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as docker:
        yield Registry(Peer(docker.host), None)


@pytest.fixture(params=KINDS)
def origin(request: pytest.FixtureRequest) -> Generator[Registry]:
    """The registry to copy from."""
    yield from _registry(request.param)


@pytest.fixture(params=KINDS)
def mirror(request: pytest.FixtureRequest) -> Generator[Registry]:
    """The registry to copy to."""
    yield from _registry(request.param)


IMAGE = multi("signed")
PLATFORMS = [raw for raw in IMAGE.manifests if raw.digest != IMAGE.digest]
ON_INDEX = artifact("index signature", BUNDLE, subject=IMAGE)
ON_PLATFORMS = {raw.digest: artifact(f"{raw.digest}", BUNDLE, subject=Image(raw, (raw,), {})) for raw in PLATFORMS}
SBOM_OF_INDEX = artifact("sbom", SBOM, subject=IMAGE)
ON_SBOM = artifact("sbom signature", BUNDLE, subject=SBOM_OF_INDEX)
LEGACY = {tag: cosign_signature(multi(tag)) for tag in legacy_tags(IMAGE.digest)}


def load(registry: Registry) -> None:
    """Push an image with all kinds of attachments to `app`."""
    registry.peer.push("app", IMAGE, "v1")
    registry.attach("app", IMAGE.digest, ON_INDEX, SBOM_OF_INDEX)
    for subject, one in ON_PLATFORMS.items():
        registry.attach("app", subject, one)
    registry.attach("app", SBOM_OF_INDEX.digest, ON_SBOM)
    for tag, one in LEGACY.items():
        registry.peer.push("app", one, tag)


async def sync(folder: Path, origin: Registry, mirror: Registry) -> Mapping[str, Outcome]:
    """Copy all tags of `app` to `mirror/app`, and return the outcomes by tag."""
    rules = {f"{origin.peer.host}/app": f"{mirror.peer.host}/mirror/app"}
    result = await sync_files(folder, rules)
    return {entry.target.rpartition(":")[2]: entry.outcome for entry in result.results}


async def test_everything_attached_arrives_byte_for_byte(origin: Registry, mirror: Registry, tmp_path: Path) -> None:
    """On the index, on each platform, on another referrer, and at cosign's legacy tags."""
    load(origin)
    assert await sync(tmp_path, origin, mirror) == {"v1": Outcome.COPIED}
    found = mirror.attached_to("mirror/app", IMAGE.digest)
    assert found == {str(ON_INDEX.digest): BUNDLE, str(SBOM_OF_INDEX.digest): SBOM}
    for subject, one in ON_PLATFORMS.items():
        assert mirror.attached_to("mirror/app", subject) == {str(one.digest): BUNDLE}
    assert mirror.attached_to("mirror/app", SBOM_OF_INDEX.digest) == {str(ON_SBOM.digest): BUNDLE}
    for one in (ON_INDEX, SBOM_OF_INDEX, ON_SBOM, *ON_PLATFORMS.values()):
        assert mirror.peer.manifest("mirror/app", str(one.digest)) == one.root.content
        assert all(mirror.peer.has_blob("mirror/app", digest) for digest in one.blobs)
    for tag, one in LEGACY.items():
        assert mirror.peer.manifest("mirror/app", tag) == one.root.content


async def test_entries_of_others_at_the_target_stay(origin: Registry, mirror: Registry, tmp_path: Path) -> None:
    """A team that signs at the target loses nothing."""
    load(origin)
    mirror.peer.push("mirror/app", IMAGE)
    theirs = artifact("theirs", BUNDLE, subject=IMAGE)
    mirror.attach("mirror/app", IMAGE.digest, theirs)
    assert await sync(tmp_path, origin, mirror) == {"v1": Outcome.COPIED}
    assert mirror.attached_to("mirror/app", IMAGE.digest).keys() == {
        str(one.digest) for one in (theirs, ON_INDEX, SBOM_OF_INDEX)
    }


async def test_no_tag_is_seen_before_its_signatures(origin: Registry, tmp_path: Path) -> None:
    """The target receives manifests by digest, then what is attached, then the tag: nothing comes after it."""
    load(origin)
    with FakeRegistry.in_thread() as fake:
        await sync(tmp_path, origin, Registry(Peer(fake.host), fake))
        puts = [request.path.rpartition("/")[2] for request in fake.requests.only(method="PUT", kind="manifest")]
    assert puts[-1] == "v1"
    assert puts.index(str(IMAGE.digest)) < puts.index(str(ON_INDEX.digest))
    assert puts.index(str(SBOM_OF_INDEX.digest)) < puts.index(str(ON_SBOM.digest))
    assert {str(one.digest) for one in (ON_INDEX, SBOM_OF_INDEX, ON_SBOM)} <= set(puts)
    assert set(LEGACY) <= set(puts)


async def test_what_belongs_to_a_trimmed_index_is_left_and_told(
    origin: Registry, mirror: Registry, tmp_path: Path
) -> None:
    """Its subject is not at the target, so nothing dangles; what belongs to the platform that stays goes along."""
    load(origin)
    rules = {f"{origin.peer.host}/app:v1": f"{mirror.peer.host}/mirror/app"}
    result = await sync_files(tmp_path, rules, architectures=["amd64"])
    (entry,) = result.results
    assert entry.outcome is Outcome.COPIED
    assert entry.referrers is not None
    left = {one.digest for one in entry.referrers.not_carried}
    assert {ON_INDEX.digest, SBOM_OF_INDEX.digest} <= left
    assert mirror.attached_to("mirror/app", IMAGE.digest) == {}
    kept = PLATFORMS[0].digest
    assert mirror.attached_to("mirror/app", kept).keys() == {str(ON_PLATFORMS[kept].digest)}
