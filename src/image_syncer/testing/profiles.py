"""The habits of known registries, as data: each is a `Profile` to use as it is or to `replace` parts of.

They want no login until `guarded` gives them accounts. "Reference" stands for the distribution-spec, the sources of
the products and of their clients; a habit that could not be confirmed from any of them says UNVERIFIED, and serves to
see that a client lives with it.
"""

from dataclasses import replace
from typing import Final

from image_syncer.testing.profile import Profile, ProfileRefusal, QuotaProfile

_MIB: Final = 1024**2

OCI: Final = Profile()
"""distribution-spec 1.1 as it is written."""

DISTRIBUTION_2_8: Final = Profile(
    name="distribution-2.8",
    # Seen at docker-registry 2.8 of Debian (our tests compare the two), but for what names a source.
    unknown=ProfileRefusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    referrers=False,
    many_tags="ignores",  # The query is not looked at (2.8.3 `handlers/manifests.go`).
    missing_part=400,  # `errcode/register.go`.
    deletes="digests",  # 2.8.3 has no branch for tags.
    # Measured with 2.8.2: Location holds a signed offset. Bytes of a chunk that was cut stay on the disk, so that the
    # offset never fits again: GET and PATCH answer 404 BLOB_UPLOAD_INVALID. A wrong Content-Range is appended.
    strict_state=True,
    order_checked=False,
    mismatch_ends_upload=False,
    location="absolute",
    mount="named",  # `handlers/blobupload.go` takes a mount with both parameters.
    pages="never",  # 2.8.3 `handlers/tags.go` ignores n and last.
    sorted_tags=False,
)
"""distribution 2.8, which is docker-registry, and many products within."""

DOCKER_HUB: Final = Profile(
    name="docker-hub",
    token_seconds=300,
    quota=QuotaProfile(pulls=100, window_seconds=21_600),  # 100;w=21600 of Docker's documentation; the numbers change.
    referrers=False,  # UNVERIFIED.
    many_tags="ignores",
    deletes="nothing",  # By the API of hub.docker.com alone.
    blobs_elsewhere=True,  # A CDN.
    location="absolute",  # UNVERIFIED.
    mount="named",
    catalog=False,
)
"""Docker Hub: pulls are counted by account, blobs come from a CDN."""

GHCR: Final = Profile(
    name="ghcr",
    referrers=False,  # UNVERIFIED.
    many_tags="ignores",
    deletes="nothing",  # harbor `githubcr` adapter.
    blobs_elsewhere=True,
    chunk_max_bytes=4 * _MIB,  # UNVERIFIED: about 4 MiB for each PATCH have been reported.
    catalog=False,
)
"""GitHub's registry."""

ECR: Final = Profile(
    name="ecr",
    login="basic",  # AWS and a password for 12 hours.
    media_type_required=True,  # containers/image `docker_image_dest.go`.
    immutable=ProfileRefusal(  # The code and the text are known, the status is UNVERIFIED.
        400,
        "TAG_INVALID",
        "The image tag already exists and cannot be overwritten because the repository is immutable.",
    ),
    many_tags="ignores",
    missing_project=ProfileRefusal(
        404, "NAME_UNKNOWN", "The repository does not exist in the registry with id '0123456789'"
    ),
    blobs_elsewhere=True,  # S3.
    # LayerPartTooSmall: parts but the last have 5 MiB (botocore's model). It is announced nowhere: UNVERIFIED.
    chunk_min_bytes=5 * _MIB,
    chunk_min_told=False,
    commits_early=True,  # regclient `scheme/reg/blob.go`: 201 to a PATCH, and the PUT is refused.
    mount="never",  # Without the account's setting BLOB_MOUNTING.
    page_limit_refused=True,  # n above 1000 is an error (go-containerregistry issue 681).
    listing_type="text/plain",  # go-containerregistry issue 1091.
    catalog=False,  # UNVERIFIED.
)
"""Amazon's registry."""

ACR: Final = Profile(
    name="acr",
    token_path="/oauth2/token",  # Azure/acr `docs/AAD-OAuth.md`.
    token_life_told=False,  # The token itself says it.
    many_tags="ignores",
    blobs_elsewhere=True,  # UNVERIFIED.
    immutable=ProfileRefusal(  # UNVERIFIED status and code.
        405, "DENIED", "The operation is disallowed on this registry, repository or image."
    ),
    link_query={"orderby": ""},  # harbor `azurecr` adapter.
)
"""Azure's registry."""

GAR: Final = Profile(
    name="gar",
    many_tags="ignores",
    patches="one",  # Bodies come whole: UNVERIFIED.
    blobs_elsewhere=True,
    page_limit=10_000,
    listed_digests=True,  # go-containerregistry `pkg/v1/google/list.go`.
)
"""Google's Artifact Registry, and gcr.io."""

HARBOR: Final = Profile(
    name="harbor",
    basic_too=True,  # harbor `middleware/v2auth/auth.go`.
    many_tags="ignores",
    unknown=ProfileRefusal(404, "NOT_FOUND", "artifact not found"),  # Not NAME_UNKNOWN or MANIFEST_UNKNOWN.
    unknown_repository=ProfileRefusal(404, "NOT_FOUND", "repository not found"),
    missing_project=ProfileRefusal(404, "NOT_FOUND", "project not found"),
    immutable=ProfileRefusal(412, "PRECONDITION", "Failed to process request: the tag is configured as immutable."),
    missing_part=400,
    deletes="digests",  # Tags by its API alone.
    undeletable=ProfileRefusal(400, "UNSUPPORTED", "deleting by tag is not supported"),
    strict_state=True,  # UNVERIFIED: it is built on distribution 2.8, whose sessions are lost so.
    order_checked=False,  # UNVERIFIED, as well.
    mismatch_ends_upload=False,  # UNVERIFIED, as well.
    mount="named",
    pages="asked",  # harbor `registry/util/util.go`.
)
"""Harbor 2."""

QUAY: Final = Profile(
    name="quay",
    many_tags="ignores",
    immutable=ProfileRefusal(409, "TAG_IMMUTABLE", "The tag is immutable."),  # `endpoints/v2/errors.py`.
    deletes="tags",
    blobs_elsewhere=True,
    location="absolute",
    range_unit="bytes=",  # The unit is UNVERIFIED in this spelling; that GET has one is not.
    mount="named",  # Without `from` an upload begins.
    page_limit=100,
    link="absolute",
    cursor="token",  # `endpoints/v2/__init__.py` paginate.
)
"""Quay."""

ZOT: Final = Profile(
    name="zot",
    docker_types=False,  # `pkg/api/routes.go`, without http.compat.
    errors_end_uploads=True,
    mount="everywhere",  # Its cache is looked up, `from` is not.
    cursor="existing",
    null_tags=False,
)
"""zot without `http.compat`."""

ARTIFACTORY: Final = Profile(
    name="artifactory",
    headers={  # renovate `datasource/util.ts`; jfrog charts issue 455, where version 6 has `Server` for the first.
        "X-JFrog-Version": "Artifactory/7.98.9 79809900",
        "X-Artifactory-Id": "0123456789abcdef:01234567:0123456789a:-8000",
        "X-Artifactory-Node-Id": "artifactory-0",
    },
    referrers=False,  # UNVERIFIED.
    many_tags="ignores",
    immutable=ProfileRefusal(403, "DENIED", "cannot be overwritten"),  # UNVERIFIED.
    patches="one",  # RTFACT-19344: all in one PATCH,
    closing_content=False,  # and nothing with the PUT.
    location="none",  # harbor `jfrog/adapter.go` goes by Docker-Upload-UUID: behind a proxy Location may be unusable.
    mount="never",  # UNVERIFIED.
    digests_among_tags=True,  # skopeo issue 2346.
)
"""JFrog's Artifactory.

go-containerregistry reports that it hides what is missing behind 403; `replace(ARTIFACTORY, unknown=Refusal(403, ...))`
does so.
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
"""All of them, each with another name."""

MONOLITHIC: Final = replace(OCI, name="monolithic", patches="none", many_tags="ignores")
"""A registry that takes no PATCH at all: a blob comes with the closing PUT. No product is known to."""

ARTIFACTORY_UNNAMED: Final = replace(ARTIFACTORY, name="artifactory-unnamed", headers={})
"""Artifactory behind a proxy that takes away what tells of it."""
