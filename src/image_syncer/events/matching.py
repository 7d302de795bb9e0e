"""Match a push against the rules. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from image_syncer.errors import CopyFailed
from image_syncer.oci import Reference, Repository
from image_syncer.sync.plan import Copy, RuleFailure
from image_syncer.sync.planner import pair_up
from image_syncer.sync.rule import Rule


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
    copies: dict[Reference, Copy] = {}
    failures: list[RuleFailure] = []
    for rule in rules:
        if not rule.triggers.events or not rule.wants(repository, tag):
            continue
        try:
            paired = pair_up(rule, [source])
        except CopyFailed as failure:
            failures += [RuleFailure(rule.name, str(source), str(target), failure) for target in rule.targets]
            continue
        failures += paired.failures
        for copy in paired.copies:
            copies.setdefault(copy.target, copy)
    return Matches(tuple(copies.values()), tuple(failures))
