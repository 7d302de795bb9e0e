"""The index of a layout: which tag names which manifest, and what a change leaves alone."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from image_syncer.errors import NotFound, ProtocolError, TooLarge
from image_syncer.layout.index_file import ENTRIES_LIMIT, INDEX_LIMIT_BYTES, LayoutIndex
from image_syncer.oci import Descriptor, Digest
from image_syncer.oci import media_type as types

REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
A, B, C = (Digest.of(letter) for letter in (b"a", b"b", b"c"))


def entry(digest: Digest, name: str | None = None, full_name: str | None = None, **more: object) -> dict[str, Any]:
    """Return an entry of an index, with the names in annotations."""
    annotations = {key: value for key, value in ((REF_NAME, name), (FULL_NAME, full_name)) if value is not None}
    document = {"mediaType": types.OCI_MANIFEST, "digest": str(digest), "size": 10, **more}
    return {**document, "annotations": annotations} if annotations else document


def index_of(*entries: Mapping[str, Any]) -> LayoutIndex:
    """Return an index with *entries*."""
    return LayoutIndex.parse(json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), "oci:images")


def descriptor(digest: Digest) -> Descriptor:
    """Return the descriptor of a manifest."""
    return Descriptor(types.OCI_MANIFEST, digest, 10)


@pytest.mark.parametrize(
    ("entries", "name", "tag", "found"),
    [
        pytest.param([entry(A, "v1"), entry(B, "v2")], "", "v2", B, id="by its tag"),
        pytest.param([entry(A, "docker.io/library/nginx:v1")], "", "v1", A, id="by the tag in a full name"),
        pytest.param([entry(A, "nginx:v1"), entry(B, "redis:v1")], "redis", "v1", B, id="by name and tag"),
        pytest.param([entry(A, "v1"), entry(B, "nginx:v1")], "", "v1", A, id="a bare tag before a full name"),
        pytest.param(
            [entry(A, "v1", "docker.io/library/nginx:v1")], "docker.io/library/nginx", "v1", A, id="containerd"
        ),
        pytest.param([entry(A, "v1", "docker.io/library/nginx:v1")], "", "v1", A, id="containerd, by the tag"),
        pytest.param([entry(A)], "", "latest", A, id="the only image, without a name"),
        pytest.param([entry(A, "v1"), entry(A, "v1")], "", "v1", A, id="twice the same"),
        pytest.param([entry(A), entry(B, "latest")], "", "latest", B, id="latest is a tag like others"),
    ],
)
def test_an_image_is_found(entries: Sequence[Mapping[str, Any]], name: str, tag: str, found: Digest) -> None:
    """Under the names that tools write."""
    assert index_of(*entries).find(name, tag).digest == found


@pytest.mark.parametrize(
    ("entries", "name", "tag", "message"),
    [
        pytest.param([], "", "v1", "it has no names", id="empty"),
        pytest.param([entry(A, "v1")], "", "latest", "it has v1", id="latest is not the only image by another tag"),
        pytest.param([entry(A), entry(B)], "", "latest", "it has no names", id="two images without names"),
        pytest.param([entry(A, "nginx:v1")], "redis", "v1", "it has nginx:v1", id="another name"),
        pytest.param([entry(A, f"v{n}") for n in range(9)], "", "x", "v4 and 4 more", id="many"),
        pytest.param([entry(A), entry(B, "v1")], "", "latest", "it has v1", id="not the only image"),
    ],
)
def test_a_missing_image_is_not_found(entries: Sequence[Mapping[str, Any]], name: str, tag: str, message: str) -> None:
    """The error says which images there are."""
    with pytest.raises(NotFound, match=message):
        index_of(*entries).find(name, tag)


def test_a_tag_of_several_images_is_an_error() -> None:
    """It names them, so that the reader can choose."""
    index = index_of(entry(A, "nginx:v1"), entry(B, "redis:v1"), entry(C, "v2"))
    with pytest.raises(ProtocolError, match="nginx:v1, redis:v1"):
        index.find("", "v1")
    assert index.tags("") == {"v1": None, "v2": C}
    with pytest.raises(ProtocolError):
        index_of(entry(A, "v1"), entry(B, "v1")).find("", "v1")


def test_tags_are_those_of_a_name_or_of_all() -> None:
    """The only image without a name has the tag latest."""
    index = index_of(entry(A, "nginx:v1"), entry(B, "nginx:v2"), entry(C, "v3"))
    assert index.tags("nginx") == {"v1": A, "v2": B}
    assert index.tags("") == {"v1": A, "v2": B, "v3": C}
    assert index.tags("redis") == {}
    assert index_of(entry(A)).tags("") == {"latest": A}


def test_a_change_replaces_what_has_the_name() -> None:
    """All else stays as it was written, unknown keys included."""
    other = entry(B, "v2", platform={"os": "linux", "architecture": "amd64"}, unknown=[1])
    index = index_of(entry(A, "v1"), other)
    index.put(("", "v1"), descriptor(C))
    assert json.loads(index.content()) == {"schemaVersion": 2, "manifests": [other, entry(C, "v1")]}
    assert index.find("", "v1").digest == C
    assert index.find_digest(A) is None


def test_entries_without_a_name_give_way() -> None:
    """To the same image with a name, and to an index that names them; named ones stay."""
    index = LayoutIndex.empty("oci:images")
    for digest in (A, B):
        index.put(None, descriptor(digest))
        index.put(None, descriptor(digest))
    assert [one.digest for one in index.entries] == [A, B]
    index.put(("", "child"), descriptor(B))
    index.put(("nginx", "v1"), descriptor(C), [A, B])
    assert json.loads(index.content())["manifests"] == [entry(B, "child"), entry(C, "nginx:v1")]
    index.put(None, descriptor(C))
    assert len(list(index.entries)) == 2
    unnamed = LayoutIndex.empty("oci:images")
    unnamed.put(None, descriptor(A))
    unnamed.put(None, descriptor(B), [A])
    assert unnamed.tags("") == {"latest": B}


def test_what_is_written_can_be_read() -> None:
    """With names and without, and all lookups agree."""
    index = LayoutIndex.empty("oci:images")
    index.put(("", "v1"), descriptor(A))
    index.put(("library/nginx", "v1"), descriptor(B))
    index.put(None, Descriptor(types.OCI_MANIFEST, C, 10, annotations={"a": "b"}, artifact_type="text/plain"))
    again = LayoutIndex.parse(index.content(), "oci:images")
    assert again.tags("library/nginx") == {"v1": B}
    assert again.find("", "v1").digest == A
    found = again.find_digest(C)
    assert found is not None
    assert (found.artifact_type, found.annotations) == ("text/plain", {"a": "b"})
    assert again.content() == index.content()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"manifests": {}}',
        b'{"manifests": [1]}',
        b'{"manifests": [{"digest": "sha256:../../etc/passwd", "size": 1}]}',
        b'{"manifests": [{"digest": "sha256:%s", "size": -1}]}' % (b"0" * 64),
        b'{"manifests": [], "manifests": []}',
        b'{"manifests": ' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_a_broken_index_is_refused(content: bytes) -> None:
    """Before anything of it is used."""
    with pytest.raises((ProtocolError, TooLarge)):
        LayoutIndex.parse(content, "oci:images")


def test_a_huge_index_is_refused() -> None:
    """By its size before it is parsed, and by its number of entries."""
    with pytest.raises(TooLarge, match="16 MiB"):
        LayoutIndex.parse(b" " * (INDEX_LIMIT_BYTES + 1), "oci:images")
    text = json.dumps(entry(A), separators=(",", ":"))
    many = ('{"manifests":[' + ",".join([text] * (ENTRIES_LIMIT + 1)) + "]}").encode()
    assert len(many) < INDEX_LIMIT_BYTES
    with pytest.raises(TooLarge, match="more than 50000 parts"):
        LayoutIndex.parse(many, "oci:images")
