"""The digests of sources, for rules that name their targets by them."""

from collections.abc import Sequence

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Digest, Reference
from image_syncer.roles import Stores
from image_syncer.structs import Struct, field


class Resolved(Struct, frozen=False):
    """The *digests* of sources in the order of their request, and the *failures* of the others."""

    digests: dict[Reference, Digest] = field(default_factory=dict[Reference, Digest])
    failures: dict[Reference, CopyFailed] = field(default_factory=dict[Reference, CopyFailed])


class SourceDigests:
    """Resolves sources in *stores*, *width* at once, each once."""

    def __init__(self, stores: Stores, *, width: int) -> None:
        self._stores = stores
        self._width = width
        self._found: SingleFlight[Reference, Digest] = SingleFlight(keep=True, share_failures=True)

    async def resolve(self, sources: Sequence[Reference]) -> Resolved:
        """Return the digests of *sources*."""
        found: dict[Reference, Digest | CopyFailed] = {}

        async def find(source: Reference) -> None:
            try:
                found[source] = source.digest or await self._found.do(source, lambda: self._ask(source))
            except StoreError as error:
                found[source] = CopyFailed(error, side="source", step="resolve")

        await for_each(sources, find, width=self._width)
        resolved = Resolved()
        for source in sources:
            result = found[source]
            if isinstance(result, CopyFailed):
                resolved.failures[source] = result
            else:
                resolved.digests[source] = result
        return resolved

    async def _ask(self, source: Reference) -> Digest:
        return (await self._stores.source(source.repository).resolve(source.identifier)).digest
