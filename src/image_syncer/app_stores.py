"""The stores of a run: registries, and the layouts on disk that references name by `oci:` and the like."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from image_syncer.errors import Side, StoreError
from image_syncer.oci import Reference, Repository
from image_syncer.oci.layout_text import is_layout
from image_syncer.registry.registries import Registries
from image_syncer.registry.repository import RegistrySource, RegistryTarget
from image_syncer.roles import EVERY_WAY, Ways
from image_syncer.sync.result import CopyResult, Outcome

if TYPE_CHECKING:
    from image_syncer.layout.layout_repository import LayoutSource, LayoutTarget
    from image_syncer.layout.layout_stores import LayoutStores, NoCatalogue
    from image_syncer.registry.catalogue import RegistryCatalogue


class RunStores:
    """Hands out the repositories of *registries* and of layouts (`roles.Stores`, `roles.ReferrerStores`)."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._layouts: LayoutStores | None = None

    def source(self, repository: Repository) -> "RegistrySource | LayoutSource":
        """Return *repository* as a source; the same object each time."""
        return self._layout_stores().source(repository) if repository.is_layout else self._registries.source(repository)

    def target(self, repository: Repository) -> "RegistryTarget | LayoutTarget":
        """Return *repository* as a target; the same object each time."""
        return self._layout_stores().target(repository) if repository.is_layout else self._registries.target(repository)

    def referrer_source(self, repository: Repository) -> "RegistrySource | LayoutSource":
        """Return *repository* as a source of referrers; the same object as its source."""
        return self.source(repository)

    def referrer_target(self, repository: Repository) -> "RegistryTarget | LayoutTarget":
        """Return *repository* as a target of referrers; the same object as its target."""
        return self.target(repository)

    async def prepare(self, repository: Repository, side: Side, connections: int = 1) -> None:
        """Prepare requests to *repository* that follow; a layout needs none."""
        if not repository.is_layout:
            await self._registries.prepare(repository, side, connections)

    async def catalogue(self, repository: Repository) -> "RegistryCatalogue | NoCatalogue":
        """Return the list of repositories at the registry of *repository*; that of a layout is closed."""
        stores = self._layout_stores() if repository.is_layout else self._registries
        return await stores.catalogue(repository)

    def ways(self, source: Repository, target: Repository) -> Ways:
        """Return the ways in which images of *source* can reach *target*; no vendor offers one to or from a layout."""
        return EVERY_WAY if source.is_layout or target.is_layout else self._registries.ways(source, target)

    def is_far(self, registry: str) -> bool:
        """Whether round trips to *registry* are long; never for a layout."""
        return self._registries.is_far(registry)

    def forget_listed(self, image: Reference) -> None:
        """Ask by a HEAD for the digest of *image*, whatever an earlier list of tags said."""
        if not image.repository.is_layout:
            self._registries.source(image.repository).forget_listed(image.identifier)

    def need_listing(self, repository: Repository, since: float) -> None:
        """Use no list of tags of *repository* that was read before *since* (`time.monotonic`)."""
        if not repository.is_layout:  # A layout reads its index again whenever that has changed.
            self._registries.source(repository).need_listing(since)

    async def announce_creations(self, results: Iterable[CopyResult]) -> tuple[str, ...]:
        """Return what the copies of *results*, those of a dry run, may have to create at registries, in words."""
        copied = (result.target for result in results if result.outcome is Outcome.COPIED)
        repositories = dict.fromkeys(Reference.parse(target).repository for target in copied if not is_layout(target))
        texts = [await self._registries.target(repository).would_create() for repository in repositories]
        return tuple(dict.fromkeys(text for text in texts if text is not None))

    async def finish(self, at_once: asyncio.Event) -> Mapping[str, StoreError]:
        """Complete the archives that were written to, until *at_once* is set; return the failures by location."""
        return {} if self._layouts is None else await self._layouts.finish(at_once)

    async def close(self) -> None:
        """Close the files of all layouts."""
        if self._layouts is not None:
            await self._layouts.close()

    def _layout_stores(self) -> "LayoutStores":
        if self._layouts is None:
            from image_syncer.layout.layout_stores import LayoutStores  # noqa: PLC0415 - most runs have no layout

            self._layouts = LayoutStores()
        return self._layouts
