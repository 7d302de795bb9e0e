"""One image on its way to one target repository: what to do there, and the progress."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from image_syncer.errors import CopyFailed, TooLarge
from image_syncer.oci import Digest, RawManifest, Repository
from image_syncer.roles import EVERY_WAY, Fence, Source, Target, Way, Ways
from image_syncer.structs import Struct, field
from image_syncer.sync.fan_out import FanOut
from image_syncer.sync.referrer_report import ReferrerReport
from image_syncer.sync.result import NOTHING, Transferred

MANIFESTS_LIMIT = 20_000
"""The maximum number of manifests and indexes in one image."""
_TEMPORARY_FAILURES = 2


class CopyOptions(Struct):
    """How to copy one image.

    *force* pushes manifests that are there already. An image that takes longer than *seconds* fails; None: no limit.
    *fence* is checked right before each write of a tag; None: the copy needs no lease. *same_as* maps further
    host names of a registry to its main name. What earlier copies found out about referrers counts if it is not older
    than *since* (`time.monotonic`).
    """

    force: bool = False
    seconds: float | None = None
    fence: Fence | None = None
    same_as: Mapping[str, str] = field(default_factory=dict[str, str])
    since: float = 0.0

    def are_one_registry(self, host: str, other: str) -> bool:
        """Whether both host names are the same registry."""
        return self.same_as.get(host, host) == self.same_as.get(other, other)


class BeforeTags(Protocol):
    """Work between the manifests of an image and its tags."""

    async def run(self, push_root: Callable[[], Awaitable[CopyFailed | None]] | None) -> CopyFailed | None:
        """Do the work; *push_root* pushes the root by its digest. Returns a failure if the target misses its parts."""
        ...


class TargetProgress(Struct, frozen=False, eq=False):
    """The progress of one image at one target repository.

    *identifiers* are the tags or digests to write; *written* are done, *refused* failed, each for its reason.
    *attached* is the part of *transferred* that belongs to attached manifests. *failure* ended the whole copy; None
    while it can succeed. *mount_origin* is the source repository by the target's host name, if both are one registry.
    *may_rename*: a target that does not store tags under the image's digest may name it by
    sha256, then *renamed*. *probe*: child manifests may exist already, so a request for each can save its blobs.
    *may_be_new*: the repository may not exist yet, and finding that out in one request is worth it.
    *trusted*: the copy believes mounts and what it knows of the repository; not any more once the target reported
    missing content. *before_tags* copies what is attached to the image; *referrers* is the report about that, and
    *listed* the digest of the source's list. *ways* are those that are allowed. *way* is that of a vendor which has
    brought the whole image; None: the blobs are placed one by one.
    """

    repository: Repository
    target: Target
    identifiers: list[str]
    fan_out: FanOut
    mount_origin: Repository | None = None
    probe: bool = False
    may_be_new: bool = False
    fence: Fence | None = None
    may_rename: bool = True
    renamed: Digest | None = None
    trusted: bool = True
    transferred: Transferred = field(default_factory=Transferred)
    attached: Transferred = NOTHING
    written: set[str] = field(default_factory=set[str])
    refused: dict[str, CopyFailed] = field(default_factory=dict[str, CopyFailed])
    failure: CopyFailed | None = None
    referrers: ReferrerReport | None = None
    listed: Digest | None = None
    before_tags: BeforeTags | None = None
    ways: Ways = EVERY_WAY
    way: Way | None = None

    @property
    def may_mount(self) -> bool:
        """Whether blobs may be mounted."""
        return Way.MOUNT in self.ways.allowed

    @property
    def way_taken(self) -> Way | None:
        """How the image's own blobs came; None if the target had all of them."""
        if self.way is not None:
            return self.way
        if self.transferred.copied > self.attached.copied:
            return Way.STREAM
        return Way.MOUNT if self.transferred.mounted > self.attached.mounted else None

    @property
    def is_source(self) -> bool:
        """Whether the target repository is the source itself, so that it holds the whole image."""
        return self.trusted and self.repository == self.mount_origin

    @property
    def unwritten(self) -> list[str]:
        """The identifiers that are neither written nor refused."""
        return [name for name in self.identifiers if name not in self.written and name not in self.refused]

    @property
    def can_try_another(self) -> bool:
        """Whether another identifier may succeed: not if the target fails temporarily, whatever the request is."""
        return sum(not failure.is_permanent for failure in self.refused.values()) < _TEMPORARY_FAILURES

    @property
    def failures(self) -> list[CopyFailed]:
        """The failure of the whole copy, or else those of its identifiers."""
        return list(self.refused.values()) if self.failure is None else [self.failure]

    def count(self, **amount: int) -> None:
        """Add bytes: *copied*, *mounted* or *existing*."""
        self.transferred += Transferred(**amount)


class SourceImage(Struct, frozen=False):
    """The image: its repository, what a platform filter *rewrote* of it, and its *root* at the targets.

    *with_external*: copy the non-distributable layers that have `urls` too. *source_root* is the root at the source.
    *skipped* are entries of a sparse index that are not pushed; *can_trim*: they may be removed from it instead.
    """

    origin: Repository
    source: Source
    rewritten: dict[Digest, RawManifest]
    root: Digest
    source_root: RawManifest
    with_external: bool = False
    manifests: int = 0
    skipped: frozenset[Digest] = frozenset()
    can_trim: bool = False

    def count_manifest(self, raw: RawManifest) -> None:
        """Count *raw*; `CopyFailed` if the image has too many manifests, since nested indexes multiply."""
        self.manifests += 1
        if self.manifests > MANIFESTS_LIMIT:
            error = TooLarge(f"{raw.digest}: more than {MANIFESTS_LIMIT} manifests in one image")
            raise CopyFailed(error, side="source", step="read manifest")
