"""Which referrers of an image are copied along, and when unchanged images are looked at again."""

from fnmatch import fnmatchcase
from typing import Final

from image_syncer.oci import Descriptor, Repository
from image_syncer.oci.referrer import ReferrerKind, kind_of, kind_of_legacy_tag
from image_syncer.structs import Struct
from image_syncer.sync.pattern import TargetTemplate

DEFAULT_RECHECK_SECONDS: Final = 24 * 3600.0


class ReferrerSettings(Struct):
    """The `referrers:` of a rule.

    *types* selects by artifact type (globs) or by kind, such as `signature`; empty selects all. *exclude* takes some of
    them out. *legacy_tags*: cosign's `.sig`, `.att` and `.sbom` tags too. An unchanged image is looked at again after
    *recheck_seconds*; 0: in each run. *required*: an image fails if one of its referrers cannot be copied. *source* and
    *target* name other repositories that hold the referrers (`from:` and `to:`); None: those of the image.
    """

    enabled: bool = True
    types: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    legacy_tags: bool = True
    recheck_seconds: float = DEFAULT_RECHECK_SECONDS
    required: bool = False
    source: TargetTemplate | None = None
    target: TargetTemplate | None = None

    @property
    def selects_by_kind(self) -> bool:
        """Whether the kind of a referrer decides if it is copied."""
        return not _KINDS.isdisjoint((*self.types, *self.exclude))

    def selects(self, entry: Descriptor) -> bool:
        """Whether the referrer *entry* is copied."""
        return self.selects_type(entry.artifact_type, kind_of(entry))

    def selects_type(self, artifact_type: str, kind: ReferrerKind) -> bool:
        """Whether referrers of this type and kind are copied."""
        if self.types and not _matches(self.types, artifact_type, kind):
            return False
        return not _matches(self.exclude, artifact_type, kind)

    def selects_attachment(self, entry: Descriptor, tag: str) -> bool:
        """Whether the referrer *entry* is copied, or with a *tag* the manifest at that legacy tag of cosign."""
        if not tag:
            return self.selects(entry)
        return self.legacy_tags and self.selects_type("", kind_of_legacy_tag(tag))

    def source_of(self, repository: Repository) -> Repository:
        """Return the repository that holds the referrers of the images in the source *repository*."""
        return repository if self.source is None else self.source.fill(repository.tag("x")).repository

    def target_of(self, repository: Repository) -> Repository:
        """Return the repository that receives the referrers of the images in the target *repository*."""
        return repository if self.target is None else self.target.fill(repository.tag("x")).repository

    def without_selection(self) -> "ReferrerSettings":
        """Return settings that select everything in the same repositories, as gates need it."""
        return ReferrerSettings(source=self.source, target=self.target)


_KINDS: Final = frozenset(ReferrerKind)

DEFAULT_REFERRERS: Final = ReferrerSettings()
NO_REFERRERS: Final = ReferrerSettings(enabled=False)


def _matches(patterns: tuple[str, ...], artifact_type: str, kind: ReferrerKind) -> bool:
    return any(pattern == kind or fnmatchcase(artifact_type, pattern) for pattern in patterns)
