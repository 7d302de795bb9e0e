"""Pairs the selected images of a rule with their names at the targets. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from image_syncer.errors import CopyFailed, InvalidReference, Refused
from image_syncer.oci import Digest, PlatformFilter, Reference, Repository
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.plan import Copy, RuleFailure
from image_syncer.sync.referrer_settings import DEFAULT_REFERRERS, ReferrerSettings
from image_syncer.sync.rule import Rule, RuleTarget
from image_syncer.sync.tag_selection import TagSelection


class Paired(Struct, frozen=False):
    """Copies, and the failures of targets that have none."""

    copies: list[Copy] = field(default_factory=list[Copy])
    failures: list[RuleFailure] = field(default_factory=list[RuleFailure])


class Facts(Struct):
    """What names of targets may depend on beside the source: *digests* of sources with a tag, the *date* of the run."""

    digests: Mapping[Reference, Digest] = MappingProxyType({})
    date: str = ""


NO_FACTS: Final = Facts()


def pair_up(rule: Rule, sources: Sequence[Reference], facts: Facts = NO_FACTS) -> Paired:
    """Return the copies of the selected *sources* to each of the rule's targets.

    A source that makes no valid target name is a failure of that image. `CopyFailed` if the numbers of selected tags
    and of target tags differ.
    """
    paired = Paired()
    for ruled in rule.targets:
        if isinstance(ruled, TargetTemplate):
            _fill_in(rule, ruled, sources, facts, paired)
            continue
        for source, target in zip(sources, _targets(rule, ruled, sources), strict=True):
            paired.copies.append(_copy(rule, source, target))
    return paired


def single_copy(
    source: Reference,
    target: Reference,
    platforms: PlatformFilter | None,
    rule: Rule | None,
    referrers: ReferrerSettings | None,
) -> Copy:
    """Return the copy of *source* to *target* as *rule* copies content; *referrers* replace those of the rule."""
    if rule is None:
        return Copy(
            str(source), source, target, platforms or PlatformFilter(), referrers=referrers or DEFAULT_REFERRERS
        )
    copy = _copy(rule, source, target)
    return replace(
        copy,
        platforms=platforms or PlatformFilter(),
        recheck_seconds=None,  # A single copy always asks the target.
        referrers=referrers or rule.referrers,
    )


def _copy(rule: Rule, source: Reference, target: Reference) -> Copy:
    return Copy(
        rule.name,
        source,
        target,
        rule.platforms,
        rule.recheck_seconds,
        rule.renames_digests,
        rule.nondistributable_layers,
        rule.referrers,
        rule.selection.min_age_seconds if isinstance(rule.selection, TagSelection) else None,
        rule.ways,
    )


def _fill_in(rule: Rule, template: TargetTemplate, sources: Sequence[Reference], facts: Facts, paired: Paired) -> None:
    known: dict[Repository, Repository] = {}
    for source in sources:
        digest = facts.digests.get(source)
        try:
            target = template.fill(source, rule.naming, digest=digest, date=facts.date, known=known)
            # A name by the digest names that very content, whatever the tag names when it is copied.
            pinned = source.repository.at(digest) if digest is not None and template.needs_digest else source
            paired.copies.append(_copy(rule, pinned, target))
        except InvalidReference as error:
            failure = CopyFailed(Refused(error.message, remedy=error.remedy), side="target", step="select")
            paired.failures.append(RuleFailure(rule.name, str(source), str(template), failure))


def _targets(rule: Rule, ruled: RuleTarget, sources: Sequence[Reference]) -> list[Reference]:
    if not ruled.tags or not sources:
        return [source.in_repository(ruled.repository) for source in sources]
    if len(ruled.tags) != len(sources):
        error = Refused(
            f"{rule.name} selects {len(sources)} tags, but {ruled} names {len(ruled.tags)}",
            remedy="name as many target tags as the source has, or none to keep them",
        )
        raise CopyFailed(error, side="source", step="list tags")
    return [ruled.repository.tag(tag) for tag in ruled.tags]


def unique_copies(copies: Iterable[Copy], rules: Sequence[Rule]) -> Paired:
    """Drop repeated pairs; a second source for one target is a failure, since one tag cannot hold two images.

    *rules* are those of the copies; the failure names the lines of both.
    """
    origins = {rule.name: rule.origin for rule in rules}
    by_target: dict[Reference, Copy] = {}
    unique = Paired()
    for copy in copies:
        first = by_target.setdefault(copy.target, copy)
        if first is copy:
            unique.copies.append(copy)
        elif (first.source, first.platforms) != (copy.source, copy.platforms):
            failure = CopyFailed(collision(first, copy, origins), side="target", step="select")
            unique.failures.append(RuleFailure(copy.rule, str(copy.source), str(copy.target), failure))
    return unique


def collision(first: Copy, second: Copy, origins: Mapping[str, str]) -> Refused:
    """Return the error that *first* and *second* write one target; *origins* are the lines of rules by their names."""
    ends = " and ".join(f"{copy.source} (rule {copy.rule!r}{_line(copy, origins)})" for copy in (first, second))
    return Refused(
        f"{first.target}: {ends} both write it, from different sources", remedy="give one of them another target"
    )


def _line(copy: Copy, origins: Mapping[str, str]) -> str:
    origin = origins.get(copy.rule, "")
    return f", {origin}" if origin else ""
