"""Selects the images of one repository: lists its tags and reads their dates where the selection needs them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import CopyFailed, Refused, StoreError
from image_syncer.oci import Reference, Repository
from image_syncer.roles import Stores
from image_syncer.sync.rule import ByDigest, Selection, TagNames, select_tags
from image_syncer.sync.tag_selection import TagSelection, span

if TYPE_CHECKING:
    from image_syncer.sync.tag_dates import TagDates
    from image_syncer.sync.tag_evaluation import TagEvaluation, TagExplanation


class TagSelector:
    """Selects by the listings of *stores* and by the finder of dates that *dates* returns.

    A repository is listed once, until `forget`.
    """

    def __init__(self, stores: Stores, dates: "Callable[[], TagDates]") -> None:
        self._stores = stores
        self._dates = dates
        self._waiting: dict[tuple[Repository, TagSelection], int] = {}
        self._listings: SingleFlight[Repository, Sequence[str]] = SingleFlight(keep=True, share_failures=True)

    async def select(self, selection: Selection, repository: Repository) -> list[Reference]:
        """Return the selected images of *repository*; `CopyFailed` if its tags or dates cannot be read.

        So it is if fewer tags are left than the selection's `min_tags`.
        """
        if isinstance(selection, ByDigest):
            return [repository.at(selection.digest)]
        if isinstance(selection, TagNames):
            return [repository.tag(tag) for tag in selection.names]
        listed = await self._listed(repository)
        if isinstance(selection, TagSelection) and selection.needs_listing:
            tags = (await self._evaluate(selection, repository, listed)).selected
        else:
            tags = select_tags(selection, listed)
            await self._stores.source(repository).list_digests(len(tags))
        return [repository.tag(tag) for tag in tags]

    def why_empty(self, selection: Selection, repository: Repository) -> str:
        """Return why *selection* has selected nothing from *repository*, as the end of a warning."""
        if isinstance(selection, TagSelection) and selection.min_age_seconds is not None:
            waiting = self._waiting.get((repository, selection), 0)
            if waiting:
                age = span(selection.min_age_seconds)
                return f"selects no tag yet: {waiting} match, and are not public for {age} (min_age)"
        return "matches no tag"

    async def explain(self, selection: Selection, image: Reference, *, is_pushed: bool = False) -> "TagExplanation":
        """Return whether *selection* selects the tag of *image* now, and why; `CopyFailed` as for `select`.

        *is_pushed*: an event says that the tag exists, which the registry may not list yet.
        """
        if not isinstance(selection, TagSelection):
            from image_syncer.sync.tag_evaluation import explain_alone  # noqa: PLC0415 - most runs need it not

            return explain_alone(selection, image)
        tag = image.tag or ""
        listed = await self._listed(image.repository)
        if is_pushed and tag not in listed:
            listed = sorted([*listed, tag])
        return (await self._evaluate(selection, image.repository, listed)).explain(tag)

    async def _evaluate(
        self, selection: TagSelection, repository: Repository, listed: Sequence[str]
    ) -> "TagEvaluation":
        from image_syncer.sync.tag_evaluation import TagEvaluation  # noqa: PLC0415 - most runs need it not

        evaluation = TagEvaluation(selection, listed, self._dates().now())
        await self._stores.source(repository).list_digests(len(evaluation.remaining))
        if selection.min_age_seconds is not None:
            evaluation.check_min_age(await self._dates().published(repository, evaluation.remaining))
        created = await self._dates().created(repository, evaluation.remaining) if selection.needs_created else {}
        evaluation.check_newer_than(created)
        shortfall = evaluation.shortfall
        if shortfall is not None:
            error = Refused(
                f"{repository}: {shortfall}",
                remedy="nothing was changed; check what the registry lists, or lower min_tags",
            )
            raise CopyFailed(error, side="source", step="list tags")
        evaluation.take_latest(created)
        if evaluation.waiting and not evaluation.selected:
            self._waiting[repository, selection] = evaluation.waiting
        return evaluation

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
