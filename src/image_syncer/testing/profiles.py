"""Profiles of known registries, as data: use a `Profile` as it is, or `replace` parts of it.

They need no login until `guarded` gives them accounts. Comments name the evidence: the distribution-spec, or the source
of a product or of its clients. UNVERIFIED marks behaviour without evidence; a client should still cope with it.
"""

from dataclasses import replace
from typing import Final

from image_syncer.testing.profile import Profile, ProfileRefusal, QuotaProfile

_MIB: Final = 1024**2

OCI: Final = Profile()
"""distribution-spec 1.1."""

DISTRIBUTION_2_8: Final = Profile(
    name="distribution-2.8",
    # Observed at Debian's docker-registry 2.8 (tests compare the two), except where a comment names a source.
    unknown=ProfileRefusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    referrers=False,
    many_tags="ignores",  # The query is ignored (2.8.3 `handlers/manifests.go`).
    missing_part=400,  # `errcode/register.go`.
    manifest_too_large=ProfileRefusal(400, "MANIFEST_INVALID", "manifest invalid"),
    malformed_digest=ProfileRefusal(500, "UNKNOWN", "unknown error"),  # It takes such a reference for a tag.
    sha512_manifests=False,
    layer_urls=(),  # The default of `validation.manifests.urls.allow`.
    canonical_digests=True,
    go_ranges=True,
    single_post=False,
    deletes="digests",  # 2.8.3 has no branch for tags, and parses them as digests.
    undeletable=ProfileRefusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content"),
    # Measured with 2.8.2: Location contains a signed offset. The bytes of a cut chunk stay on the disk, so the offset
    # never fits again: GET and PATCH answer 404 BLOB_UPLOAD_INVALID. A chunk with a wrong Content-Range is appended.
    strict_state=True,
    order_checked=False,
    mismatch_ends_upload=False,
    location="absolute",
    mount="named",  # `handlers/blobupload.go` requires both parameters.
    pages="never",  # 2.8.3 `handlers/tags.go` ignores n and last.
    sorted_tags=False,
)
"""distribution 2.8: docker-registry, and the core of many products."""

DOCKER_HUB: Final = Profile(
    name="docker-hub",
    tag_api="docker_hub",
    token_seconds=300,
    quota=QuotaProfile(pulls=100, window_seconds=21_600),  # 100;w=21600 in Docker's documentation; the numbers change.
    referrers=False,  # UNVERIFIED.
    many_tags="ignores",
    deletes="nothing",  # Only by the API of hub.docker.com.
    blobs_elsewhere=True,  # A CDN.
    location="absolute",  # UNVERIFIED.
    mount="named",
    catalog=False,
)
"""Docker Hub: pulls are counted per account, and blobs come from a CDN."""

GHCR: Final = Profile(
    name="ghcr",
    tag_api="github",
    referrers=False,  # UNVERIFIED.
    many_tags="ignores",
    deletes="nothing",  # harbor `githubcr` adapter.
    blobs_elsewhere=True,
    chunk_max_bytes=4 * _MIB,  # UNVERIFIED: a limit of about 4 MiB per PATCH has been reported.
    catalog=False,
)
"""GitHub's registry."""

ECR: Final = Profile(
    name="ecr",
    tag_api="aws",
    login="basic",  # User AWS, with a password that is valid for 12 hours.
    media_type_required=True,  # containers/image `docker_image_dest.go`.
    immutable=ProfileRefusal(  # Code and text are known, the status is UNVERIFIED.
        400,
        "TAG_INVALID",
        "The image tag already exists and cannot be overwritten because the repository is immutable.",
    ),
    many_tags="ignores",
    missing_project=ProfileRefusal(
        404, "NAME_UNKNOWN", "The repository does not exist in the registry with id '0123456789'"
    ),
    blobs_elsewhere=True,  # S3.
    # LayerPartTooSmall: all parts but the last have at least 5 MiB (botocore's model). Not announced: UNVERIFIED.
    chunk_min_bytes=5 * _MIB,
    chunk_min_told=False,
    commits_early=True,  # regclient `scheme/reg/blob.go`: 201 to a PATCH, and then the PUT is refused.
    mount="never",  # Unless the account enables BLOB_MOUNTING.
    page_limit_refused=True,  # n above 1000 is an error (go-containerregistry issue 681).
    listing_type="text/plain",  # go-containerregistry issue 1091.
    catalog=False,  # UNVERIFIED.
)
"""Amazon's registry."""

ACR: Final = Profile(
    name="acr",
    tag_api="azure",
    token_path="/oauth2/token",  # Azure/acr `docs/AAD-OAuth.md`.
    token_life_told=False,  # The token itself contains it.
    import_api=True,  # Azure's REST API of Microsoft.ContainerRegistry, "Import Image".
    many_tags="ignores",
    blobs_elsewhere=True,  # UNVERIFIED.
    immutable=ProfileRefusal(  # Status and code are UNVERIFIED.
        405, "DENIED", "The operation is disallowed on this registry, repository or image."
    ),
    link_query={"orderby": ""},  # harbor `azurecr` adapter.
)
"""Azure's registry."""

GAR: Final = Profile(
    name="gar",
    many_tags="ignores",
    patches="one",  # Bodies must come whole: UNVERIFIED.
    blobs_elsewhere=True,
    page_limit=10_000,
    listed_digests=True,  # go-containerregistry `pkg/v1/google/list.go`.
)
"""Google's Artifact Registry, and gcr.io."""

HARBOR: Final = Profile(
    name="harbor",
    challenge_service="harbor-registry",  # harbor `core/service/token/creator.go`.
    artifacts_api=True,
    basic_too=True,  # harbor `middleware/v2auth/auth.go`.
    many_tags="ignores",
    unknown=ProfileRefusal(404, "NOT_FOUND", "artifact not found"),  # Neither NAME_UNKNOWN nor MANIFEST_UNKNOWN.
    unknown_repository=ProfileRefusal(404, "NOT_FOUND", "repository not found"),
    missing_project=ProfileRefusal(404, "NOT_FOUND", "project not found"),
    immutable=ProfileRefusal(412, "PRECONDITION", "Failed to process request: the tag is configured as immutable."),
    missing_part=400,
    deletes="digests",  # Tags only by its own API.
    undeletable=ProfileRefusal(400, "UNSUPPORTED", "deleting by tag is not supported"),
    strict_state=True,  # UNVERIFIED: it contains distribution 2.8, which loses sessions like this.
    order_checked=False,  # UNVERIFIED, likewise.
    mismatch_ends_upload=False,  # UNVERIFIED, likewise.
    mount="named",
    pages="asked",  # harbor `registry/util/util.go`.
    catalog_takes_tokens=False,  # harbor `middleware/v2auth/auth.go`.
)
"""Harbor 2."""

QUAY: Final = Profile(
    name="quay",
    tag_api="quay",
    many_tags="ignores",
    immutable=ProfileRefusal(409, "TAG_IMMUTABLE", "The tag is immutable."),  # `endpoints/v2/errors.py`.
    deletes="tags",
    blobs_elsewhere=True,
    location="absolute",
    range_unit="bytes=",  # This spelling of the unit is UNVERIFIED; the response to GET does have one.
    mount="named",  # Without `from` an upload begins.
    page_limit=100,
    link="absolute",
    cursor="token",  # `endpoints/v2/__init__.py` paginate.
)
"""Quay."""

ZOT: Final = Profile(
    name="zot",
    tag_api="zot",
    docker_types=False,  # `pkg/api/routes.go`, without http.compat.
    errors_end_uploads=True,  # After unexpected errors only, not after a chunk out of order.
    mount="everywhere",  # It searches its cache and ignores `from`.
    cursor="existing",
    null_tags=False,
)
"""zot without `http.compat`."""

ARTIFACTORY: Final = Profile(
    name="artifactory",
    headers={  # renovate `datasource/util.ts`; jfrog charts issue 455: version 6 sends the first one as `Server`.
        "X-JFrog-Version": "Artifactory/7.98.9 79809900",
        "X-Artifactory-Id": "0123456789abcdef:01234567:0123456789a:-8000",
        "X-Artifactory-Node-Id": "artifactory-0",
    },
    referrers=False,  # UNVERIFIED.
    many_tags="ignores",
    immutable=ProfileRefusal(403, "DENIED", "cannot be overwritten"),  # UNVERIFIED.
    patches="one",  # RTFACT-19344: everything in one PATCH,
    closing_content=False,  # and nothing in the PUT.
    location="none",  # harbor `jfrog/adapter.go` uses Docker-Upload-UUID: Location may be unusable behind a proxy.
    mount="never",  # UNVERIFIED.
    digests_among_tags=True,  # skopeo issue 2346.
)
"""JFrog's Artifactory.

go-containerregistry reports that it answers 403 for missing content:
`replace(ARTIFACTORY, unknown=ProfileRefusal(403, ...))` does so.
"""

ALL: Final = (
    OCI,
    DISTRIBUTION_2_8,
    DOCKER_HUB,
    GHCR,
    ECR,
    ACR,
    GAR,
    HARBOR,
    QUAY,
    ZOT,
    ARTIFACTORY,
)
"""All profiles, each with a unique name."""

ALIBABA: Final = replace(OCI, name="alibaba", many_tags="ignores", tag_api="aliyun")
"""Alibaba Cloud's registries, personal and enterprise, as far as their API lists tags."""

HUAWEI: Final = replace(OCI, name="huawei", many_tags="ignores", tag_api="huawei")
"""Huawei Cloud's SWR, likewise."""

TENCENT: Final = replace(OCI, name="tencent", many_tags="ignores", tag_api="tencent")
"""Tencent Container Registry, likewise."""

VOLCENGINE: Final = replace(OCI, name="volcengine", many_tags="ignores", tag_api="volcengine")
"""Volcengine Container Registry, likewise."""

MONOLITHIC: Final = replace(OCI, name="monolithic", patches="none", many_tags="ignores")
"""A registry without PATCH: a blob must come with the closing PUT. No known product does so."""

ARTIFACTORY_UNNAMED: Final = replace(ARTIFACTORY, name="artifactory-unnamed", headers={})
"""Artifactory behind a proxy that removes its identifying headers."""
