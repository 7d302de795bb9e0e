"""What outlives a process: notes of what was found, and the role of the place that keeps them.

The database behind it is slow to import and to open, so it is reached through a `Shelf`, and only when it is needed.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.roles import ConfirmedCopy, UploadCheckpoint

# AWS, Google and Azure sign so, and others name it plainly: whoever has such a URL may write there, without a login.
_SIGNED: Final = re.compile(r"x-amz-.*|x-goog-.*|signature|sig|.*token")

FilterKey = tuple[Digest, PlatformFilter]
"""An index or image, and what is kept of it."""


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """That *repository* holds the blob *digest*; with *held* False, that it does not after all."""

    repository: Repository
    digest: Digest
    size_bytes: int | None = None
    is_held: bool = True


@dataclass(frozen=True, slots=True)
class FilteredRecord:
    """That *platforms* leave *trimmed* of *source*."""

    source: Digest
    platforms: PlatformFilter
    trimmed: Digest


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """How far the upload of *digest* to *repository* has come; None: there is none to go on with."""

    repository: Repository
    digest: Digest
    unfinished: UploadCheckpoint | None


CacheRecord = BlobRecord | FilteredRecord | ConfirmedCopy | UploadRecord


class CacheBackend(Protocol):
    """Keeps notes. Every method raises `ImageSyncerError` where the place cannot be read or written."""

    async def holders(self, registry: str, digests: Collection[Digest]) -> Mapping[Digest, Repository] | None:
        """Return a repository of *registry* for each of *digests* that is known; None where none of its blobs is."""
        ...

    async def filtered_digests(self, keys: Collection[FilterKey]) -> Mapping[FilterKey, Digest]:
        """Return what is left of each of *keys* of which that is known."""
        ...

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return by tag or digest what the target *repository* named, confirmed within the last *seconds*."""
        ...

    async def take_upload(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Return the upload that was begun and that nobody works on, which is this process's then; None without one."""
        ...

    async def write(self, notes: Sequence[CacheRecord], *, tidy: bool) -> None:
        """Keep *notes*, all or none of them; at most one of them is about each thing.

        With *tidy*, forget what is old or too much afterwards.
        """
        ...


@dataclass(frozen=True, slots=True)
class LazyBackend:
    """Where an archive is: *open* opens it, made if need be; *is_new* says cheaply that there is none yet."""

    open: Callable[[], AbstractAsyncContextManager[CacheBackend]]
    is_new: Callable[[], bool]


def may_be_kept(unfinished: UploadCheckpoint) -> bool:
    """Whether the location may lie on a disk: not where it lets everybody write who reads it."""
    try:
        parts = urlsplit(unfinished.location)
        names = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:
        return False
    return "@" not in parts.netloc and not any(map(_SIGNED.fullmatch, names))
