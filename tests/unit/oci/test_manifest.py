"""Manifests keep their bytes; ambiguous documents are refused."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import ImageSyncerError, ProtocolError, TooLarge
from image_syncer.oci import Digest, Index, Manifest, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES, PARTS_LIMIT, SIZE_LIMIT_BYTES

CONFIG = {"mediaType": types.OCI_CONFIG, "digest": str(Digest.of(b"config")), "size": 6}
LAYER = {"mediaType": types.OCI_LAYER_GZIP, "digest": str(Digest.of(b"layer")), "size": 5}
IMAGE = {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER, LAYER]}


def raw(document: Any, content_type: str = "") -> RawManifest:
    """Return *document* as a registry could serve it."""
    return RawManifest.of(json.dumps(document, indent=3).encode(), content_type)


def test_a_manifest_keeps_the_bytes_and_the_digest_that_were_read() -> None:
    """It is not serialised again."""
    content = b' {"schemaVersion":2,   "layers": [],\n"mediaType": "%s"}\n' % types.OCI_MANIFEST.encode()
    manifest = RawManifest.of(content)
    assert (manifest.content, manifest.digest) == (content, Digest.of(content))


def test_the_blobs_of_an_image_are_listed_once_each() -> None:
    """Config first, then layers; a repeated layer is one blob."""
    parsed = raw(IMAGE).parse()
    assert isinstance(parsed, Manifest)
    assert [str(blob.digest) for blob in parsed.blobs] == [CONFIG["digest"], LAYER["digest"]]


def test_the_entries_of_an_index_have_platforms() -> None:
    """With variant and os.version."""
    platform = {"os": "windows", "architecture": "arm", "variant": "v7", "os.version": "10.0"}
    parsed = raw(
        {"manifests": [{**CONFIG, "mediaType": types.OCI_MANIFEST, "platform": platform}]}, types.OCI_INDEX
    ).parse()
    assert isinstance(parsed, Index)
    found = parsed.manifests[0].platform
    assert found is not None
    assert (found.os, found.variant, found.os_version) == ("windows", "v7", "10.0")


def test_foreign_layers_are_not_copied() -> None:
    """Registries need not hold them."""
    foreign = {**LAYER, "mediaType": types.DOCKER_FOREIGN_LAYER, "urls": ["https://example.com/layer"]}
    parsed = raw({**IMAGE, "layers": [foreign]}).parse()
    assert isinstance(parsed, Manifest)
    assert [str(blob.digest) for blob in parsed.blobs] == [CONFIG["digest"]]


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        ({**IMAGE, "manifests": []}, types.OCI_MANIFEST),
        ({**IMAGE, "manifests": []}, types.OCI_INDEX),
        (IMAGE, types.DOCKER_MANIFEST),
        (IMAGE, types.OCI_INDEX),
        ({**IMAGE, "mediaType": 7}, ""),
        ({**IMAGE, "mediaType": "text/html"}, ""),
        ({"manifests": [], "mediaType": types.OCI_MANIFEST}, ""),
        ([IMAGE], types.OCI_MANIFEST),
        ({}, "text/html"),
        ("x", types.OCI_MANIFEST),
    ],
)
def test_ambiguous_documents_are_refused(document: Any, content_type: str) -> None:
    """Two parsers could read them differently (CVE-2021-41190)."""
    with pytest.raises(ProtocolError):
        raw(document, content_type)


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/json; charset=utf-8"])
def test_the_document_decides_if_the_content_type_is_not_a_manifest_type(content_type: str) -> None:
    """Some servers send text/plain."""
    assert raw(IMAGE, content_type).media_type == types.OCI_MANIFEST


@pytest.mark.parametrize(
    "broken",
    [{"size": -1}, {"size": "6"}, {"size": True}, {"size": 1 << 60}, {"digest": "sha256:../../etc"}, {"digest": 5}],
)
def test_broken_descriptors_are_refused(broken: dict[str, Any]) -> None:
    """Sizes and digests are checked before any request for the content."""
    with pytest.raises(ProtocolError):
        raw({**IMAGE, "config": {**CONFIG, **broken}}).parse()


def test_a_manifest_beyond_the_limit_is_refused() -> None:
    """Registries must accept 4 MiB, so 4 MiB pass."""
    content = json.dumps(IMAGE).encode()
    assert RawManifest.of(content + b" " * (MANIFEST_LIMIT_BYTES - len(content))).media_type == types.OCI_MANIFEST
    with pytest.raises(TooLarge, match="larger than 4 MiB"):
        RawManifest.of(content + b" " * (MANIFEST_LIMIT_BYTES + 1 - len(content)))


@pytest.mark.parametrize(("key", "kind"), [("layers", types.OCI_MANIFEST), ("manifests", types.OCI_INDEX)])
def test_the_number_of_layers_or_entries_has_a_limit(key: str, kind: str) -> None:
    """Ten thousand pass, one more does not."""
    entry = {"mediaType": types.OCI_MANIFEST, "digest": LAYER["digest"], "size": 1}
    assert raw({key: [entry] * PARTS_LIMIT}, kind).parse()
    with pytest.raises(TooLarge, match=f"refers to more than {PARTS_LIMIT} parts"):
        raw({key: [entry] * (PARTS_LIMIT + 1)}, kind).parse()


def test_the_size_in_a_descriptor_has_a_limit() -> None:
    """A petabyte passes, one byte more does not."""
    assert raw({**IMAGE, "config": {**CONFIG, "size": SIZE_LIMIT_BYTES}}).parse()
    with pytest.raises(ProtocolError, match="has no usable size"):
        raw({**IMAGE, "config": {**CONFIG, "size": SIZE_LIMIT_BYTES + 1}}).parse()


def test_duplicate_keys_and_keys_that_differ_in_case_are_refused() -> None:
    """Go's parser takes the last of them, other parsers take another."""
    twice = json.dumps(IMAGE)[:-1] + ', "layers": []}'
    with pytest.raises(ProtocolError, match="a duplicate key"):
        RawManifest.of(twice.encode(), types.OCI_MANIFEST)
    with pytest.raises(ProtocolError, match="a key 'Layers'"):
        raw({**IMAGE, "Layers": []}, types.OCI_MANIFEST)
    with pytest.raises(ProtocolError, match="a key 'Digest'"):
        raw({**IMAGE, "config": {**CONFIG, "Digest": LAYER["digest"]}}).parse()


@pytest.mark.parametrize("length", ["1e999", "-1", "99999", "null", '"5"', "[]"])
def test_a_signature_for_other_bytes_is_refused(length: str) -> None:
    """The signature covers a prefix of the document."""
    inner = base64.urlsafe_b64encode(b'{"formatLength": %s, "formatTail": "fQ"}' % length.encode()).decode()
    document = {"schemaVersion": 1, "fsLayers": [], "signatures": [{"protected": inner}]}
    with pytest.raises(ProtocolError, match="signature of the schema 1 manifest covers other bytes"):
        raw(document)


def test_deeply_nested_json_is_refused_before_it_is_parsed() -> None:
    """A manifest that would overflow the parser is an ordinary error."""
    with pytest.raises(TooLarge, match="nested deeper than 64 levels"):
        RawManifest.of(b"[" * 200_000)


def test_signed_schema_1_has_the_digest_of_its_payload() -> None:
    """The signer adds the signatures to the text that it has signed (distribution, manifest-v2-1)."""
    payload = b'{\n   "schemaVersion": 1,\n   "fsLayers": [{"blobSum": "%s"}]\n}' % str(LAYER["digest"]).encode()
    head, tail = payload[:-2], payload[-2:]
    protected = json.dumps(
        {"formatLength": len(head), "formatTail": base64.urlsafe_b64encode(tail).decode().rstrip("=")}
    )
    signature = {"protected": base64.urlsafe_b64encode(protected.encode()).decode().rstrip("=")}
    content = head + b',\n   "signatures": ' + json.dumps([signature]).encode() + b"\n}"
    manifest = RawManifest.of(content, types.DOCKER_SCHEMA1_SIGNED)
    assert manifest.digest == Digest.of(payload)
    parsed = manifest.parse()
    assert isinstance(parsed, Manifest)
    assert parsed.layers[0].size is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["manifests", "layers", "config", "mediaType", "digest", "size", "fsLayers", "signatures", "platform"]
            ),
            children,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([*types.ACCEPT, "", "text/html"]))
def test_any_json_is_parsed_or_refused(document: Any, content_type: str) -> None:
    """Untrusted documents raise only our own errors."""
    try:
        raw(document, content_type).parse()
    except ImageSyncerError:
        return
