"""Attests copies: attaches a signed statement about each to the image at the target (`attest:` of a rule)."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager

from image_syncer.errors import StoreError
from image_syncer.oci import Descriptor
from image_syncer.oci.referrer import referrer_entry
from image_syncer.roles import Chunk, ConfirmedCopy, MadeReferrer, Opener, ReferrerTarget
from image_syncer.sync.copy_failures import at_target
from image_syncer.sync.copy_state import TargetProgress
from image_syncer.sync.plan import PlannedCopy
from image_syncer.sync.referrer_discovery import blobs_of
from image_syncer.sync.rule_trust import ReferrerAccess

_STEP = "push attestation"


async def attest_copies(
    access: ReferrerAccess, copies: Iterable[PlannedCopy], goal: TargetProgress, root: Descriptor
) -> None:
    """Attach a statement to the image *root* at the target for each of *copies* that has none; `CopyFailed`."""
    referrers = access.stores.referrer_target(goal.repository)
    existing: list[Descriptor] | None = None
    for planned in copies:
        attester = access.trust_of(planned.copy.rule).attester
        if attester is None:
            continue
        confirmed = _confirmed(planned, root)
        try:
            if existing is None:
                existing = list(await referrers.referrers(root.digest))
            if any(attester.is_ours(entry, confirmed) for entry in existing):
                continue
            made = attester.attest(confirmed, root)
            await _push(made, goal, referrers, root)
            existing.append(referrer_entry(made.manifest))
        except StoreError as error:
            raise at_target(error, _STEP) from error


async def _push(made: MadeReferrer, goal: TargetProgress, referrers: ReferrerTarget, root: Descriptor) -> None:
    blobs = {blob.digest: blob for blob in blobs_of(made.manifest)}
    for digest, content in made.blobs.items():
        if not await goal.target.has_blob(blobs[digest]):
            await goal.target.push_blob(blobs[digest], _opener(content))
            goal.count(copied=len(content))
    if not await referrers.push_referrer(made.manifest, goal.fence):
        await referrers.list_referrers(root.digest, [referrer_entry(made.manifest)], goal.fence)


def _confirmed(planned: PlannedCopy, root: Descriptor) -> ConfirmedCopy:
    copy = planned.copy
    if planned.source_digest is None:
        raise ValueError(f"{copy.target}: a copy without a digest cannot be attested")
    return ConfirmedCopy(
        copy.rule, copy.source, planned.source_digest, copy.platforms, copy.target, root.digest, written=True
    )


def _opener(content: bytes) -> Opener:
    @asynccontextmanager
    async def opened(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        async def chunks() -> AsyncGenerator[Chunk]:
            yield content[start:]

        yield chunks()

    return opened
