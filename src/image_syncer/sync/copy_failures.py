"""The failures of one copy: what they say, and what they mean."""

from image_syncer.errors import (
    CopyFailed,
    Interrupted,
    LeaseLost,
    NotFound,
    ProtocolError,
    Refused,
    SparseIndexRefused,
    StoreError,
    Unavailable,
    Unexpected,
)
from image_syncer.oci import Manifest, RawManifest
from image_syncer.sync.copy_state import SourceImage
from image_syncer.sync.plan import PlannedCopy


def explained(failure: CopyFailed, raw: RawManifest, image: SourceImage) -> CopyFailed:
    """Return *failure* with the reason that the target demands layers which were not copied, where that is likely."""
    if image.with_external or not isinstance(failure.cause, Refused):
        return failure
    parsed = raw.parse()
    if not isinstance(parsed, Manifest) or not parsed.external_layers:
        return failure
    remedy = "set nondistributable_layers: true for the rule, if the license of the layers allows it"
    error = Refused(
        f"the target refuses a manifest without its non-distributable layers ({len(parsed.external_layers)}), "
        f"which have urls and were not copied: {failure.cause.message}",
        status=failure.cause.status,
        code=failure.cause.code,
        remedy=remedy if failure.cause.remedy is None else f"{failure.cause.remedy}, or {remedy}",
    )
    return at_target(error, failure.step)


def refused_sparse(failure: CopyFailed, *, can_trim: bool) -> CopyFailed:
    """Return *failure*, by which the target refuses an index without all its entries; *can_trim*: the next try trims.

    A retry of a rule that wants a sparse index in any case cannot help.
    """
    cause = failure.cause
    kind = SparseIndexRefused if can_trim else Refused
    error = kind(
        f"the target takes no index of which entries are missing: {cause.message}",
        status=cause.status,
        code=cause.code,
        remedy="the next attempt trims it; allow one with --retries"
        if can_trim
        else "index: trimmed removes the other entries, index: auto if a target demands it",
    )
    return at_target(error, failure.step)


def looks_like_manifest(media_type: str) -> bool:
    """Whether *media_type*, which may be unknown, reads like that of a manifest or an index."""
    return "manifest" in media_type or "index" in media_type


def is_other_kind(failure: CopyFailed) -> bool:
    """Whether the source answers as if the content were of the other kind: not found, or an internal error."""
    return failure.side == "source" and isinstance(failure.cause, NotFound | Unavailable | ProtocolError)


def too_slow(planned: PlannedCopy, seconds: float | None) -> CopyFailed:
    """Return the failure of a copy that took longer than *seconds*."""
    error = Unavailable(
        f"{planned.copy.source}: not copied within the {seconds or 0:g} s that one image may take",
        remedy="give it more time with --image-timeout, or timeouts.image of the file",
    )
    return CopyFailed(error, side=None, step="copy")


def at_source(error: StoreError, step: str) -> CopyFailed:
    """Return *error* as the failure of *step* at the source."""
    failure = CopyFailed(error, side="source", step=step)
    failure.__cause__ = error
    return failure


def is_temporary(error: StoreError) -> bool:
    """Whether *error* says nothing about the content itself, so that the copy must be tried again."""
    return error.retryable or isinstance(error, Interrupted | LeaseLost | Unexpected)


def at_target(error: StoreError, step: str) -> CopyFailed:
    """Return *error* as the failure of *step* at the target."""
    failure = CopyFailed(error, side="target", step=step)
    failure.__cause__ = error
    return failure
