"""What single registries want: what is known of them (`habits`), and what was learnt from their answers."""

from dataclasses import dataclass
from typing import Self

from image_syncer.registry.blobs.chunk_size import ChunkSize
from image_syncer.registry.http.messages import Headers
from image_syncer.registry.vendor_profiles import UploadProfile, upload_profile_from_headers, upload_profile_of


@dataclass(slots=True)
class LearntProfile:
    """How one registry wants to be spoken to.

    *habits* are how it takes content, *chunk* how much with one request. *closing_counts*: a blob was stored of which
    content came with the closing PUT, so that is not overlooked here. *many_tags*: one PUT of a manifest gives it
    several tags; None as long as nobody has tried.
    """

    habits: UploadProfile
    chunk: ChunkSize
    closing_counts: bool = False
    many_tags: bool | None = None

    @classmethod
    def of(cls, registry: str, chunk_bytes: int) -> Self:
        """Return what is known of *registry* before the first word with it; chunks have *chunk_bytes* at first."""
        return cls(upload_profile_of(registry), ChunkSize.of(chunk_bytes))

    def learn_from_headers(self, headers: Headers) -> None:
        """Learn from the *headers* of an answer what product it is, unless its name or its behaviour has told more."""
        if self.habits == UploadProfile() and not self.closing_counts:
            self.habits = upload_profile_from_headers(headers) or self.habits
