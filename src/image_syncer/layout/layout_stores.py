"""All layouts of a run (`roles.Stores`, `roles.ReferrerStores`)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from image_syncer.cache import DigestCheckpoints
from image_syncer.errors import CatalogueClosed, Side, StoreError
from image_syncer.layout.archive_storage import ArchiveStorage
from image_syncer.layout.blob_directory import BlobDirectory
from image_syncer.layout.docker_archive import DockerArchive
from image_syncer.layout.layout import Layout
from image_syncer.layout.layout_repository import LayoutSource, LayoutTarget
from image_syncer.layout.layout_storage import Storage
from image_syncer.oci import Repository
from image_syncer.oci.layout_text import ARCHIVE, DIRECTORY, path_of, scheme_of


class NoCatalogue:
    """The list of repositories of a layout: none, since a rule names the layout that it reads."""

    async def repositories(self) -> AsyncIterator[Sequence[Repository]]:
        """Raise `CatalogueClosed`."""
        raise CatalogueClosed("a layout: its repositories are not listed", remedy="write one rule for each layout")
        yield ()  # This makes it a generator.


class LayoutStores:
    """Hands out the repositories of layouts; nothing is read before the first request to one."""

    def __init__(self) -> None:
        self._checkpoints = DigestCheckpoints()
        self._layouts: dict[str, Layout] = {}
        self._catalogue = NoCatalogue()
        self._sources: dict[Repository, LayoutSource] = {}
        self._targets: dict[Repository, LayoutTarget] = {}

    def source(self, repository: Repository) -> LayoutSource:
        """Return *repository* as a source; the same object each time."""
        if repository not in self._sources:
            self._sources[repository] = LayoutSource(repository, self._layout(repository.registry))
        return self._sources[repository]

    def target(self, repository: Repository) -> LayoutTarget:
        """Return *repository* as a target; the same object each time."""
        if repository not in self._targets:
            self._targets[repository] = LayoutTarget(repository, self._layout(repository.registry))
        return self._targets[repository]

    def referrer_source(self, repository: Repository) -> LayoutSource:
        """Return *repository* as a source of referrers; the same object as its source."""
        return self.source(repository)

    def referrer_target(self, repository: Repository) -> LayoutTarget:
        """Return *repository* as a target of referrers; the same object as its target."""
        return self.target(repository)

    async def prepare(self, repository: Repository, side: Side, connections: int = 1) -> None:
        """Do nothing: a layout needs no connection."""

    async def catalogue(self, repository: Repository) -> NoCatalogue:
        """Return the list of repositories at the layout of *repository*, which is closed."""
        del repository
        return self._catalogue

    def is_far(self, registry: str) -> bool:
        """Return False: a disk answers at once."""
        del registry
        return False

    async def finish(self, at_once: asyncio.Event) -> Mapping[str, StoreError]:
        """Complete all layouts that were written to, until *at_once* is set; return the failures by location."""
        failures: dict[str, StoreError] = {}
        for location, layout in self._layouts.items():
            try:
                await layout.finish(at_once)
            except StoreError as error:
                failures[location] = error
        return failures

    async def close(self) -> None:
        """Close all files."""
        for layout in self._layouts.values():
            await layout.close()

    def _layout(self, location: str) -> Layout:
        if location not in self._layouts:
            self._layouts[location] = Layout(_storage(location), self._checkpoints)
        return self._layouts[location]


def _storage(location: str) -> Storage:
    scheme, path = scheme_of(location), path_of(location)
    if scheme == DIRECTORY:
        return BlobDirectory(path, location)
    return ArchiveStorage(path, location) if scheme == ARCHIVE else DockerArchive(path, location)
