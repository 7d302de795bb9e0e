"""Match a push against the rules. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from image_syncer.errors import CopyFailed
from image_syncer.oci import Reference, Repository
from image_syncer.sync.pairing import pair_up
from image_syncer.sync.plan import Copy, RuleFailure
from image_syncer.sync.rule import ByDigest, Rule


@dataclass(frozen=True, slots=True)
class Matches:
    """The copies that rules want for a push, in their order and each (source, target) once, and the failed targets.

    Both empty: no rule matches.
    """

    copies: tuple[Copy, ...] = ()
    failures: tuple[RuleFailure, ...] = ()


def copies_for(repository: Repository, tag: str, rules: Sequence[Rule]) -> list[Copy]:
    """Return the copies for a push of *tag* to *repository*; empty if no rule matches.

    Only `match_push` returns the failures of rules that match but cannot name the target.
    """
    return list(match_push(repository, tag, rules).copies)


def match_push(repository: Repository, tag: str, rules: Sequence[Rule]) -> Matches:
    """Return the matches of a push of *tag* to *repository*, for rules that events trigger.

    `InvalidReference` for an invalid *tag*. If two rules want the same copy, the first rule's platform filter applies.
    """
    source = repository.tag(tag)
    return _paired((rule, source) for rule in rules if rule.triggers.events and rule.wants(repository, tag))


def rules_for_referrers(
    repository: Repository, rules: Sequence[Rule], gated: Collection[str] = ()
) -> list[tuple[Rule, Repository]]:
    """Return the rules that a referrer in *repository* may concern, each with the source repository of its images.

    These are the rules that events trigger, and that copy referrers or have a gate (*gated* has their names).
    """
    found: list[tuple[Rule, Repository]] = []
    for rule in rules:
        if not rule.triggers.events or not (rule.referrers.enabled or rule.name in gated):
            continue
        if isinstance(rule.source, Repository):
            if repository == rule.referrers.source_of(rule.source):
                found.append((rule, rule.source))
        elif rule.referrers.source is None and rule.has_source(repository):
            found.append((rule, repository))
    return found


def match_referrer(
    concerned: Sequence[tuple[Rule, Repository]], images: Mapping[Repository, Sequence[Reference]]
) -> Matches:
    """Return the copies of the known *images* of each source repository that the *concerned* rules want."""
    return _paired(
        (rule, image) for rule, origin in concerned for image in images.get(origin, ()) if _wants(rule, image)
    )


def _wants(rule: Rule, image: Reference) -> bool:
    if image.tag is None:
        return isinstance(rule.selection, ByDigest) and rule.selection.digest == image.digest
    return rule.wants(image.repository, image.tag)


def _paired(wanted: Iterable[tuple[Rule, Reference]]) -> Matches:
    copies: dict[Reference, Copy] = {}
    failures: list[RuleFailure] = []
    for rule, source in wanted:
        try:
            paired = pair_up(rule, [source])
        except CopyFailed as failure:
            failures += [RuleFailure(rule.name, str(source), str(target), failure) for target in rule.targets]
            continue
        failures += paired.failures
        for copy in paired.copies:
            copies.setdefault(copy.target, copy)
    return Matches(tuple(copies.values()), tuple(failures))
