"""Manifests and indexes: the exact bytes, and what they name.

The bytes are what is pushed; the parsed form only tells what to copy first. Documents that two readers could understand
differently are refused (CVE-2021-41190).
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final, cast

from image_syncer.bounded_json import JsonObject, parse_object, refuse_lookalikes
from image_syncer.errors import InvalidReference, ProtocolError, TooLarge
from image_syncer.oci import media_type
from image_syncer.oci.descriptor import Descriptor
from image_syncer.oci.digest import Digest
from image_syncer.oci.platform import Platform

MANIFEST_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""What registries must take (distribution-spec, "Pushing manifests") and the most that we read."""

PARTS_LIMIT: Final = 10_000
"""How many layers a manifest, or entries an index may name."""

SIZE_LIMIT_BYTES: Final = 1 << 50
"""What a descriptor may promise at most."""

_NAMES: Final = {
    name.lower(): name
    for name in ("mediaType", "config", "layers", "manifests", "subject", "blobs", "fsLayers", "signatures")
}
_DESCRIPTOR_NAMES: Final = {name.lower(): name for name in ("mediaType", "digest", "size", "platform", "annotations")}


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest or index as it was read: its type, its digest and its very bytes."""

    media_type: str
    digest: Digest
    content: bytes

    @classmethod
    def of(cls, content: bytes, content_type: str = "", *, what: str = "manifest") -> "RawManifest":
        """Return the manifest in *content*, served as *content_type*; *what* names it in errors.

        `ProtocolError` where the bytes are no manifest or contradict themselves or *content_type*. A content type that
        names no manifest (some servers say `text/plain`) gives way to what the document itself says.
        """
        if len(content) > MANIFEST_LIMIT_BYTES:
            raise TooLarge(f"{what}: larger than {MANIFEST_LIMIT_BYTES // 1024**2} MiB")
        document = parse_object(content, f"{what}: not a manifest")
        refuse_lookalikes(document, _NAMES, what)
        kind = _kind(document, media_type.essence(content_type), what)
        digest = _schema1_digest(content, document, what) if kind in media_type.SCHEMA1 else Digest.of(content)
        return cls(kind, digest, content)

    @property
    def descriptor(self) -> Descriptor:
        """What names this manifest in an index."""
        return Descriptor(self.media_type, self.digest, len(self.content))

    @property
    def document(self) -> JsonObject:
        """The parsed JSON, anew at each call."""
        return parse_object(self.content, str(self.digest))

    def parse(self) -> "Manifest | Index":
        """Return what this names; `ProtocolError` where a descriptor in it is broken."""
        document = self.document
        what = str(self.digest)
        subject = _optional(document.get("subject"), what)
        if self.media_type in media_type.INDEXES:
            return Index(_descriptors(document.get("manifests"), what), subject)
        if self.media_type in media_type.SCHEMA1:
            return Manifest(None, _schema1_layers(document, what), None)
        key = "blobs" if self.media_type == media_type.OCI_ARTIFACT else "layers"
        return Manifest(_optional(document.get("config"), what), _descriptors(document.get(key), what), subject)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image or artifact: a config (None in artifact manifests and schema 1) and layers of any type."""

    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What a registry must hold before it takes this manifest: each digest once, foreign layers left out."""
        named = (*((self.config,) if self.config else ()), *self.layers)
        return tuple({blob.digest: blob for blob in named if not blob.is_foreign}.values())


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests (or indexes) under one name."""

    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None


def platform_of_config(content: bytes) -> Platform:
    """Return the platform that an image config names; empty fields where it is silent or no JSON at all."""
    try:
        return _platform(parse_object(content, "config"))
    except (ProtocolError, TooLarge):
        return Platform()


def _kind(document: JsonObject, served_as: str, what: str) -> str:
    """Decide the media type of *document*, or refuse to."""
    if "manifests" in document and ("layers" in document or "config" in document or "fsLayers" in document):
        raise ProtocolError(f"{what}: both a manifest and an index; refused as ambiguous")
    says = document.get("mediaType")
    if says is not None and not isinstance(says, str):
        raise ProtocolError(f"{what}: mediaType is no text")
    says = media_type.essence(says) if says else ""
    if served_as in media_type.MANIFESTS:
        if says and says != served_as and not {says, served_as} <= media_type.SCHEMA1:
            raise ProtocolError(f"{what}: served as {served_as} but says {says[:100]}; refused as ambiguous")
        kind = served_as
    else:
        kind = says or _guess(document)
    if kind not in media_type.MANIFESTS:
        raise ProtocolError(f"{what}: not a manifest type that we know: {(kind or served_as)[:100] or 'none given'}")
    if (kind in media_type.INDEXES) != ("manifests" in document):
        raise ProtocolError(f"{what}: the content is not what its type {kind} promises")
    return kind


def _guess(document: JsonObject) -> str:
    if document.get("schemaVersion") == 1:
        return media_type.DOCKER_SCHEMA1_SIGNED if "signatures" in document else media_type.DOCKER_SCHEMA1
    if "manifests" in document:
        return media_type.OCI_INDEX
    return media_type.OCI_MANIFEST if "layers" in document else ""


def _descriptors(value: object, what: str) -> tuple[Descriptor, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ProtocolError(f"{what}: a list of descriptors is no list")
    entries = cast("list[object]", value)
    if len(entries) > PARTS_LIMIT:
        raise TooLarge(f"{what}: names more than {PARTS_LIMIT} parts")
    return tuple(_descriptor(entry, what) for entry in entries)


def _optional(value: object, what: str) -> Descriptor | None:
    return None if value is None else _descriptor(value, what)


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ProtocolError(f"{what}: a descriptor is no JSON object")
    entry = cast("JsonObject", value)
    refuse_lookalikes(entry, _DESCRIPTOR_NAMES, what)
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_LIMIT_BYTES:
        raise ProtocolError(f"{what}: a descriptor without a usable size")
    platform: object = entry.get("platform")
    annotations: object = entry.get("annotations")
    return Descriptor(
        media_type.essence(_text(entry, "mediaType")),
        _digest(_text(entry, "digest"), what),
        size,
        _platform(cast("JsonObject", platform)) if isinstance(platform, dict) else None,
        _texts(cast("JsonObject", annotations)) if isinstance(annotations, dict) else {},
        _text(entry, "artifactType"),
    )


def _digest(text: str, what: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidReference as error:
        raise ProtocolError(f"{what}: a descriptor with an unusable digest: {error}") from error


def _platform(document: JsonObject) -> Platform:
    return Platform(
        _text(document, "os"),
        _text(document, "architecture"),
        _text(document, "variant"),
        _text(document, "os.version"),
    )


def _text(document: JsonObject, key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _texts(document: JsonObject) -> dict[str, str]:
    return {key: value for key, value in document.items() if isinstance(value, str)}


def _schema1_layers(document: JsonObject, what: str) -> tuple[Descriptor, ...]:
    """Return the layers of a schema 1 manifest, lowest first; their sizes are nowhere written."""
    layers: object = document.get("fsLayers")
    if not isinstance(layers, list) or len(cast("list[object]", layers)) > PARTS_LIMIT:
        raise ProtocolError(f"{what}: a schema 1 manifest without usable fsLayers")
    sums = [
        _text(cast("JsonObject", layer), "blobSum")
        for layer in reversed(cast("list[object]", layers))
        if isinstance(layer, dict)
    ]
    return tuple(Descriptor(media_type.DOCKER_LAYER, _digest(text, what), None) for text in dict.fromkeys(sums))


def _schema1_digest(content: bytes, document: JsonObject, what: str) -> Digest:
    """Return the digest of a schema 1 manifest: of its payload, without the signatures that were added to it."""
    signatures = document.get("signatures")
    if not signatures:
        return Digest.of(content)
    try:
        protected = parse_object(_base64url(signatures[0]["protected"]), what)
        length, tail = protected["formatLength"], _base64url(protected["formatTail"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, binascii.Error) as error:
        raise ProtocolError(f"{what}: a schema 1 manifest with a broken signature block") from error
    if not isinstance(length, int) or not 0 <= length <= len(content):
        raise ProtocolError(f"{what}: a schema 1 manifest whose signature is for other bytes")
    return Digest.of(content[:length] + tail)


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
