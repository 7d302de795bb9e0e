"""The plan: what follows from the rules now. Frozen data, so it can be shown, stored and tested."""

from dataclasses import dataclass, field
from enum import StrEnum

from image_syncer.errors import CopyFailed
from image_syncer.oci import Digest, PlatformFilter, Reference


class Action(StrEnum):
    """What is to be done about one copy."""

    COPY = "copy"
    UNCHANGED = "unchanged"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Copy:
    """One source reference to one target reference, as a rule selected it.

    A target that is known to have named the wanted digest within *recheck_seconds* is not asked; None: it always is.
    """

    rule: str
    source: Reference
    target: Reference
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    recheck_seconds: float | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        # Copies are keys at every turn of a run, and no target has more than one or two.
        return hash(self.target)


@dataclass(frozen=True, slots=True)
class PlannedCopy:
    """A decided copy.

    *source_digest* is what the source named when it was looked at. *target_digest* is what the target will name (or
    names) once it is done: another one only where a platform filter trims an index. Both None where nothing was found.
    *replaces* is what the target names now, None where it names nothing. *reason* explains SKIP, *failure* FAIL.
    """

    copy: Copy
    action: Action
    source_digest: Digest | None = None
    target_digest: Digest | None = None
    replaces: Digest | None = None
    reason: str | None = None
    failure: CopyFailed | None = None


@dataclass(frozen=True, slots=True)
class RuleFailure:
    """A rule of which nothing is known, since its tags could not be listed or do not fit its targets.

    *source* and *target* stand as they were written.
    """

    rule: str
    source: str
    target: str
    failure: CopyFailed


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the rules lead to, each (source, target) pair once; *warnings* are for people."""

    copies: tuple[PlannedCopy, ...]
    failures: tuple[RuleFailure, ...] = ()
    warnings: tuple[str, ...] = ()
