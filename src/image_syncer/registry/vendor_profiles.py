"""How each registry takes blob content: by its host name, by its response headers, or as learnt from its responses.

A registry that neither table knows is treated as the specification says; `LearntProfile` records deviations.
"""

from fnmatch import fnmatchcase
from typing import Final, Self

from image_syncer.registry.blobs.chunk_size import ChunkSize
from image_syncer.registry.http.messages import Headers
from image_syncer.registry.settings import Limits
from image_syncer.structs import Struct

MIB: Final = 1024 * 1024


class UploadProfile(Struct):
    """How an upload session takes content.

    *patches*: all content goes in PATCHes and the closing PUT is empty; otherwise the PUT has the last part or all.
    *chunks*: content may be split over several requests and resumed after a break; otherwise it goes in one request.
    Every chunk but the last has at least *least_bytes*, and every chunk at most *most_bytes* (None: no known bound).
    """

    patches: bool = False
    chunks: bool = True
    least_bytes: int = 0
    most_bytes: int | None = None


# Artifactory ignores content of the closing PUT (RTFACT-19344); one PATCH is the only way known to work.
_ARTIFACTORY: Final = UploadProfile(patches=True, chunks=False)

_TABLE: Final[tuple[tuple[tuple[str, ...], UploadProfile], ...]] = (
    (("*.jfrog.io",), _ARTIFACTORY),
    # Google's two registries take the content in one request of either kind.
    (("gcr.io", "*.gcr.io", "*.pkg.dev"), UploadProfile(chunks=False)),
    # ECR requires parts of at least 5 MiB (LayerPartTooSmall). A PATCH with the whole blob commits it, and ECR then
    # refuses the PUT; Docker sends an empty PUT.
    (
        ("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", "public.ecr.aws"),
        UploadProfile(patches=True, least_bytes=5 * MIB),
    ),
)

# Headers that a product sends with every response, with the prefix of their values. Artifactory mostly runs under a
# custom host name; it identifies itself by the first three, and versions 5 and 6 by the last.
_SIGNS: Final[tuple[tuple[str, str, UploadProfile], ...]] = (
    ("X-JFrog-Version", "artifactory/", _ARTIFACTORY),
    ("X-Artifactory-Id", "", _ARTIFACTORY),
    ("X-Artifactory-Node-Id", "", _ARTIFACTORY),
    ("Server", "artifactory/", _ARTIFACTORY),
)


def upload_profile_of(registry: str) -> UploadProfile:
    """Return the upload profile of *registry* (`host` or `host:port`)."""
    host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdecimal() else registry
    for patterns, profile in _TABLE:
        if any(fnmatchcase(host.lower(), pattern) for pattern in patterns):
            return profile
    return UploadProfile()


def upload_profile_from_headers(headers: Headers) -> UploadProfile | None:
    """Return the upload profile of the product that *headers* name; None for an unknown product.

    Headers are untrusted: they only select one of the profiles above.
    """
    for name, prefix, profile in _SIGNS:
        value = headers.get(name)
        if value is not None and value.strip().lower().startswith(prefix):
            return profile
    return None


class LearntProfile(Struct, frozen=False):
    """What is known of one registry; updated as its responses tell more.

    *uploads* is how it takes content, *chunk* the chunk size. *closing_put_carries*: a blob was stored whose content
    came with the closing PUT, so this registry does not ignore it. *many_tags*: one manifest PUT can set several tags;
    *answers_head*: a HEAD of a manifest tells what a GET does; *referrers_api*: it lists referrers; *single_post*: a
    POST with the digest and the content stores a blob, False also while an upload tries that. None: unknown yet.
    """

    uploads: UploadProfile
    chunk: ChunkSize
    closing_put_carries: bool = False
    many_tags: bool | None = None
    answers_head: bool | None = None
    referrers_api: bool | None = None
    single_post: bool | None = None

    @classmethod
    def of(cls, registry: str, limits: Limits) -> Self:
        """Return the profile of *registry* before the first request, with chunks as *limits* say."""
        own = limits.host_limits.get(registry)
        if own is not None and own.chunk_bytes is not None:
            return cls(upload_profile_of(registry), ChunkSize.fixed(own.chunk_bytes))
        return cls(upload_profile_of(registry), ChunkSize.of(limits.chunk_bytes))

    def learn_from_headers(self, headers: Headers) -> None:
        """Recognise the product by *headers*, unless the host name or its behaviour has told more."""
        if self.uploads == UploadProfile() and not self.closing_put_carries:
            self.uploads = upload_profile_from_headers(headers) or self.uploads
