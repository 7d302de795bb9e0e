"""Expands rules whose source is a pattern: finds the repositories in the catalogue of the registry."""

from collections.abc import Callable, Sequence

from image_syncer.concurrency.taskpool import Shutdown, for_each
from image_syncer.errors import CatalogueClosed, CopyFailed, StoreError, TooLarge
from image_syncer.oci import Repository
from image_syncer.roles import Catalogue, Stores
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.image_lists import ImageList
from image_syncer.sync.pattern import SourcePattern
from image_syncer.sync.rule import Rule

NEEDS_EVENT = (
    "has a pattern as its source: there is nothing to do without an event, which image-syncer serve receives; "
    "list: true makes it list the repositories"
)
STEP = "list repositories"

Listed = Callable[[str, int], None]
"""Receives a registry and the number of its repositories that were listed so far."""


class Expanded(Struct, frozen=False):
    """The sources that *rule* became, each with its rule, or why there are none.

    *failure* is the reason why the repositories are not known; *is_stopped*: a stop came first.
    """

    rule: Rule
    sources: Sequence[tuple[Rule, Repository | ImageList]] = ()  # Tuples: most rules have one source, and no warning.
    failure: CopyFailed | None = None
    warnings: tuple[str, ...] = ()
    is_stopped: bool = False

    def warn(self, text: str) -> None:
        """Add a warning about the rule."""
        self.warnings = (*self.warnings, f"{self.rule.origin or self.rule.name}: {self.rule.name} {text}")


class _Listing(Struct, frozen=False):
    """The repositories at *registry* found so far for *expanded*, which is listed."""

    expanded: Expanded
    registry: str
    found: dict[Repository, None] = field(default_factory=dict[Repository, None])

    def add(self, page: Sequence[Repository]) -> None:
        rule = self.expanded.rule
        if self.expanded.failure is not None:
            return
        self.found |= dict.fromkeys(repository for repository in page if rule.has_source(repository))
        if len(self.found) > rule.max_repositories:
            error = TooLarge(
                f"{rule.source}: more than {rule.max_repositories} repositories match",
                remedy="narrow the pattern, exclude some, or raise max_repositories",
            )
            self.fail(error)

    def fail(self, error: StoreError) -> None:
        """End the listing. A rule that events trigger still copies what they announce, if the list is closed."""
        self.found.clear()
        if isinstance(error, CatalogueClosed) and self.expanded.rule.triggers.events:
            self.expanded.warn(f"copies on events only: {error}")
        else:
            self.expanded.failure = CopyFailed(error, side="source", step=STEP)

    def finish(self) -> None:
        """Make the rules of the found repositories, in the order of their names."""
        self.expanded.is_stopped = False
        rule = self.expanded.rule
        if self.expanded.failure is not None or self.expanded.warnings:
            return
        if not self.found:
            self.expanded.warn("matches no repository")
        self.expanded.sources = [
            (replace(rule, source=found, found_by=rule.source), found) for found in sorted(self.found)
        ]


class RepositoryExpander:
    """Expands rules by the catalogues of *stores*, *width* registries at once."""

    def __init__(self, stores: Stores, *, width: int) -> None:
        self._stores = stores
        self._width = width

    async def expand(
        self, rules: Sequence[Rule], *, stop: Shutdown | None = None, listed: Listed | None = None
    ) -> list[Expanded]:
        """Return what each of *rules* becomes, in their order. A catalogue is read once for all rules of a login."""
        expanded = [Expanded(rule) for rule in rules]
        groups: dict[Catalogue, list[_Listing]] = {}
        for each in expanded:
            source = each.rule.source
            if not isinstance(source, SourcePattern):
                each.sources = ((each.rule, source),)
            elif not each.rule.lists:
                each.warn(NEEDS_EVENT)
            else:
                await self._join(_Listing(each, source.registry), source, groups)

        async def read(group: tuple[Catalogue, list[_Listing]]) -> None:
            await _read(*group, listed or _ignore)

        await for_each(groups.items(), read, width=self._width, stop=stop)
        return expanded

    async def _join(self, listing: _Listing, source: SourcePattern, groups: dict[Catalogue, list[_Listing]]) -> None:
        """Add *listing* to the group of its catalogue; nothing is requested yet, but a login may have to be found."""
        try:
            catalogue = await self._stores.catalogue(source.sample)
        except StoreError as error:
            listing.fail(error)
            return
        listing.expanded.is_stopped = True  # Until the catalogue was read.
        groups.setdefault(catalogue, []).append(listing)


async def _read(catalogue: Catalogue, listings: Sequence[_Listing], listed: Listed) -> None:
    registry = listings[0].registry
    count = 0
    try:
        async for page in catalogue.repositories():
            count += len(page)
            listed(registry, count)
            for listing in listings:
                listing.add(page)
            if all(listing.expanded.failure is not None for listing in listings):
                break
    except StoreError as error:
        for listing in listings:
            if listing.expanded.failure is None:
                listing.fail(error)
    for listing in listings:
        listing.finish()


def _ignore(_registry: str, _count: int) -> None:
    pass
