"""The step of a copy between the manifests and the tags: what is attached to the image goes to the target first.

The search at the source and the rule's gate run beside the transfer of the blobs, so they cost no time of their own.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from image_syncer.concurrency.taskpool import background
from image_syncer.errors import CopyFailed, MissingContent, StoreError, UnsupportedDigest
from image_syncer.oci import RawManifest
from image_syncer.sync.attached_image import AttachedImage
from image_syncer.sync.copy_failures import at_source
from image_syncer.sync.copy_state import CopyOptions, SourceImage, TargetProgress
from image_syncer.sync.plan import PlannedCopy
from image_syncer.sync.referrer_copier import ReferrerCopier
from image_syncer.sync.referrer_report import SUBJECT_CHANGED


class AttachmentStep:
    """The step for *copies* of *image*, whose root at the target is *root*; a failure ends in `goal.failure`."""

    def __init__(
        self,
        copier: ReferrerCopier,
        copies: Sequence[PlannedCopy],
        image: SourceImage,
        root: RawManifest,
        goal: TargetProgress,
        options: CopyOptions,
    ) -> None:
        self._copier = copier
        self._copies = copies
        self._image = image
        self._root = root
        self._goal = goal
        self._options = options
        self._found: asyncio.Future[AttachedImage | None] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def searching(self) -> AsyncGenerator[None]:
        """Search, and ask the gate, for as long as the context lasts."""
        async with background(self._search()):
            yield

    async def _search(self) -> None:
        try:
            attached = await self._copier.find(self._copies[0], self._image, self._root, self._options)
            if not self._is_same(attached):
                await self._copier.check(self._copies[0], attached)
        except CopyFailed as failure:
            self._fail(failure)
        except StoreError as error:  # A manifest that cannot be parsed.
            self._fail(at_source(error, "read manifest"))
        else:
            self._found.set_result(attached)

    def _fail(self, failure: CopyFailed) -> None:
        self._goal.failure = self._goal.failure or failure  # No further blob is needed.
        self._found.set_result(None)

    async def passed(self) -> None:
        """Wait until the rule's gate has decided; a refusal is in `goal.failure` then."""
        await self._found

    async def run(self, push_root: Callable[[], Awaitable[CopyFailed | None]] | None) -> CopyFailed | None:
        """Copy what is attached. *push_root* pushes the root by its digest; None if the target has it.

        Returns the failure if the target misses parts of the root; nothing is copied then.
        """
        attached = await self._found
        if attached is None or self._goal.failure is not None:
            return None
        if push_root is not None and self._copier.needs_root(attached, self._copies, self._goal):
            failure = await push_root()
            if failure is not None and isinstance(failure.cause, MissingContent):
                return failure
            if failure is not None and isinstance(failure.cause, UnsupportedDigest) and self._goal.may_rename:
                # The target names the image by another digest, so nothing can belong to it there.
                self._goal.referrers = self._copier.report_left(attached, SUBJECT_CHANGED)
                self._goal.listed = attached.found.listed
                return None
            if failure is not None:
                self._goal.failure = failure
                return None
        await self._carry(attached, look_first=False)
        return None

    async def compare(self) -> None:
        """Copy what an unchanged image lacks, unless the source lists the same as at the last check."""
        attached = await self._found
        if attached is None or self._goal.failure is not None:
            return
        if self._is_same(attached):
            self._goal.listed = attached.found.listed
        else:
            await self._carry(attached, look_first=True)

    def _is_same(self, attached: AttachedImage) -> bool:
        return self._copies[0].listed == attached.found.listed

    async def _carry(self, attached: AttachedImage, *, look_first: bool) -> None:
        goal, root = self._goal, self._root.descriptor
        try:
            goal.referrers = await self._copier.carry(
                attached, self._copies, goal, self._options, root, look_first=look_first
            )
        except CopyFailed as failure:
            goal.failure = failure
        else:
            goal.listed = attached.found.listed
