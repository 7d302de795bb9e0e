"""The ways in which an image reaches its target, and those that the vendor of the target offers."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

from image_syncer.oci import Descriptor, Digest
from image_syncer.structs import Struct


class Way(StrEnum):
    """How the blobs of an image reach the target.

    The target registry mounts them from another of its repositories, imports them itself, fetches them as a cache that
    is read, or they stream through this process.
    """

    MOUNT = "mount"
    IMPORT = "import"
    HYDRATE = "hydrate"
    STREAM = "stream"


ALL_WAYS: Final = frozenset(Way)


class ImageContent(Struct):
    """What an image consists of: its *root*, the *manifests* below it, and all *blobs*, each once."""

    root: Descriptor
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def size_bytes(self) -> int:
        """The size of all blobs; 0 for those of unknown size."""
        return sum(blob.size or 0 for blob in self.blobs)


class VendorWay(Protocol):
    """A way by which the target's vendor brings a whole image to a repository, without a tag."""

    @property
    def way(self) -> Way:
        """Which way it is."""
        ...

    @property
    def requests(self) -> int:
        """About how many requests a copy takes, without the look-ups that verify it."""
        ...

    @property
    def wait_seconds(self) -> float | None:
        """The longest wait for a copy; None: as its size suggests."""
        ...

    def offers(self, digest: Digest, manifests: int) -> bool:
        """Whether it can copy the image *digest* of so many *manifests*, by what is known without a request."""
        ...

    async def copy(self, content: ImageContent) -> None:
        """Make the target hold *content*, and set no tag. `StoreError` if that is refused.

        It may be cancelled at any time. The caller verifies what the target holds.
        """
        ...


class Ways(Struct):
    """The ways between two repositories: those that the target's settings *allow*, and those of its *vendor*."""

    allowed: frozenset[Way] = ALL_WAYS
    vendor: Sequence[VendorWay] = ()


EVERY_WAY: Final = Ways()
"""No way is forbidden, and the vendor offers none."""
