"""Pushes test images to a registry in the simplest way: one connection, one request after the other."""

import hashlib
import http.client
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, Self
from urllib.parse import urlencode, urlsplit
from zlib import compressobj

from image_syncer.oci import Descriptor, Digest
from image_syncer.oci import media_type as types
from image_syncer.testing.content import Blob, Image

_BLOCK_BYTES = 1024 * 1024
_WAIT_SECONDS = 120.0


@dataclass(slots=True)
class Cargo:
    """The pushed content, as input for a plain sender: arguments of `blob_floor.Sender`."""

    blobs: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    mounts: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    manifests: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    indexes: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Manifests that need others, which are to be pushed before."""
    _first: dict[str, str] = field(default_factory=dict[str, str])

    def add_blob(self, repository: str, blob: Blob) -> None:
        """Note a blob: the first repository receives it, the others mount it."""
        digest = str(blob.digest)
        first = self._first.setdefault(digest, repository)
        if first == repository:
            self.blobs.append((repository, digest, blob.size_bytes))
        else:
            self.mounts.append((repository, digest, first))

    def as_json(self) -> dict[str, Any]:
        """Return the input of `blob_floor.py`."""
        return {"blobs": self.blobs, "mounts": self.mounts, "manifests": self.manifests, "indexes": self.indexes}


@dataclass(slots=True)
class Pushed:
    """The content of a repository: the digest of each tag, all manifests, and all blobs."""

    tags: dict[str, Digest] = field(default_factory=dict[str, Digest])
    manifests: set[Digest] = field(default_factory=set[Digest])
    blobs: set[Digest] = field(default_factory=set[Digest])


class Seeder:
    """Pushes images to the registry at *host*, which has no logins; HTTPS with *tls*."""

    def __init__(self, host: str, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._connection = (
            http.client.HTTPConnection(host, timeout=_WAIT_SECONDS)
            if tls is None
            else http.client.HTTPSConnection(host, timeout=_WAIT_SECONDS, context=tls)
        )
        self._there: set[tuple[str, str]] = set()
        self.cargo = Cargo()
        self.pushed: dict[str, Pushed] = {}
        """The content of each repository."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def push(self, repository: str, image: Image, tags: Sequence[str]) -> None:
        """Push *image* with its whole graph, and give it *tags*."""
        pushed = self.pushed.setdefault(repository, Pushed())
        pushed.tags |= dict.fromkeys(tags, image.digest)
        pushed.manifests |= {manifest.digest for manifest in image.manifests}
        pushed.blobs |= image.blobs.keys()
        for blob in image.blobs.values():
            self._push_blob(repository, blob)
        for manifest in image.manifests:
            names = tags if manifest is image.root else [str(manifest.digest)]
            for name in names:
                headers = {"Content-Type": manifest.descriptor.media_type}
                self._ask("PUT", f"/v2/{repository}/manifests/{name}", manifest.content, headers)
                needs_others = manifest is image.root and len(image.manifests) > 1
                kept = self.cargo.indexes if needs_others else self.cargo.manifests
                kept.append((repository, name, manifest.descriptor.media_type))

    def _push_blob(self, repository: str, blob: Blob) -> None:
        key = repository, str(blob.digest)
        if key in self._there:
            return
        location = self._ask("POST", f"/v2/{repository}/blobs/uploads/", b"", {})
        parts = urlsplit(location)
        query = "&".join(part for part in (parts.query, urlencode({"digest": str(blob.digest)})) if part)
        headers = {"Content-Length": str(blob.size_bytes), "Content-Type": "application/octet-stream"}
        self._ask("PUT", f"{parts.path}?{query}", blob.chunks(), headers)
        self._there.add(key)
        self.cargo.add_blob(repository, blob)

    def _ask(self, method: str, path: str, body: bytes | Iterator[bytes], headers: Mapping[str, str]) -> str:
        """Return the Location of the response; a refusal ends the program, since nothing works without it."""
        self._connection.request(method, path, body=body, headers=dict(headers))
        response = self._connection.getresponse()
        text = response.read()
        if response.status not in {201, 202}:
            raise SystemExit(f"{self._host}: {method} {path.partition('?')[0]}: {response.status} {text[:200]!r}")
        return response.headers.get("Location", "")


@lru_cache(maxsize=4096)
def gzip_layer(seed: str, size_bytes: int) -> Blob:
    """Return a layer that is a real gzip stream of about *size_bytes* random bytes, never held as a whole.

    Real, because skopeo inspects the first bytes of a layer and compresses uncompressed ones.
    """
    digest, length = hashlib.sha256(), 0
    for chunk in _gzip(seed, size_bytes):
        digest.update(chunk)
        length += len(chunk)
    descriptor = Descriptor(types.OCI_LAYER_GZIP, Digest("sha256", digest.hexdigest()), length)
    return Blob(descriptor, lambda: _gzip(seed, size_bytes))


def _gzip(seed: str, size_bytes: int) -> Iterator[bytes]:
    random = Random(seed)  # noqa: S311 - content for tests, not keys
    packer = compressobj(level=0, wbits=31)  # Random bytes do not compress; trying takes time.
    for start in range(0, size_bytes, _BLOCK_BYTES):
        yield packer.compress(random.randbytes(min(_BLOCK_BYTES, size_bytes - start)))
    yield packer.flush()
