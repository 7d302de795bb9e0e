"""Generated content is complete, and the same in every run."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping

import pytest

from image_syncer.oci import Digest, Index, Platform, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.testing import Blob, Image
from image_syncer.testing.artifact_kinds import newer_kinds, twenty_kinds
from image_syncer.testing.content import files_layer
from image_syncer.testing.images import attested, multi, nested, sharing, signed_schema1, single

ALL: Mapping[str, Image] = {**twenty_kinds(), **newer_kinds()}


@pytest.mark.parametrize("name", ALL)
def test_an_image_has_its_whole_graph_children_first(name: str) -> None:
    """And nothing else; the root is the last manifest."""
    image = ALL[name]
    seen: set[Digest] = set()
    named: set[Digest] = set()
    for raw in image.manifests:
        parsed = raw.parse()
        if isinstance(parsed, Index):
            assert {entry.digest for entry in parsed.manifests} <= seen
        else:
            named |= {blob.digest for blob in parsed.blobs}
        seen.add(raw.digest)
    assert (image.manifests[-1], set(image.blobs)) == (image.root, named)


@pytest.mark.parametrize("name", ALL)
def test_blobs_match_their_descriptors(name: str) -> None:
    """Digest and size."""
    for digest, blob in ALL[name].blobs.items():
        content = blob.read()
        assert (Digest.of(content, digest.algorithm), len(content)) == (digest, blob.size_bytes)


def test_the_twenty_kinds_are_twenty_and_reproducible() -> None:
    """With different content, and the same digests each time."""
    assert len({image.digest for image in twenty_kinds().values()}) == 20
    assert twenty_kinds() == twenty_kinds()


def test_generated_content_is_never_held_as_a_whole() -> None:
    """It consists of different pieces of a mebibyte."""
    blob = Blob.generated("huge", 40 * 1024 * 1024 + 1)
    chunks = list(blob.chunks())
    assert {len(chunk) for chunk in chunks} == {1024 * 1024, 1}
    assert len(set(chunks)) == len(chunks) == 41
    assert Blob.generated("other", 5_000_000).digest != Blob.generated("another", 5_000_000).digest


async def test_a_blob_is_opened_from_its_beginning() -> None:
    """Each time."""
    blob = Blob.generated("twice", 3_000_000)
    for _ in range(2):
        async with blob.open() as chunks:
            assert b"".join([bytes(chunk) async for chunk in chunks]) == blob.read()


def test_files_are_packed_reproducibly() -> None:
    """A tar.gz without the time of packing, readable by tar."""
    files = {"/bin/demo": b"#!/bin/sh\n", "etc/name": "größer\n".encode()}
    blob = files_layer(files)
    assert blob == files_layer(dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob.read()))) as tar:
        assert tar.getnames() == ["bin/demo", "etc/name"]
        assert {entry.mtime for entry in tar} == {0}


@pytest.mark.parametrize("name", ["odd-json", "odd-json-index"])
def test_odd_json_changes_its_digest_when_rewritten(name: str) -> None:
    """This detects code that parses and writes instead of passing bytes on."""
    root = ALL[name].root
    for indent in (None, 2, 3, 4):
        for ascii_only in (True, False):
            written = json.dumps(root.document, indent=indent, ensure_ascii=ascii_only)
            assert Digest.of(written.encode()) != root.digest


def test_platforms_are_written_as_requested() -> None:
    """With variants and os.version; None writes no platform."""
    parsed = multi(
        "app", (Platform("linux", "arm", "v6"), Platform("windows", "amd64", "", "10.0.1"), None)
    ).root.parse()
    assert isinstance(parsed, Index)
    assert [entry.platform for entry in parsed.manifests] == [
        Platform("linux", "arm", "v6"),
        Platform("windows", "amd64", "", "10.0.1"),
        None,
    ]


def test_attestations_name_their_image() -> None:
    """One for each image of the index."""
    parsed = attested("app").root.parse()
    assert isinstance(parsed, Index)
    images = [str(entry.digest) for entry in parsed.manifests if entry.attested_digest is None]
    assert [entry.attested_digest for entry in parsed.manifests if entry.attested_digest is not None] == images
    assert len(images) == 2


def test_indexes_nest_as_deep_as_requested() -> None:
    """Each has an image and the next index."""
    assert sum(raw.descriptor.is_index for raw in nested("app", 4).manifests) == 4


def test_images_share_layers() -> None:
    """The shared layers are the same blobs in all images, the others are not."""
    first, second = sharing("app", 2, shared=(100, 200), own=(300,))
    common = set(first.blobs) & set(second.blobs)
    assert sorted(first.blobs[digest].size_bytes for digest in common) == [100, 200]


def test_schema1_has_the_digest_of_its_payload() -> None:
    """Without the embedded signatures (distribution's libtrust form)."""
    image = signed_schema1("library/old", "v1")
    before, _, _ = image.root.content.partition(b',\n   "signatures"')
    assert image.digest == Digest.of(before + b"\n}") != Digest.of(image.root.content)
    assert json.loads(image.root.content)["signatures"]
    assert RawManifest.of(image.root.content).media_type == types.DOCKER_SCHEMA1_SIGNED


def test_a_single_image_names_its_platform() -> None:
    """In its config, which has the right type."""
    image = single("app", platform=Platform("linux", "arm64", "v8"), docker=True, layers=())
    (config,) = image.blobs.values()
    assert config.descriptor.media_type == types.DOCKER_CONFIG
    assert json.loads(config.read())["variant"] == "v8"
