"""How a fake registry behaves, as long as it behaves."""

import ssl
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Literal, Self

from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.testing.accounts import Accounts

Auth = Literal["none", "basic", "bearer"]
ManyTags = Literal["confirms", "ignores", "refuses"]


@dataclass(frozen=True, slots=True)
class ProfileRefusal:
    """How a registry says no: a status, an error code and a message."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class QuotaProfile:
    """So many *pulls* in *window_seconds*, for each account and for all who give none; a pull is a manifest's GET.

    With *retry_after* a refusal says in seconds when the window turns.
    """

    pulls: int
    window_seconds: int
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """The habits of a registry; those of known products are in `image_syncer.testing.profiles`.

    As it stands here it does what distribution-spec 1.1 says, and is generous where that leaves a choice.
    """

    auth: Auth = "none"
    accounts: Accounts = field(default_factory=Accounts)
    _: KW_ONLY
    name: str = "oci"
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """A server's context: it speaks HTTPS."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """What every answer has beside the specification's headers."""

    # Logins.
    login: Auth = "bearer"
    """How it asks for a login where it wants one; *auth* is what it does, see `guarded`."""
    token_path: str = "/token"
    token_seconds: float = 300
    """The life of a token."""
    token_life_told: bool = True
    """Whether a token comes with `expires_in`."""
    basic_too: bool = False
    """With bearer: a user name and password are taken in place of a token; a token that is worth nothing is answered
    with a Basic challenge."""
    quota: QuotaProfile | None = None

    # Manifests.
    head: Literal["full", "no digest", "refused"] = "full"
    """HEAD of a manifest: as GET, without Docker-Content-Digest, or 405."""
    manifest_limit_bytes: int = MANIFEST_LIMIT_BYTES
    docker_types: bool = True
    """Whether it takes Docker's types of manifests; 415 MANIFEST_INVALID otherwise."""
    media_type_required: bool = False
    """Whether an OCI manifest must name its own `mediaType`."""
    referrers: bool = True
    """Without, it is a registry of 1.0."""
    many_tags: ManyTags = "confirms"
    """What it makes of several tags with one manifest (end-7b): sets them and says so, overlooks or refuses them."""
    missing_part: int = 404
    """The status of MANIFEST_BLOB_UNKNOWN."""
    sparse_index: bool = False
    """Whether it takes an index whose manifests are not all there."""
    projects: tuple[str, ...] = ("*",)
    """Patterns of the repositories that there are, or that a push makes."""
    missing_project: ProfileRefusal = ProfileRefusal(404, "NAME_UNKNOWN", "repository name not known to registry")
    unknown: ProfileRefusal | None = None
    """What is said of every manifest that is not there; None: MANIFEST_UNKNOWN, and NAME_UNKNOWN without its
    repository."""
    unknown_repository: ProfileRefusal = ProfileRefusal(404, "NAME_UNKNOWN", "repository name not known to registry")
    """What is said to those who want its tags."""
    immutable_tags: str = ""
    """A pattern of tags that are set once; empty: none."""
    immutable: ProfileRefusal = ProfileRefusal(409, "TAG_IMMUTABLE", "the tag is immutable")
    deletes: Literal["tags", "digests", "nothing"] = "tags"
    """Whether manifests are deleted by tag and by digest, by digest alone, or not at all."""
    undeletable: ProfileRefusal = ProfileRefusal(405, "UNSUPPORTED", "this cannot be deleted here")

    # Blobs.
    blobs_elsewhere: bool = False
    """GET of a blob leads to a signed URL at another server, which refuses whoever shows an Authorization."""
    signed_seconds: float = 300
    """The life of such a URL."""
    ranges: bool = True
    """Whether a part of a blob can be asked for; else all of it comes."""

    # Uploads.
    chunk_min_bytes: int = 0
    """What all chunks but the last must have."""
    chunk_min_told: bool = True
    """Whether that is announced (OCI-Chunk-Min-Length)."""
    chunk_max_bytes: int | None = None
    """What a PATCH with a Content-Range may have; 413 above."""
    patches: Literal["many", "one", "none"] = "many"
    """How many PATCHes an upload may have."""
    closing_content: bool = True
    """Whether content that comes with the closing PUT counts; else it is overlooked."""
    commits_early: bool = False
    """A PATCH that must be the last (below the minimum, or without a Content-Range) makes the blob, with 201."""
    order_checked: bool = True
    """Whether a Content-Range is compared with what has arrived; else any chunk is appended."""
    strict_state: bool = False
    """A Location that does not stand for all bytes that have arrived is worth nothing, not even to ask for the offset:
    a cut within a chunk, or an answer that was lost, loses the upload."""
    errors_end_uploads: bool = False
    """Whether a PATCH that fails takes the whole upload with it."""
    mismatch_ends_upload: bool = True
    """Whether a closing PUT with another digest than that of the content does."""
    location: Literal["relative", "absolute", "none"] = "relative"
    """How it says where an upload goes on; none: by Docker-Upload-UUID alone."""
    range_unit: str = ""
    """What stands before the range that GET of an upload tells."""
    mount: Literal["any", "named", "everywhere", "never"] = "any"
    """A blob is taken over from the repository that is named or, with any, from one of all if none is; from any
    whatever is named; or never."""
    mount_refusal: ProfileRefusal | None = None
    """What a mount that is not done is answered with; None: an upload begins."""

    # Listings.
    page_limit: int = 1000
    """The most entries of one page."""
    pages: Literal["always", "asked", "never"] = "always"
    """Whether listings come in pages; asked: only with `n`."""
    page_limit_refused: bool = False
    """Whether an `n` above the limit is an error; else it is lowered."""
    link: Literal["relative", "absolute", "absent"] = "relative"
    """How it says where the next page is."""
    link_query: Mapping[str, str] = field(default_factory=dict[str, str])
    """What else stands in that link."""
    cursor: Literal["last", "existing", "token"] = "last"
    """How a page begins: behind `last`, behind a `last` that exists (404 otherwise), or by a token of the link."""
    sorted_tags: bool = True
    """Whether tags come in lexical order; else in the order of their first push."""
    null_tags: bool = False
    """Whether a list without tags is null."""
    digests_among_tags: bool = False
    """Whether manifests without a tag are listed by their digests."""
    listed_digests: bool = False
    """Whether its tag lists say what tags name."""
    listing_type: str = "application/json"
    catalog: bool = True

    def guarded(self, accounts: Accounts) -> Self:
        """Return this profile wanting a login of one of *accounts*, in the way that the product asks for it."""
        return replace(self, auth=self.login, accounts=accounts)
