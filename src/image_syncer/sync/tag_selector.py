"""Selects the images of one repository: lists its tags where the selection needs them."""

from collections.abc import Sequence

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Reference, Repository
from image_syncer.roles import Stores
from image_syncer.sync.rule import ByDigest, Selection, TagNames, select_tags


class TagSelector:
    """Selects by the listings of *stores*. A repository is listed once, until `forget`."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._listings: SingleFlight[Repository, Sequence[str]] = SingleFlight(keep=True, share_failures=True)

    async def select(self, selection: Selection, repository: Repository) -> list[Reference]:
        """Return the selected images of *repository*; `CopyFailed` at step "list tags"."""
        if isinstance(selection, ByDigest):
            return [repository.at(selection.digest)]
        if isinstance(selection, TagNames):
            return [repository.tag(tag) for tag in selection.names]
        return [repository.tag(tag) for tag in select_tags(selection, await self._listed(repository))]

    async def select_listed(self, selection: Selection, repository: Repository) -> list[Reference]:
        """Return those of the selected images of *repository* that it lists; `CopyFailed` at step "list tags"."""
        listed = frozenset(await self._listed(repository))
        return [found for found in await self.select(selection, repository) if found.tag in listed]

    def forget(self, repository: Repository) -> None:
        """Release the list of tags of *repository*: no other rule needs it."""
        self._listings.forget(repository)

    async def _listed(self, repository: Repository) -> Sequence[str]:
        async def listing() -> list[str]:
            # Some registries (distribution 2.8) list in no order, and rules rename tags by position.
            return sorted([tag async for tag in self._stores.source(repository).tags()])

        try:
            return await self._listings.do(repository, listing)
        except StoreError as error:
            raise CopyFailed(error, side="source", step="list tags") from error
