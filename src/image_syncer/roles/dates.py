"""The roles that remember dates: since when tags are public, and when images were created."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from image_syncer.oci import Digest, Repository
from image_syncer.structs import Struct


class Sighting(Struct):
    """*tag* named *digest* at *seen_at*."""

    tag: str
    digest: Digest
    seen_at: datetime


class FirstSeen(Protocol):
    """When this tool first saw each tag of a source with each digest: not a hint, since a rule may wait for it.

    Methods raise `Unavailable` if the times cannot be read or written.
    """

    @property
    def is_durable(self) -> bool:
        """Whether later runs will know the times."""
        ...

    async def times(self, repository: Repository, tags: Collection[str]) -> Mapping[str, Mapping[Digest, datetime]]:
        """Return the first time of each digest of each one of *tags* that was seen."""
        ...

    async def record(self, repository: Repository, sightings: Iterable[Sighting]) -> None:
        """Record *sightings*; the first one of a tag with a digest stays."""
        ...


class ImageDates(Protocol):
    """When images were created, as their configs say. Entries are hints, and no method raises."""

    async def created(self, digests: Collection[Digest]) -> Mapping[Digest, datetime | None]:
        """Return the date of each known one of *digests*; None: its config has no credible date."""
        ...

    def record(self, digest: Digest, created: datetime | None) -> None:
        """Record when the image or index *digest* was created."""
        ...
