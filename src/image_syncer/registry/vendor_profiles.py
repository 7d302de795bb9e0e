"""How each registry takes blob content: by its host name, by its response headers, or as learnt from its responses.

A registry that neither table knows is treated as the specification says; `LearntProfile` records deviations.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Self

from image_syncer.registry.blobs.chunk_size import ChunkSize
from image_syncer.registry.http.messages import Headers

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UploadProfile:
    """How content goes into an upload session.

    *patches*: all of it goes in PATCHes, and the closing PUT is empty; otherwise that carries the last part, or all.
    *chunks*: it may go in several requests, and go on after a break; otherwise in one.
    *least_bytes* is what every chunk but the last must have, *most_bytes* what any may have (None: no bound is known).
    """

    patches: bool = False
    chunks: bool = True
    least_bytes: int = 0
    most_bytes: int | None = None


# Artifactory takes no content with the closing PUT (RTFACT-19344), and is only known to take it in one PATCH.
_ARTIFACTORY: Final = UploadProfile(patches=True, chunks=False)

_TABLE: Final[tuple[tuple[tuple[str, ...], UploadProfile], ...]] = (
    (("*.jfrog.io",), _ARTIFACTORY),
    # Google's two take one body, in whatever request.
    (("gcr.io", "*.gcr.io", "*.pkg.dev"), UploadProfile(chunks=False)),
    # Amazon's parts have 5 MiB at least (LayerPartTooSmall). It commits with a PATCH that is the whole blob, and then
    # refuses the PUT; what clients that it was made for send with the PUT is nothing.
    (
        ("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", "public.ecr.aws"),
        UploadProfile(patches=True, least_bytes=5 * MIB),
    ),
)

# Headers that a product gives every answer, with what their values begin with. Most people run Artifactory under a name
# of their own; it says who it is in the first three, and old ones (5, 6) in the last.
_SIGNS: Final[tuple[tuple[str, str, UploadProfile], ...]] = (
    ("X-JFrog-Version", "artifactory/", _ARTIFACTORY),
    ("X-Artifactory-Id", "", _ARTIFACTORY),
    ("X-Artifactory-Node-Id", "", _ARTIFACTORY),
    ("Server", "artifactory/", _ARTIFACTORY),
)


def upload_profile_of(registry: str) -> UploadProfile:
    """Return the habits of *registry* (`host` or `host:port`)."""
    host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdecimal() else registry
    for patterns, habits in _TABLE:
        if any(fnmatchcase(host.lower(), pattern) for pattern in patterns):
            return habits
    return UploadProfile()


def upload_profile_from_headers(headers: Headers) -> UploadProfile | None:
    """Return the habits of the product that *headers* name, None where they name none that is known.

    Anybody may say anything there: what it decides is which of the ways above content takes, and nothing else.
    """
    for name, beginning, habits in _SIGNS:
        value = headers.get(name)
        if value is not None and value.strip().lower().startswith(beginning):
            return habits
    return None


@dataclass(slots=True)
class LearntProfile:
    """How one registry wants to be spoken to.

    *habits* are how it takes content, *chunk* how much with one request. *closing_counts*: a blob was stored of which
    content came with the closing PUT, so that is not overlooked here. *many_tags*: one PUT of a manifest gives it
    several tags; None as long as nobody has tried.
    """

    uploads: UploadProfile
    chunk: ChunkSize
    closing_put_carries: bool = False
    many_tags: bool | None = None

    @classmethod
    def of(cls, registry: str, chunk_bytes: int) -> Self:
        """Return what is known of *registry* before the first word with it; chunks have *chunk_bytes* at first."""
        return cls(upload_profile_of(registry), ChunkSize.of(chunk_bytes))

    def learn_from_headers(self, headers: Headers) -> None:
        """Learn from the *headers* of an answer what product it is, unless its name or its behaviour has told more."""
        if self.uploads == UploadProfile() and not self.closing_put_carries:
            self.uploads = upload_profile_from_headers(headers) or self.uploads
