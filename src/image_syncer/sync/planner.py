"""Turns rules into a plan: selects images and decides what to do with each. Reads, never writes."""

from collections.abc import Iterable, Sequence

from image_syncer.cache import MemoryDigestCache
from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import CopyFailed, InvalidReference, Refused, StoreError, Unexpected
from image_syncer.oci import PlatformFilter, Reference, Repository
from image_syncer.roles import DigestCache, Stores
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.decider import Decider
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.plan import Action, Copy, Plan, PlannedCopy, RuleFailure
from image_syncer.sync.referrer_settings import DEFAULT_REFERRERS, ReferrerSettings
from image_syncer.sync.refusals import ManifestRefusals
from image_syncer.sync.rule import ByDigest, Rule, RuleTarget, TagNames, select_tags

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


class Planner:
    """Makes plans for *stores*, *width* images at once, *far_width* if a registry is far (None: *width*).

    *history* has digests of earlier runs, which save requests. Images that a target has permanently
    refused, as *refusals* say, fail without a request.
    """

    def __init__(
        self,
        stores: Stores,
        reader: ManifestReader,
        *,
        width: int,
        far_width: int | None = None,
        history: DigestCache | None = None,
        refusals: ManifestRefusals | None = None,
    ) -> None:
        self._stores = stores
        self._width = width
        self._far_width = far_width or width
        self._decider = Decider(stores, reader, history or MemoryDigestCache(), refusals)
        self._listings: SingleFlight[Repository, list[str]] = SingleFlight(keep=True, share_failures=True)

    async def plan(self, rules: Sequence[Rule], *, force: bool = False, stop: Shutdown | None = None) -> Plan:
        """Return the plan for *rules* as of now. *force* copies unchanged images too.

        After a stop the plan contains the decisions so far.
        """
        selected = await self.select(rules, stop=stop)
        decided = await self.decide(selected.copies, force=force, stop=stop)
        return Plan(tuple(decided.values()), tuple(selected.failures), tuple(selected.warnings))

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
                paired = pair_up(rule, await self._sources(rule, rule.source))
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

        await for_each(enumerate(rules), expand, width=self._far_width, stop=stop)
        unique = _unique(copy for _, copies in sorted(per_rule.items()) for copy in copies)
        selected.copies = unique.copies
        selected.failures += unique.failures
        selected.unlisted = [rule for number, rule in enumerate(rules) if number not in per_rule]
        return selected

    async def prepare(self, rules: Iterable[Rule]) -> None:
        """Prepare the targets of *rules* whose tags are listed first, one repository of each registry.

        Rules whose targets are often known from the cache are left out.
        """
        first: dict[str, Repository] = {}
        for rule in rules:
            if rule.recheck_seconds is None and not isinstance(rule.selection, ByDigest | TagNames):
                for target in rule.targets:
                    if isinstance(target, RuleTarget):
                        first.setdefault(target.repository.registry, target.repository)
        await for_each(first.values(), lambda target: self._stores.prepare(target, "target"), width=self._far_width)

    async def decide(
        self,
        copies: Sequence[Copy],
        *,
        force: bool = False,
        stop: Shutdown | None = None,
        round_number: int | None = None,
        decided: dict[Copy, PlannedCopy] | None = None,
    ) -> dict[Copy, PlannedCopy]:
        """Ask both sides of each copy, a source once for all its targets; return the decisions in the same order.

        After a stop some copies have none. Calls with the same *round_number* share the resolved sources. Each decision
        is added to *decided* as soon as it is made.
        """
        groups: dict[tuple[Reference, PlatformFilter], list[Copy]] = {}
        for copy in copies:
            groups.setdefault((copy.source, copy.platforms), []).append(copy)
        made: dict[Copy, PlannedCopy] = {} if decided is None else decided

        async def decide_group(group: list[Copy]) -> None:
            try:
                made.update(await self._decider.decide(group, force=force, round_number=round_number))
            except Exception as error:  # noqa: BLE001 - a bug that one image triggers must not end the others
                failure = CopyFailed(Unexpected(error), side=None, step="resolve")
                made.update({copy: PlannedCopy(copy, Action.FAIL, failure=failure) for copy in group})

        width = self._far_width if self.are_far(copies) else self._width
        await for_each(groups.values(), decide_group, width=width, stop=stop)
        return {copy: made[copy] for copy in copies if copy in made}

    def confirm(self, planned: Sequence[PlannedCopy], *, written: bool) -> None:
        """Record for later runs that the targets of *planned* have the planned digest; *written*: this run wrote it."""
        self._decider.confirm(planned, written=written)

    def are_far(self, copies: Iterable[Copy]) -> bool:
        """Whether a registry of *copies* is far. Then most of the time is wait, and more at once is faster."""
        registries = {end.repository.registry for copy in copies for end in (copy.source, copy.target)}
        return any(map(self._stores.is_far, registries))

    async def _sources(self, rule: Rule, repository: Repository) -> list[Reference]:
        if isinstance(rule.selection, ByDigest):
            return [repository.at(rule.selection.digest)]
        if isinstance(rule.selection, TagNames):
            return [repository.tag(tag) for tag in rule.selection.names]

        async def listing() -> list[str]:
            # Some registries (distribution 2.8) list in no order, and rules rename tags by position.
            return sorted([tag async for tag in self._stores.source(repository).tags()])

        try:
            tags = select_tags(rule.selection, await self._listings.do(repository, listing))
            return [repository.tag(tag) for tag in tags]
        except StoreError as error:
            raise CopyFailed(error, side="source", step="list tags") from error


def pair_up(rule: Rule, sources: Sequence[Reference]) -> Selected:
    """Return the copies of the selected *sources* to each of the rule's targets.

    A source that makes no valid target name is a failure of that image. `CopyFailed` if the numbers of selected tags
    and of target tags differ.
    """
    paired = Selected()
    for ruled in rule.targets:
        if isinstance(ruled, TargetTemplate):
            _fill_in(rule, ruled, sources, paired)
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
    )


def _fill_in(rule: Rule, template: TargetTemplate, sources: Sequence[Reference], paired: Selected) -> None:
    for source in sources:
        try:
            paired.copies.append(_copy(rule, source, template.fill(source)))
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


def _unique(copies: Iterable[Copy]) -> Selected:
    """Drop repeated pairs; a second source for one target is a failure, since one tag cannot hold two images."""
    by_target: dict[Reference, Copy] = {}
    unique = Selected()
    for copy in copies:
        first = by_target.setdefault(copy.target, copy)
        if first is copy:
            unique.copies.append(copy)
        elif (first.source, first.platforms) != (copy.source, copy.platforms):
            error = Refused(
                f"{copy.target}: rule {copy.rule!r} and rule {first.rule!r} both write it, from different sources",
                remedy="give one of them another target",
            )
            failure = CopyFailed(error, side="target", step="select")
            unique.failures.append(RuleFailure(copy.rule, str(copy.source), str(copy.target), failure))
    return unique
