"""Expands rules into copies: lists what a rule needs listed, and pairs it with the targets. Reads, never writes."""

from collections.abc import Sequence

from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import CopyFailed
from image_syncer.roles import Stores
from image_syncer.structs import Struct, field
from image_syncer.sync.pairing import pair_up, unique_copies
from image_syncer.sync.pattern import SourcePattern
from image_syncer.sync.plan import Copy, RuleFailure
from image_syncer.sync.rule import Rule
from image_syncer.sync.tag_selector import TagSelector

NEEDS_EVENT = "has a pattern as its source: there is nothing to do without an event, which image-syncer serve receives"


class Selected(Struct, frozen=False):
    """The copies that rules select, before the targets are asked."""

    copies: list[Copy] = field(default_factory=list[Copy])
    failures: list[RuleFailure] = field(default_factory=list[RuleFailure])
    warnings: list[str] = field(default_factory=list[str])
    repeatable: list[Rule] = field(default_factory=list[Rule])
    """Rules among the failures that a retry can help."""
    unlisted: list[Rule] = field(default_factory=list[Rule])
    """Rules that were not expanded because of a stop."""


class RuleExpander:
    """Expands rules by the listings of *stores*, *width* rules at once. A repository is listed once."""

    def __init__(self, stores: Stores, *, width: int) -> None:
        self._tags = TagSelector(stores)
        self._width = width

    async def select(self, rules: Sequence[Rule], *, stop: Shutdown | None = None) -> Selected:
        """List tags where a rule needs them; return every wanted (source, target) pair once, in the rules' order."""
        per_rule: dict[int, list[Copy]] = {}
        selected = Selected()

        async def expand(numbered: tuple[int, Rule]) -> None:
            number, rule = numbered
            if isinstance(rule.source, SourcePattern):
                per_rule[number] = []
                selected.warnings.append(f"{rule.origin or rule.name}: {rule.name} {NEEDS_EVENT}")
                return
            try:
                paired = pair_up(rule, await self._tags.select(rule.selection, rule.source))
                per_rule[number] = paired.copies
                selected.failures += paired.failures
            except CopyFailed as failure:
                selected.failures += [
                    RuleFailure(rule.name, rule.name, str(target), failure) for target in rule.targets
                ]
                if not failure.is_permanent:
                    selected.repeatable.append(rule)
                per_rule[number] = []
                return
            if not paired.copies and not paired.failures:
                selected.warnings.append(f"{rule.origin or rule.name}: {rule.name} matches no tag")

        await for_each(enumerate(rules), expand, width=self._width, stop=stop)
        unique = unique_copies(copy for _, copies in sorted(per_rule.items()) for copy in copies)
        selected.copies = unique.copies
        selected.failures += unique.failures
        selected.unlisted = [rule for number, rule in enumerate(rules) if number not in per_rule]
        return selected
