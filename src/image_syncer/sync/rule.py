"""Rules: which images to copy where. Each has the place where it was written, so that messages can point there."""

from collections.abc import Sequence
from typing import Final

from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.oci.referrer import is_referrer_tag
from image_syncer.roles import ALL_WAYS, Way
from image_syncer.structs import Struct, field
from image_syncer.sync.image_lists import ImageList
from image_syncer.sync.naming import KEEP_NAMES, Naming
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.referrer_settings import DEFAULT_REFERRERS, ReferrerSettings
from image_syncer.sync.repository_filter import ALL_REPOSITORIES, RepositoryFilter
from image_syncer.sync.tag_filter import TagFilter
from image_syncer.sync.tag_pattern import TagPattern
from image_syncer.sync.tag_selection import TagSelection

MAX_REPOSITORIES: Final = 10_000
"""The most repositories that a pattern may find, unless the rule says otherwise."""

_SCANNED_NAMES: Final = 16


class AllTags(Struct):
    """Every tag of the repository."""

    def __str__(self) -> str:
        return "all tags"


class TagNames(Struct):
    """These tags, in this order."""

    names: tuple[str, ...]
    _set: frozenset[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Most rules have few names, for which a set only takes memory.
        object.__setattr__(self, "_set", frozenset(self.names) if len(self.names) > _SCANNED_NAMES else None)

    def has(self, tag: str) -> bool:
        """Whether *tag* is one of the names; the time does not grow with their number."""
        return tag in (self.names if self._set is None else self._set)

    def __str__(self) -> str:
        return ",".join(self.names)


class ByDigest(Struct):
    """The one manifest with this digest."""

    digest: Digest

    def __str__(self) -> str:
        return str(self.digest)


Selection = AllTags | TagNames | TagPattern | TagFilter | TagSelection | ByDigest


class RuleTarget(Struct):
    """A target repository. *tags* rename the selected tags by position; empty keeps the source's tags or digest."""

    repository: Repository
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.repository}:{','.join(self.tags)}" if self.tags else str(self.repository)


class Every(Struct):
    """An interval; a random delay of up to *jitter_seconds* keeps rules from starting together."""

    seconds: float
    jitter_seconds: float = 0.0


class Cron(Struct):
    """The times of a cron *expression* in *timezone* (a name of the tz database)."""

    expression: str
    timezone: str = "UTC"
    jitter_seconds: float = 0.0


Schedule = Every | Cron


class Triggers(Struct):
    """When a daemon runs a rule: on a schedule, on *events*, or with neither only on request."""

    schedule: Schedule | None = None
    events: bool = False


class Rule(Struct):
    """Copy the *selection* of *source* to every target.

    *name* identifies the rule in reports; *origin* is the place where it was written (`images.yaml:3`), or empty.
    A run finds the repositories of a *source* that is a pattern in the registry's catalogue, if the rule *lists* them;
    otherwise they become known by events only. More than *max_repositories* are an error. *repositories* narrows the
    pattern. *found_by*: the pattern by which a run found the repository *source*; None in the rules of a configuration.
    *naming* changes path and tag before the placeholders of *targets* use them.
    The images of a *source* that is a list are named there: the selection does not apply, and no event announces them.
    A target that was confirmed is not asked again for *recheck_seconds*; None: each run asks it.
    *renames_digests*: a target that does not store a tag under its digest, such as sha512, stores it under sha256.
    *nondistributable_layers*: copy layers that have `urls` too, which registries need not hold.
    *referrers*: what is attached to images, and is copied along.
    *ways*: images reach the targets in one of them.
    """

    name: str
    source: Repository | SourcePattern | ImageList
    selection: Selection
    targets: tuple[RuleTarget | TargetTemplate, ...]
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    origin: str = ""
    triggers: Triggers = field(default_factory=Triggers)
    recheck_seconds: float | None = None
    renames_digests: bool = True
    nondistributable_layers: bool = False
    referrers: ReferrerSettings = DEFAULT_REFERRERS
    repositories: RepositoryFilter = ALL_REPOSITORIES
    lists: bool = False
    max_repositories: int = MAX_REPOSITORIES
    found_by: SourcePattern | None = None
    naming: Naming = KEEP_NAMES
    ways: frozenset[Way] = ALL_WAYS

    def wants(self, repository: Repository, tag: str) -> bool:
        """Whether the rule selects *tag* of *repository*, as far as the rule alone can tell."""
        return self.has_source(repository) and wants_tag(self.selection, tag)

    def has_source(self, repository: Repository) -> bool:
        """Whether the rule copies from *repository*."""
        if isinstance(self.source, SourcePattern):
            return self.source.matches(repository) and self.repositories.wants(repository)
        return self.source == repository

    @property
    def result_source(self) -> str:
        """The source in results about the rule as a whole: its name, or the repository that a pattern found."""
        return self.name if self.found_by is None else str(self.source)


def needs_listing(selection: Selection) -> bool:
    """Whether other tags and dates decide about a tag whose name fits *selection*."""
    return isinstance(selection, TagSelection) and selection.needs_listing


def select_tags(selection: Selection, tags: Sequence[str]) -> list[str]:
    """Return those of *tags* that *selection* selects, in their order; tags of referrers only if they are named."""
    match selection:
        case AllTags():
            return [tag for tag in tags if not is_referrer_tag(tag)]
        case TagPattern():
            return [tag for tag in tags if selection.matches(tag) and not is_referrer_tag(tag)]
        case TagNames():
            return list(selection.names)
        case TagFilter() | TagSelection():
            return selection.select(tags)
        case ByDigest():
            return []


def wants_tag(selection: Selection, tag: str) -> bool:
    """Whether *selection* selects *tag*; a selection by digest selects no tag."""
    match selection:
        case AllTags():
            return not is_referrer_tag(tag)
        case TagPattern():
            return selection.matches(tag) and not is_referrer_tag(tag)
        case TagNames():
            return selection.has(tag)
        case TagFilter() | TagSelection():
            return selection.wants(tag)
        case ByDigest():
            return False
