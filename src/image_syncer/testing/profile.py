"""How a fake registry behaves without faults."""

import ssl
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Literal, Self

from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.testing.accounts import Accounts

Auth = Literal["none", "basic", "bearer"]
TagApi = Literal["", "aliyun", "aws", "azure", "docker_hub", "github", "huawei", "quay", "tencent", "volcengine", "zot"]
ManyTags = Literal["confirms", "ignores", "refuses"]


@dataclass(frozen=True, slots=True)
class ProfileRefusal:
    """How a registry refuses a request: a status, an error code and a message."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class QuotaProfile:
    """A limit of *pulls* in *window_seconds* per account, and for all anonymous callers; a pull is a manifest's GET.

    With *retry_after* a refusal gives the seconds until the window ends.
    """

    pulls: int
    window_seconds: int
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """The behaviour of a registry; `image_syncer.testing.profiles` has those of known products.

    The defaults follow distribution-spec 1.1, and choose the generous option where it allows several.
    """

    auth: Auth = "none"
    accounts: Accounts = field(default_factory=Accounts)
    _: KW_ONLY
    name: str = "oci"
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """A server context: the registry speaks HTTPS."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers of every response beside those of the specification."""

    # Logins.
    login: Auth = "bearer"
    """How it challenges if it requires a login; *auth* is the mode in effect, see `guarded`."""
    token_path: str = "/token"
    challenge_service: str = "fake-registry"
    """The service that a challenge names."""
    token_seconds: float = 300
    """The lifetime of a token."""
    token_life_told: bool = True
    """Whether a token response has `expires_in`."""
    basic_too: bool = False
    """With bearer: Basic credentials are accepted as well, and an invalid token gets a Basic challenge."""
    quota: QuotaProfile | None = None

    # Manifests.
    head: Literal["full", "no digest", "refused"] = "full"
    """HEAD of a manifest: like GET, without Docker-Content-Digest, or 405."""
    manifest_limit_bytes: int = MANIFEST_LIMIT_BYTES
    manifest_too_large: ProfileRefusal = ProfileRefusal(413, "SIZE_INVALID", "the manifest is too large")
    malformed_digest: ProfileRefusal = ProfileRefusal(400, "DIGEST_INVALID", "not a digest that this registry knows")
    """The error for GET, HEAD and PUT of a manifest whose reference has a colon and is no digest."""
    sha512_manifests: bool = True
    """Whether a manifest can be pushed under its sha512 digest; 400 DIGEST_INVALID otherwise."""
    layer_urls: tuple[str, ...] | None = None
    """Prefixes of the URLs that layers may name, 500 UNKNOWN for others; None: URLs are not checked."""
    docker_types: bool = True
    """Whether Docker's manifest types are accepted; 415 MANIFEST_INVALID otherwise."""
    media_type_required: bool = False
    """Whether an OCI manifest must name its own `mediaType`."""
    referrers: bool = True
    """Whether the referrers API exists; without it the registry is one of spec 1.0."""
    many_tags: ManyTags = "confirms"
    """How it treats several tags in one PUT (end-7b): sets and confirms them, ignores them, or refuses the PUT."""
    missing_part: int = 404
    """The status of MANIFEST_BLOB_UNKNOWN."""
    sparse_index: bool = False
    """Whether an index is accepted while some of its manifests are missing."""
    projects: tuple[str, ...] = ("*",)
    """Patterns of the repositories that exist or that a push may create."""
    missing_project: ProfileRefusal = ProfileRefusal(404, "NAME_UNKNOWN", "repository name not known to registry")
    unknown: ProfileRefusal | None = None
    """The error for every missing manifest; None: MANIFEST_UNKNOWN, or NAME_UNKNOWN if its repository is missing."""
    unknown_repository: ProfileRefusal = ProfileRefusal(404, "NAME_UNKNOWN", "repository name not known to registry")
    """The error for the tag list of a missing repository."""
    immutable_tags: str = ""
    """A pattern of immutable tags; empty: none."""
    immutable: ProfileRefusal = ProfileRefusal(409, "TAG_IMMUTABLE", "the tag is immutable")
    deletes: Literal["tags", "digests", "nothing"] = "tags"
    """Whether manifests can be deleted by tag and by digest, only by digest, or not at all."""
    undeletable: ProfileRefusal = ProfileRefusal(405, "UNSUPPORTED", "this cannot be deleted here")

    # Blobs.
    blobs_elsewhere: bool = False
    """GET of a blob redirects to a signed URL on another host, which refuses an Authorization header."""
    signed_seconds: float = 300
    """The lifetime of such a URL."""
    canonical_digests: bool = False
    """Whether Docker-Content-Digest of a blob is its sha256 digest, whatever digest it was pushed or requested by."""
    go_ranges: bool = False
    """Whether ranges are served as by Go's file server behind distribution 2.8: 416 also for unknown units, and its
    body ends before the announced Content-Length."""
    ranges: bool = True
    """Whether ranges of a blob are served; otherwise the whole blob is."""

    # Uploads.
    single_post: bool = True
    """Whether a POST with `digest` and a body stores a blob; otherwise an upload begins."""
    chunk_min_bytes: int = 0
    """The minimum size of every chunk but the last."""
    chunk_min_told: bool = True
    """Whether the minimum is announced (OCI-Chunk-Min-Length)."""
    chunk_max_bytes: int | None = None
    """The maximum size of a PATCH with a Content-Range; 413 above."""
    patches: Literal["many", "one", "none"] = "many"
    """How many PATCH requests an upload may have."""
    closing_content: bool = True
    """Whether the body of the closing PUT counts; otherwise it is ignored."""
    commits_early: bool = False
    """A PATCH that must be the last (below the minimum, or without a Content-Range) creates the blob, with 201."""
    order_checked: bool = True
    """Whether Content-Range is compared with the offset; otherwise any chunk is appended."""
    strict_state: bool = False
    """Only the newest Location is valid, even to ask for the offset: a cut chunk or lost response loses the upload."""
    errors_end_uploads: bool = False
    """Whether a PATCH whose connection breaks ends the upload."""
    mismatch_ends_upload: bool = True
    """Whether a closing PUT with a wrong digest ends the upload."""
    location: Literal["relative", "absolute", "none"] = "relative"
    """How it gives the address of an upload; none: only Docker-Upload-UUID."""
    range_unit: str = ""
    """The prefix of the range in the response to GET of an upload."""
    mount: Literal["any", "named", "everywhere", "never"] = "any"
    """Where a mount looks for the blob: in the named repository; with any, also in all if none is named; everywhere,
    whatever is named; or never.
    """
    mount_refusal: ProfileRefusal | None = None
    """The response to a refused mount; None: an upload begins."""

    # Listings.
    page_limit: int = 1000
    """The maximum number of entries on one page."""
    pages: Literal["always", "asked", "never"] = "always"
    """Whether listings are paged; asked: only with `n`."""
    page_limit_refused: bool = False
    """Whether an `n` above the limit is an error; otherwise it is reduced."""
    link: Literal["relative", "absolute", "absent"] = "relative"
    """How it gives the address of the next page."""
    link_query: Mapping[str, str] = field(default_factory=dict[str, str])
    """Extra query parameters of that link."""
    cursor: Literal["last", "existing", "token"] = "last"
    """Where a page begins: after `last`, after a `last` that must exist (404 otherwise), or at a token of the link."""
    sorted_tags: bool = True
    """Whether tags are sorted; otherwise they are in the order of their first push."""
    null_tags: bool = False
    """Whether a list without tags is null."""
    digests_among_tags: bool = False
    """Whether untagged manifests are listed by digest."""
    listed_digests: bool = False
    """Whether tag lists report the manifest of each tag."""
    import_api: bool = False
    """Whether it imports images as Azure does, through an API beside it (`FakeRegistry.imports`)."""
    tag_api: TagApi = ""
    """Whose API lists the digests of all tags, unless *creation_api* is set; Harbor's is *artifacts_api*."""
    creation_api: bool = False
    """Whether the vendors' APIs create repositories and projects beside those in *projects*."""
    artifacts_api: bool = False
    """Whether Harbor's API lists the artifacts of a repository."""
    listing_type: str = "application/json"
    catalog: bool = True
    catalog_takes_tokens: bool = True
    """Whether a token gives access to the catalog; otherwise only user and password do."""

    def guarded(self, accounts: Accounts) -> Self:
        """Return this profile with a login for one of *accounts*, in the product's own way."""
        return replace(self, auth=self.login, accounts=accounts)
