"""Content for tests: reproducible blobs of any size, and images made of them."""

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from gzip import GzipFile
from random import Random
from typing import Any, Final, Self

from image_syncer.cache import skipped
from image_syncer.oci import Descriptor, Digest, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.roles import Chunk

_BLOCK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Blob:
    """Content with its descriptor. Each call of *chunks* yields the bytes from the start."""

    descriptor: Descriptor
    chunks: Callable[[], Iterator[bytes]] = field(repr=False, compare=False)

    @classmethod
    def of(cls, content: bytes, media_type: str = types.OCI_LAYER_GZIP, *, algorithm: str = "sha256") -> Self:
        """Return *content* as a blob of *media_type*."""
        descriptor = Descriptor(media_type, Digest.of(content, algorithm), len(content))
        return cls(descriptor, lambda: iter((content,) if content else ()))

    @classmethod
    def generated(cls, seed: str, size_bytes: int, media_type: str = types.OCI_LAYER_GZIP) -> Self:
        """Return *size_bytes* pseudo-random bytes derived from *seed*; they are never held in memory as a whole."""
        descriptor = Descriptor(media_type, _generated_digest(seed, size_bytes), size_bytes)
        return cls(descriptor, lambda: _generate(seed, size_bytes))

    @property
    def digest(self) -> Digest:
        """The digest of the content."""
        return self.descriptor.digest

    @property
    def size_bytes(self) -> int:
        """The size of the content."""
        return self.descriptor.size or 0

    @asynccontextmanager
    async def open(self, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open the content from byte *start* (an `Opener`)."""
        async with aclosing(skipped(self._stream(), start)) as stream:
            yield stream

    def read(self) -> bytes:
        """Return the whole content."""
        return b"".join(self.chunks())

    async def _stream(self) -> AsyncGenerator[Chunk]:
        for chunk in self.chunks():
            yield chunk


@dataclass(frozen=True, slots=True)
class Image:
    """An image, index or artifact with its whole graph: *manifests* lists children first and the root last."""

    root: RawManifest
    manifests: tuple[RawManifest, ...] = field(repr=False)
    blobs: Mapping[Digest, Blob] = field(repr=False)

    @property
    def digest(self) -> Digest:
        """The digest of the root."""
        return self.root.digest

    @property
    def size_bytes(self) -> int:
        """The size of all blobs together, each counted once."""
        return sum(blob.size_bytes for blob in self.blobs.values())


@dataclass(frozen=True, slots=True)
class Style:
    """How a manifest is serialised. Only the default survives parsing and serialising again."""

    indent: int | None = None
    reverse_keys: bool = False
    tail: str = ""

    def dump(self, document: dict[str, Any]) -> bytes:
        """Return the bytes of *document*."""
        ordered = dict(reversed(document.items())) if self.reverse_keys else document
        separators = (",", ":") if self.indent is None else (" , ", " : ")
        return (json.dumps(ordered, indent=self.indent, separators=separators, ensure_ascii=False) + self.tail).encode()


COMPACT: Final = Style()
ODD: Final = Style(indent=3, reverse_keys=True, tail="\n\n")
"""Unusual whitespace, key order and line ends: parsing and serialising again changes the digest."""


def files_layer(files: Mapping[str, bytes], media_type: str = types.OCI_LAYER_GZIP) -> Blob:
    """Return *files* (path in the image: content) as an executable tar.gz layer, byte-identical in every run."""
    packed = io.BytesIO()
    # No name and mtime 0: gzip would otherwise store the time of packing in its header.
    with (
        GzipFile(filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode, entry.mtime = len(content), 0o755, 0
            tar.addfile(entry, io.BytesIO(content))
    return Blob.of(packed.getvalue(), media_type)


def _generate(seed: str, size_bytes: int) -> Iterator[bytes]:
    """Yield blocks that differ only in their first bytes: generating them must not dominate a benchmark."""
    block = Random(seed).randbytes(min(size_bytes, _BLOCK_BYTES))
    for number, start in enumerate(range(0, size_bytes, _BLOCK_BYTES)):
        here = block if number == 0 else number.to_bytes(8, "big") + block[8:]
        yield here[: size_bytes - start]


@lru_cache(maxsize=4096)
def _generated_digest(seed: str, size_bytes: int) -> Digest:
    total = hashlib.sha256()
    for chunk in _generate(seed, size_bytes):
        total.update(chunk)
    return Digest("sha256", total.hexdigest())
