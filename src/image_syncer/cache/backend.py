"""Records that outlive a process, and the role of the backend that stores them.

The database behind it is slow to import and to open, so a `LazyBackend` opens it at the first use.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import Enum, auto
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.roles import ConfirmedCopy, HostFact, ReferrerCheck, Sighting, UploadCheckpoint
from image_syncer.structs import Struct

# Query parameters of signed URLs (AWS, Google, Azure, plain tokens): such a URL grants write access without a login.
_SIGNED: Final = re.compile(r"x-amz-.*|x-goog-.*|signature|sig|.*token")

FilterKey = tuple[Digest, PlatformFilter]
"""An index or image, and the platforms to keep of it."""


class BlobRecord(Struct):
    """*repository* holds the blob *digest*; with *is_held* False, it turned out not to."""

    repository: Repository
    digest: Digest
    size_bytes: int | None = None
    is_held: bool = True


class FilteredRecord(Struct):
    """*source*, filtered by *platforms*, has the digest *filtered*."""

    source: Digest
    platforms: PlatformFilter
    filtered: Digest


class UploadRecord(Struct):
    """How far the upload of *digest* to *repository* has come; a *checkpoint* of None deletes the record."""

    repository: Repository
    digest: Digest
    checkpoint: UploadCheckpoint | None


class FactRecord(Struct):
    """The fact *key* about *host* is *value* for the next *seconds*; a *value* of None deletes it."""

    host: str
    key: str
    value: str | None
    seconds: float = 0.0


BlobKey = tuple[str, Digest]
"""A blob at a registry."""


class ReleaseRecord(Struct):
    """This process no longer claims the upload of *digest* to *registry*."""

    registry: str
    digest: Digest


class AttachedTagRecord(Struct):
    """This tool wrote *digest* at the legacy *tag* of the target *repository*."""

    repository: Repository
    tag: str
    digest: Digest


class CreatedRecord(Struct):
    """The config of the image *digest* says that it was *created* then; None: it has no credible date."""

    digest: Digest
    created: datetime | None


class Neighbours(Enum):
    """The other processes that share the backend now."""

    NONE = auto()
    SETTLING = auto()
    """Some do not know about others yet, so not all their claims are written."""
    SHARING = auto()


CacheRecord = (
    ReleaseRecord
    | BlobRecord
    | FilteredRecord
    | ConfirmedCopy
    | UploadRecord
    | FactRecord
    | ReferrerCheck
    | AttachedTagRecord
    | CreatedRecord
)


class CacheBackend(Protocol):
    """Stores records. Every method raises `ImageSyncerError` if the storage cannot be read or written."""

    async def holders(self, registry: str, digests: Collection[Digest]) -> Mapping[Digest, Repository] | None:
        """Return a repository of *registry* for each known one of *digests*; None if it knows no blob of *registry*."""
        ...

    async def filtered_digests(self, keys: Collection[FilterKey]) -> Mapping[FilterKey, Digest]:
        """Return the filtered digest for each known one of *keys*."""
        ...

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return what each tag or digest of the target *repository* named, if confirmed within the last *seconds*."""
        ...

    async def take_upload(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Claim an upload that was begun and that no live process works on; None without one."""
        ...

    async def host_facts(self, host: str) -> Mapping[str, tuple[HostFact, float]]:
        """Return the facts about *host* by key, each with the seconds until it expires; those that expire last."""
        ...

    async def referrer_checks(
        self, repository: Repository, subjects: Collection[Digest]
    ) -> Mapping[Digest, ReferrerCheck]:
        """Return the last check of the referrers of each one of *subjects* in *repository* that was checked."""
        ...

    async def attached_tags(self, repository: Repository) -> Mapping[str, Digest]:
        """Return what this tool last wrote at each legacy tag of the target *repository*."""
        ...

    async def first_seen(
        self, repository: Repository, tags: Collection[str]
    ) -> Mapping[str, Mapping[Digest, datetime]]:
        """Return the first time of each digest of each one of *tags* of the source *repository* that was seen."""
        ...

    async def record_first_seen(self, repository: Repository, sightings: Collection[Sighting]) -> bool:
        """Record *sightings*, the first one of a tag with a digest for good; True once they are durable."""
        ...

    async def created(self, digests: Collection[Digest]) -> Mapping[Digest, datetime | None]:
        """Return when each known one of *digests* was created; None: its config has no credible date."""
        ...

    async def announce(self, held: Collection[BlobKey] | None) -> Neighbours:
        """Announce this process for 30 seconds, and return the others that are announced then.

        With *held*, the others learn that this process shares, and *held* are claimed at the same time: then all its
        claims are in the backend, and so is what it uploaded until then. None: its claims are not.
        """
        ...

    async def claim_blobs(self, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        """Claim the uploads of *keys* for this process, and return those that another announced process claims."""
        ...

    async def withdraw(self) -> None:
        """Remove the announcement and all claims of this process."""
        ...

    async def write(self, notes: Sequence[CacheRecord], *, tidy: bool) -> None:
        """Store *notes* in one transaction; at most one of them has each key. With *tidy*, then delete old records."""
        ...


class LazyBackend(Struct):
    """*open* opens the backend, and creates it if needed; *is_new* says, without opening it, that none exists yet."""

    open: Callable[[], AbstractAsyncContextManager[CacheBackend]]
    is_new: Callable[[], bool]


def is_storable(checkpoint: UploadCheckpoint) -> bool:
    """Whether the location may be written to disk: False for a URL that grants write access to every reader."""
    try:
        parts = urlsplit(checkpoint.location)
        names = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:
        return False
    return "@" not in parts.netloc and not any(map(_SIGNED.fullmatch, names))
