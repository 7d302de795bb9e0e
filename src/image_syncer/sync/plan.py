"""The plan: the copies that the rules require now. Frozen data, so it can be shown, stored and tested."""

from enum import StrEnum

from image_syncer.errors import CopyFailed
from image_syncer.oci import Digest, PlatformFilter, Reference
from image_syncer.roles import ALL_WAYS, Way
from image_syncer.structs import Struct, field
from image_syncer.sync.referrer_settings import DEFAULT_REFERRERS, ReferrerSettings


class Action(StrEnum):
    """What a run does with one copy."""

    COPY = "copy"
    UNCHANGED = "unchanged"
    SKIP = "skip"
    FAIL = "fail"


class Copy(Struct):
    """One source reference to one target reference, as a rule selected it.

    A target that was confirmed within *recheck_seconds* is not asked again; None: every run asks it.
    *renames_digests*: a target that does not store a tag under its digest, such as sha512, stores it under sha256.
    *nondistributable_layers*: layers that have `urls` are copied too. *referrers*: what is attached and copied along.
    A tag that is not public for *min_age_seconds* with its digest is skipped; None: its age does not matter.
    *ways*: the image reaches the target in one of them.
    """

    rule: str
    source: Reference
    target: Reference
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    recheck_seconds: float | None = field(default=None, compare=False)
    renames_digests: bool = field(default=True, compare=False)
    nondistributable_layers: bool = field(default=False, compare=False)
    referrers: ReferrerSettings = field(default=DEFAULT_REFERRERS, compare=False)
    min_age_seconds: float | None = field(default=None, compare=False)
    ways: frozenset[Way] = field(default=ALL_WAYS, compare=False)

    def __hash__(self) -> int:
        # A run uses copies as keys all the time. One target has one or two copies, so its hash alone spreads well.
        return hash(self.target)


class PlannedCopy(Struct):
    """A copy and the decision about it.

    *source_digest* is the digest of the source when it was resolved. *target_digest* is the digest of the target after
    the copy; it differs only if a platform filter trims the index, or if the target uses another algorithm. Both are
    None if the source was not found. *replaces* is the present digest of the target, None without one. *reason*
    explains SKIP, *failure* FAIL. *listed* is the digest of the source's list of referrers at the last check; None: it
    counts for nothing.
    """

    copy: Copy
    action: Action
    source_digest: Digest | None = None
    target_digest: Digest | None = None
    replaces: Digest | None = None
    reason: str | None = None
    failure: CopyFailed | None = None
    listed: Digest | None = None


class RuleFailure(Struct):
    """A rule that selected no images, since its tags could not be listed or do not match its targets.

    *source* and *target* are quoted from the rule.
    """

    rule: str
    source: str
    target: str
    failure: CopyFailed


class Plan(Struct):
    """The copies of all rules, each (source, target) pair once; *warnings* are for the user."""

    copies: tuple[PlannedCopy, ...]
    failures: tuple[RuleFailure, ...] = ()
    warnings: tuple[str, ...] = ()
