"""Turns rules into a plan: selects images and decides what to do with each. Reads, never writes."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from image_syncer.cache import MemoryDigestCache, MemoryFirstSeen, MemoryImageDates
from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import CopyFailed, Unexpected
from image_syncer.oci import PlatformFilter, Reference, Repository
from image_syncer.roles import DigestCache, Stores
from image_syncer.sync.decider import Decider
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import Action, Copy, Plan, PlannedCopy
from image_syncer.sync.refusals import ManifestRefusals
from image_syncer.sync.rule import ByDigest, Rule, RuleTarget, TagNames

if TYPE_CHECKING:
    from image_syncer.sync.image_lists import ImageFinder
    from image_syncer.sync.repository_expander import Listed
    from image_syncer.sync.rule_expander import RuleExpander, Selected
    from image_syncer.sync.tag_dates import TagDates
    from image_syncer.sync.tag_evaluation import TagExplanation
    from image_syncer.sync.tag_selector import TagSelector


class Planner:
    """Makes plans for *stores*, *width* images at once, *far_width* if a registry is far (None: *width*).

    *history* has digests of earlier runs, which save requests. Images that a target has permanently refused, as
    *refusals* say, fail without a request. *dates* makes the finder of dates of tags. *date* is that of the run, for
    the names of targets. *finder* finds the images of rules that have a list of them.
    """

    def __init__(  # noqa: PLR0913 - each is an independent role
        self,
        stores: Stores,
        reader: ManifestReader,
        *,
        width: int,
        far_width: int | None = None,
        history: DigestCache | None = None,
        refusals: ManifestRefusals | None = None,
        dates: "Callable[[], TagDates] | None" = None,
        date: str = "",
        finder: "ImageFinder | None" = None,
    ) -> None:
        self._stores = stores
        self._width = width
        self._far_width = far_width or width
        self._refusals = refusals
        self._reader = reader
        self._make_dates = dates
        self._date = date
        self._finder = finder
        self._decider = Decider(stores, reader, history or MemoryDigestCache(), refusals, lambda: self._dates)

    # A copy of one image selects nothing, and starts sooner without the modules for that.

    @cached_property
    def _dates(self) -> "TagDates":
        if self._make_dates is not None:
            return self._make_dates()
        from image_syncer.sync.tag_dates import TagDates  # noqa: PLC0415 - see above

        first_seen, image_dates = MemoryFirstSeen(), MemoryImageDates()
        return TagDates(self._stores, self._reader, first_seen, image_dates, width=self._far_width)

    @cached_property
    def _tags(self) -> "TagSelector":
        from image_syncer.sync.tag_selector import TagSelector  # noqa: PLC0415 - see above

        return TagSelector(self._stores, lambda: self._dates)

    @cached_property
    def _expander(self) -> "RuleExpander":
        from image_syncer.sync.rule_expander import RuleExpander  # noqa: PLC0415 - see above

        return RuleExpander(self._stores, self._tags, width=self._far_width, date=self._date, finder=self._finder)

    async def plan(self, rules: Sequence[Rule], *, force: bool = False, stop: Shutdown | None = None) -> Plan:
        """Return the plan for *rules* as of now. *force* copies unchanged images too.

        After a stop the plan contains the decisions so far.
        """
        selected = await self.select(rules, stop=stop)
        decided = await self.decide(selected.copies, force=force, stop=stop)
        return Plan(tuple(decided.values()), tuple(selected.failures), tuple(selected.warnings))

    async def select(
        self, rules: Sequence[Rule], *, stop: Shutdown | None = None, listed: "Listed | None" = None
    ) -> "Selected":
        """Return the copies that *rules* select, each (source, target) pair once, in the rules' order.

        *listed* receives the progress of listing repositories.
        """
        return await self._expander.select(rules, stop=stop, listed=listed)

    async def explain(self, rule: Rule, image: Reference, *, is_pushed: bool = False) -> "TagExplanation":
        """Return whether *rule* selects the tag of *image* now, and why; `CopyFailed` if that cannot be read.

        *is_pushed*: an event says that the tag exists, which the registry may not list yet.
        """
        return await self._tags.explain(rule.selection, image, is_pushed=is_pushed)

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
        asked = await self._with_forms(copies)
        for copy in copies:
            chosen = asked.get(copy, copy)
            groups.setdefault((chosen.source, chosen.platforms), []).append(chosen)
        asked_as = {chosen: copy for copy, chosen in asked.items()}
        made: dict[Copy, PlannedCopy] = {} if decided is None else decided

        async def decide_group(group: list[Copy]) -> None:
            try:
                found = await self._decider.decide(group, force=force, round_number=round_number)
            except Exception as error:  # noqa: BLE001 - a bug that one image triggers must not end the others
                failure = CopyFailed(Unexpected(error), side=None, step="resolve")
                found = {copy: PlannedCopy(copy, Action.FAIL, failure=failure) for copy in group}
            made.update({asked_as.get(copy, copy): planned for copy, planned in found.items()} if asked else found)

        width = self._far_width if self.are_far(copies) else self._width
        await for_each(groups.values(), decide_group, width=width, stop=stop)
        return {copy: made[copy] for copy in copies if copy in made}

    async def _with_forms(self, copies: Sequence[Copy]) -> dict[Copy, Copy]:
        """Return those of *copies* whose target chooses the form of an index, each with the chosen form."""
        content = [copy for copy in copies if copy.platforms.content is not None]
        if self._refusals is None or not content:
            return {}
        return {copy: await self._refusals.choose_form(copy) for copy in content}

    def confirm(self, planned: Sequence[PlannedCopy], *, written: bool) -> None:
        """Record for later runs that the targets of *planned* have the planned digest; *written*: this run wrote it."""
        self._decider.confirm(planned, written=written)

    def are_far(self, copies: Iterable[Copy]) -> bool:
        """Whether a registry of *copies* is far. Then most of the time is wait, and more at once is faster."""
        registries = {end.repository.registry for copy in copies for end in (copy.source, copy.target)}
        return any(map(self._stores.is_far, registries))
