"""Platform filters on indexes: kept entries, and the fixed form of a filtered index."""

import json
from typing import Any

from image_syncer.oci import Descriptor, Digest, Platform, PlatformFilter, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.sync.platform_filter import kept_entries, rewrite_index

LINUX_AMD64 = PlatformFilter.parse(["linux"], ["amd64"])


def entry(name: str, platform: Platform | None = None, attests: str | None = None) -> Descriptor:
    """Return an index entry; *attests* names the entry that it attests."""
    annotations = {}
    if attests is not None:
        annotations = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": str(Digest.of(attests.encode())),
        }
    return Descriptor(types.OCI_MANIFEST, Digest.of(name.encode()), 2, platform, annotations)


def test_attestations_stay_with_the_image_they_attest() -> None:
    """Their platform is unknown/unknown; the attested image decides."""
    entries = (
        entry("amd64", Platform("linux", "amd64")),
        entry("arm64", Platform("linux", "arm64")),
        entry("a1", Platform("unknown", "unknown"), attests="amd64"),
        entry("a2", Platform("unknown", "unknown"), attests="arm64"),
        entry("a3", Platform("unknown", "unknown"), attests="nothing"),
    )
    assert kept_entries(entries, LINUX_AMD64) == [0, 2]


def test_an_entry_without_a_platform_always_stays() -> None:
    """An image without a platform is neither lost nor a crash."""
    entries = (entry("plain"), entry("half", Platform("linux")), entry("windows", Platform("windows", "amd64")))
    assert kept_entries(entries, LINUX_AMD64) == [0, 1]


def test_an_emptied_nested_index_is_removed() -> None:
    """Its parent does not refer to missing content."""
    entries = (entry("nested"), entry("amd64", Platform("linux", "amd64")))
    assert kept_entries(entries, LINUX_AMD64, {entries[0].digest}) == [1]


def index(names: list[str], **more: Any) -> RawManifest:
    """Return an index in an unusual but legal form."""
    manifests = [{"digest": str(Digest.of(n.encode())), "size": 2, "mediaType": types.OCI_MANIFEST} for n in names]
    document = {"annotations": {"note": "größe"}, "schemaVersion": 2, "manifests": manifests, **more}
    return RawManifest.of(json.dumps(document, indent=1, ensure_ascii=True).encode(), types.OCI_INDEX)


def test_a_filter_that_removes_nothing_keeps_the_bytes() -> None:
    """The digest does not change."""
    raw = index(["a", "b"])
    assert rewrite_index(raw, [0, 1], {}) is raw


def test_the_form_of_a_filtered_index_is_fixed() -> None:
    """Order, keys and other members stay. The digest is golden: a change would push every image again."""
    trimmed = rewrite_index(index(["a", "b", "c"], vendor={"x": [1, 2.5]}), [0, 2], {})
    text = trimmed.content.decode()
    assert text.startswith('{"annotations":{"note":"größe"},"schemaVersion":2,"manifests":[{"digest":"sha256:ca97')
    assert text.endswith('"vendor":{"x":[1,2.5]}}')
    assert str(trimmed.digest) == "sha256:47a2e88782a7ccaca4fdac0e0b660ce36ad133bd77c0b93b924adf18e9e96d6c"


def test_an_index_with_one_entry_left_stays_an_index() -> None:
    """Its type does not depend on the number of entries."""
    assert rewrite_index(index(["a", "b"]), [1], {}).media_type == types.OCI_INDEX


def test_a_filtered_child_has_its_new_digest_and_size() -> None:
    """Nested indexes are filtered too."""
    raw, child = index(["a", "b"]), index(["c"])
    trimmed = rewrite_index(raw, [0, 1], {Digest.of(b"a"): child})
    first = trimmed.document["manifests"][0]
    assert (first["digest"], first["size"]) == (str(child.digest), len(child.content))
