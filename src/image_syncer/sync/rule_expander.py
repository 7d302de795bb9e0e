"""Expands rules into copies: lists what a rule needs listed, and pairs it with the targets. Reads, never writes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import CopyFailed, NotFound
from image_syncer.oci import Reference, Repository
from image_syncer.roles import Stores
from image_syncer.structs import Struct, field
from image_syncer.sync.image_expander import ImageExpander
from image_syncer.sync.image_lists import ImageFinder, ImageList
from image_syncer.sync.pairing import Facts, Paired, pair_up, unique_copies
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.plan import Copy, RuleFailure
from image_syncer.sync.repository_expander import Listed, RepositoryExpander
from image_syncer.sync.rule import Rule
from image_syncer.sync.source_digests import SourceDigests
from image_syncer.sync.tag_selector import TagSelector

_SHOWN_EMPTY: Final = 3


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
    """Expands rules by the listings of *stores* and by what *tags* selects, *width* rules at once.

    *date* is the date of the run, for the names of targets.
    """

    def __init__(
        self, stores: Stores, tags: TagSelector, *, width: int, date: str = "", finder: ImageFinder | None = None
    ) -> None:
        self._repositories = RepositoryExpander(stores, width=width)
        self._tags = tags
        self._digests = SourceDigests(stores, width=width)
        self._date = date
        self._images = ImageExpander(finder, self._digests, date)
        self._width = width

    async def select(
        self, rules: Sequence[Rule], *, stop: Shutdown | None = None, listed: Listed | None = None
    ) -> Selected:
        """Return every wanted (source, target) pair once, in the rules' order.

        Lists repositories and tags where a rule needs them; *listed* receives the progress of the former.
        """
        selected = Selected()
        expanded = await self._repositories.expand(rules, stop=stop, listed=listed)
        for each in expanded:
            selected.warnings += each.warnings
            if each.failure is not None:
                _add_failure(selected, each.rule, each.failure)
            if each.is_stopped:
                selected.unlisted.append(each.rule)
        parts = [_Part(rule, source) for each in expanded for rule, source in each.sources]
        del expanded  # Many thousand rules, and the next lists need the memory.
        uses = Counter(part.source for part in parts)

        async def expand(part: _Part) -> None:
            try:
                paired = await self._pair(part)
            except CopyFailed as failure:
                part.copies = ()
                _add_failure(selected, part.rule, failure)
                return
            finally:
                uses[part.source] -= 1
                if isinstance(part.source, Repository) and not uses[part.source]:
                    self._tags.forget(part.source)  # The lists of 20 000 repositories would exceed all else in memory.
            part.copies = tuple(paired.copies)
            selected.failures += paired.failures
            selected.warnings += part.warnings
            if isinstance(part.source, ImageList):
                return
            if part.rule.found_by is None and not paired.copies and not paired.failures:
                why = self._tags.why_empty(part.rule.selection, part.source)
                selected.warnings.append(f"{part.rule.origin or part.rule.name}: {part.rule.name} {why}")

        await for_each(parts, expand, width=self._width, stop=stop)
        unique = unique_copies((copy for part in parts for copy in part.copies or ()), rules)
        selected.copies = unique.copies
        selected.failures += unique.failures
        selected.warnings += _empty_repositories(parts)
        selected.unlisted += [part.rule for part in parts if part.copies is None]
        return selected

    async def _pair(self, part: "_Part") -> Paired:
        """Return the copies of *part*. A repository that a pattern found needs not have the tags that a rule names."""
        rule = part.rule
        if isinstance(part.source, ImageList):
            return await self._images.expand(rule, part.source, part.warnings)
        if rule.found_by is None:
            return await self._named(rule, await self._tags.select(rule.selection, part.source))
        try:
            selected = await self._tags.select_listed(rule.selection, part.source)
        except CopyFailed as failure:
            if not isinstance(failure.cause, NotFound):
                raise
            part.is_empty = True  # distribution lists repositories that hold blobs alone.
            return Paired()
        return await self._named(rule, selected)

    async def _named(self, rule: Rule, selected: Sequence[Reference]) -> Paired:
        """Return the copies of *selected*; a source is resolved first where the name of its target has its digest."""
        if not any(isinstance(target, TargetTemplate) and target.needs_digest for target in rule.targets):
            return pair_up(rule, selected, Facts(date=self._date))
        resolved = await self._digests.resolve(selected)
        paired = pair_up(rule, list(resolved.digests), Facts(resolved.digests, self._date))
        paired.failures += [
            RuleFailure(rule.name, str(source), str(target), failure)
            for source, failure in resolved.failures.items()
            for target in rule.targets
        ]
        return paired


class _Part(Struct, frozen=False):
    """A rule, one *source* of it, and the copies; None until they are known."""

    rule: Rule
    source: Repository | ImageList
    copies: tuple[Copy, ...] | None = None
    is_empty: bool = False
    warnings: list[str] = field(default_factory=list[str])


def _add_failure(selected: Selected, rule: Rule, failure: CopyFailed) -> None:
    selected.failures += [RuleFailure(rule.name, rule.result_source, str(target), failure) for target in rule.targets]
    if not failure.is_permanent:
        selected.repeatable.append(rule)


def _empty_repositories(parts: Sequence[_Part]) -> Iterator[str]:
    """Yield a warning for each rule with repositories that are listed, and have no tags or may not be read."""
    empty: dict[str, list[Rule]] = {}
    for part in parts:
        if part.is_empty:
            empty.setdefault(part.rule.name, []).append(part.rule)
    for name, rules in empty.items():
        shown = ", ".join(str(rule.source) for rule in rules[:_SHOWN_EMPTY])
        more = f" and {len(rules) - _SHOWN_EMPTY} more" if len(rules) > _SHOWN_EMPTY else ""
        yield f"{rules[0].origin or name}: {name}: without tags, or not to be read: {shown}{more}"
