"""Manifests and indexes: their exact bytes, and the content that they refer to.

A copy pushes the bytes; the parsed form only says which content to copy first. Documents that two parsers could
read differently are refused (CVE-2021-41190).
"""

import base64
import binascii
from typing import Final, cast

from image_syncer.bounded_json import JsonObject, parse_object, refuse_lookalikes
from image_syncer.errors import InvalidReference, ProtocolError, TooLarge
from image_syncer.oci import media_type
from image_syncer.oci.descriptor import Descriptor
from image_syncer.oci.digest import Digest
from image_syncer.oci.platform import Platform
from image_syncer.structs import Struct

MANIFEST_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""The size that registries must accept (distribution-spec, "Pushing manifests"), and the most that is read."""

PARTS_LIMIT: Final = 10_000
"""How many layers a manifest may have, or entries an index."""

SIZE_LIMIT_BYTES: Final = 1 << 50
"""The largest size that a descriptor may state."""

_NAMES: Final = {
    name.lower(): name
    for name in ("mediaType", "config", "layers", "manifests", "subject", "blobs", "fsLayers", "signatures")
}
_DESCRIPTOR_NAMES: Final = {name.lower(): name for name in ("mediaType", "digest", "size", "platform", "annotations")}


class RawManifest(Struct):
    """A manifest or index as it was read: its type, its digest and its exact bytes."""

    media_type: str
    digest: Digest
    content: bytes

    @classmethod
    def of(cls, content: bytes, content_type: str = "", *, what: str = "manifest") -> "RawManifest":
        """Return the manifest in *content*, served as *content_type*; *what* names it in errors.

        `ProtocolError` if the bytes are not a manifest, or contradict themselves or *content_type*. If *content_type*
        is not a manifest type (some servers send `text/plain`), the document's own `mediaType` counts.
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
        """The descriptor of this manifest, as an index holds it."""
        return Descriptor(self.media_type, self.digest, len(self.content))

    @property
    def document(self) -> JsonObject:
        """The parsed JSON; parsed again at each call."""
        return parse_object(self.content, str(self.digest))

    def parse(self) -> "Manifest | Index":
        """Return the parsed manifest or index; `ProtocolError` if a descriptor in it is broken."""
        document = self.document
        what = str(self.digest)
        subject = _optional(document.get("subject"), what)
        if self.media_type in media_type.INDEXES:
            return Index(parse_descriptors(document.get("manifests"), what), subject)
        if self.media_type in media_type.SCHEMA1:
            return Manifest(None, _schema1_layers(document, what), None)
        key = "blobs" if self.media_type == media_type.OCI_ARTIFACT else "layers"
        return Manifest(_optional(document.get("config"), what), parse_descriptors(document.get(key), what), subject)


class Manifest(Struct):
    """One image or artifact: a config (None in artifact manifests and schema 1) and layers of any type."""

    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that a registry must hold before it accepts this manifest: each digest once, no external layers."""
        parts = (*((self.config,) if self.config else ()), *self.layers)
        return tuple({blob.digest: blob for blob in parts if not blob.is_external}.values())

    @property
    def external_layers(self) -> tuple[Descriptor, ...]:
        """The non-distributable layers that have `urls`: each digest once."""
        return tuple({layer.digest: layer for layer in self.layers if layer.is_external}.values())


class Index(Struct):
    """Several manifests (or indexes) under one name."""

    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None


def platform_of_config(content: bytes) -> Platform:
    """Return the platform in an image config; its fields are empty where the config is silent or not JSON."""
    try:
        return _platform(parse_object(content, "config"))
    except (ProtocolError, TooLarge):
        return Platform()


def _kind(document: JsonObject, served_as: str, what: str) -> str:
    """Return the media type of *document*; `ProtocolError` if it is ambiguous."""
    if "manifests" in document and ("layers" in document or "config" in document or "fsLayers" in document):
        raise ProtocolError(f"{what}: both a manifest and an index; refused as ambiguous")
    value = document.get("mediaType")
    if value is not None and not isinstance(value, str):
        raise ProtocolError(f"{what}: mediaType is not a string")
    declared = media_type.essence(value) if value else ""
    if served_as in media_type.MANIFESTS:
        if declared and declared != served_as and not {declared, served_as} <= media_type.SCHEMA1:
            raise ProtocolError(
                f"{what}: served as {served_as} but its mediaType is {declared[:100]}; refused as ambiguous"
            )
        kind = served_as
    else:
        kind = declared or _guess(document)
    if kind not in media_type.MANIFESTS:
        raise ProtocolError(f"{what}: unknown manifest type: {(kind or served_as)[:100] or 'none given'}")
    if (kind in media_type.INDEXES) != ("manifests" in document):
        raise ProtocolError(f"{what}: the content does not have the form of its type {kind}")
    return kind


def _guess(document: JsonObject) -> str:
    if document.get("schemaVersion") == 1:
        return media_type.DOCKER_SCHEMA1_SIGNED if "signatures" in document else media_type.DOCKER_SCHEMA1
    if "manifests" in document:
        return media_type.OCI_INDEX
    return media_type.OCI_MANIFEST if "layers" in document else ""


def parse_descriptors(value: object, what: str, limit: int = PARTS_LIMIT) -> tuple[Descriptor, ...]:
    """Return the descriptors in the list *value*, at most *limit*; `ProtocolError` or `TooLarge`."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ProtocolError(f"{what}: a list of descriptors is not a list")
    entries = cast("list[object]", value)
    if len(entries) > limit:
        raise TooLarge(f"{what}: refers to more than {limit} parts")
    return tuple(_descriptor(entry, what) for entry in entries)


def _optional(value: object, what: str) -> Descriptor | None:
    return None if value is None else _descriptor(value, what)


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ProtocolError(f"{what}: a descriptor is not a JSON object")
    entry = cast("JsonObject", value)
    refuse_lookalikes(entry, _DESCRIPTOR_NAMES, what)
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_LIMIT_BYTES:
        raise ProtocolError(f"{what}: a descriptor has no usable size")
    platform: object = entry.get("platform")
    annotations: object = entry.get("annotations")
    return Descriptor(
        media_type.essence(_text(entry, "mediaType")),
        _digest(_text(entry, "digest"), what),
        size,
        _platform(cast("JsonObject", platform)) if isinstance(platform, dict) else None,
        _texts(cast("JsonObject", annotations)) if isinstance(annotations, dict) else {},
        _text(entry, "artifactType"),
        has_urls=bool(entry.get("urls")),
    )


def _digest(text: str, what: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidReference as error:
        raise ProtocolError(f"{what}: a descriptor has an unusable digest: {error}") from error


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
    """Return the layers of a schema 1 manifest, lowest first; schema 1 does not state their sizes."""
    layers: object = document.get("fsLayers")
    if not isinstance(layers, list) or len(cast("list[object]", layers)) > PARTS_LIMIT:
        raise ProtocolError(f"{what}: the schema 1 manifest has no usable fsLayers")
    sums = [
        _text(cast("JsonObject", layer), "blobSum")
        for layer in reversed(cast("list[object]", layers))
        if isinstance(layer, dict)
    ]
    return tuple(Descriptor(media_type.DOCKER_LAYER, _digest(text, what), None) for text in dict.fromkeys(sums))


def _schema1_digest(content: bytes, document: JsonObject, what: str) -> Digest:
    """Return the digest of a schema 1 manifest: that of its payload, without the signatures."""
    signatures = document.get("signatures")
    if not signatures:
        return Digest.of(content)
    try:
        protected = parse_object(_base64url(signatures[0]["protected"]), what)
        length, tail = protected["formatLength"], _base64url(protected["formatTail"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, binascii.Error) as error:
        raise ProtocolError(f"{what}: the schema 1 manifest has a broken signature block") from error
    if not isinstance(length, int) or not 0 <= length <= len(content):
        raise ProtocolError(f"{what}: the signature of the schema 1 manifest covers other bytes")
    return Digest.of(content[:length] + tail)


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
