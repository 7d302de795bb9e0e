"""Events against rules: which copies follow from a push. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from image_syncer.errors import CopyFailed
from image_syncer.oci import Reference, Repository
from image_syncer.sync.plan import Copy, RuleFailure
from image_syncer.sync.planner import pair_up
from image_syncer.sync.rule import Rule


@dataclass(frozen=True, slots=True)
class Matches:
    """What rules make of one push, in their order: *copies*, each (source, target) once, and what gives no target.

    Both empty: no rule wants it.
    """

    copies: tuple[Copy, ...] = ()
    failures: tuple[RuleFailure, ...] = ()


def copies_for(repository: Repository, tag: str, rules: Sequence[Rule]) -> list[Copy]:
    """Return the copies that a push of *tag* to *repository* leads to; empty where no rule wants it.

    What a rule wants but cannot name at its target is in `match_push` alone.
    """
    return list(match_push(repository, tag, rules).copies)


def match_push(repository: Repository, tag: str, rules: Sequence[Rule]) -> Matches:
    """Return what the rules that events trigger make of a push of *tag* to *repository*.

    `InvalidReference` where *tag* is none. Where two rules want the same source at the same target, the first one's
    platform filter counts.
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
