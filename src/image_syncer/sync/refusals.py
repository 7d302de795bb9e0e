"""Negative cache for manifests that a target refuses permanently, such as Docker's types at a registry of OCI types.

A later run would send the same manifest to the same repository, with the same result. So within this process it fails
at once, without a request, until something changes: the image, the configuration (which makes a new `Syncer`), or the
registry, which is tried again after 15 minutes. `force` tries at once.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from image_syncer.errors import CopyFailed, Refused, TooLarge
from image_syncer.oci import Digest, Repository

REFUSED_SECONDS: Final = 900.0
_LIMIT: Final = 10_000

_STATUSES: Final = frozenset({413, 415})
_CODES: Final = frozenset({"MANIFEST_INVALID", "MANIFEST_UNVERIFIED"})


def is_manifest_refusal(failure: CopyFailed) -> bool:
    """Whether *failure* is about the manifest itself, so that it holds for every tag and does not heal by a retry."""
    cause = failure.cause
    if failure.step != "push manifest" or type(cause) not in {Refused, TooLarge}:
        return False
    return cause.status in _STATUSES or cause.code in _CODES


class ManifestRefusals:
    """The manifests that targets have refused; *clock* is in seconds. The oldest of 10 000 are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refused: OrderedDict[tuple[Repository, Digest], tuple[CopyFailed, float]] = OrderedDict()

    def record_first(self, repository: Repository, digest: Digest, failures: Iterable[CopyFailed]) -> None:
        """Record the first of *failures* that refuses the manifest itself, if there is one."""
        refusal = next((failure for failure in failures if is_manifest_refusal(failure)), None)
        if refusal is not None:
            self.record(repository, digest, refusal)

    def record(self, repository: Repository, digest: Digest, failure: CopyFailed) -> None:
        """Record that *repository* refused the image *digest* with *failure*."""
        self._refused[repository, digest] = failure, self._clock() + REFUSED_SECONDS
        self._refused.move_to_end((repository, digest))
        if len(self._refused) > _LIMIT:
            self._refused.popitem(last=False)

    def find(self, repository: Repository, digest: Digest) -> CopyFailed | None:
        """Return an error for the image *digest* at *repository*, None if it may be pushed."""
        failure, until = self._refused.get((repository, digest), (None, 0.0))
        if failure is None or self._clock() >= until:
            return None
        cause = failure.cause
        again = "not sent again for 15 minutes, unless with --force"
        error = Refused(f"{cause.message} ({again})", status=cause.status, code=cause.code, remedy=cause.remedy)
        return CopyFailed(error, side=failure.side, step=failure.step)
