"""The registries of forges, beside their repositories of code: what they document."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import (
    BulkListing,
    ErrorShape,
    Preparation,
    VendorFacts,
    VendorProfile,
)

GITEA: Final = VendorProfile(
    name="Gitea",
    basis="documented only: its API description and `routers/api/packages/container`",
    hosts=("gitea.com", "codeberg.org"),
    preparation=Preparation(
        subject="organisation",
        creator="gitea",
        call="curl -u USER -X POST https://{registry}/api/v1/orgs -H 'Content-Type: application/json' -d "
        '\'{{"username": "{first}", "visibility": "private"}}\'',
        options=("public",),
        hides=True,
    ),
    facts=VendorFacts(
        mounts="with and without the origin",
        deletion="by tag and by digest",
        credentials="user and password or access token",
        limits=("a manifest has at most 10 MiB",),
    ),
)
"""Gitea and Forgejo: a push creates a repository, and its owner must exist."""

GITHUB: Final = VendorProfile(
    name="GitHub",
    basis="documented only: GitHub's documentation, harbor's adapter",
    hosts=("ghcr.io",),
    bulk=BulkListing("github", 100, "a token with `read:packages`", "https://api.github.com"),
    facts=VendorFacts(
        mounts="yes",
        deletion="only by the API of api.github.com",
        credentials="any user name and a token with `write:packages`",
        limits=("an upload must end within 10 minutes", "a layer has at most 10 GB"),
    ),
)
"""GitHub Container Registry."""

GITLAB: Final = VendorProfile(
    name="GitLab",
    basis="documented only: GitLab's documentation",
    hosts=("registry.gitlab.com",),
    challenge_service="container_registry",
    preparation=Preparation(
        subject="project",
        creator="gitlab",
        call="create the project: glab repo create {parent} --private",
        hides=True,
    ),
    immutable=ErrorShape(403, "DENIED", "the tag is immutable: a protection rule forbids to overwrite it", "assumed"),
    facts=VendorFacts(
        mounts="yes",
        deletion="by tag and by digest",
        credentials="user and access token, or a deploy token",
        limits=("an image lies in a project, or at most two levels below it",),
    ),
)
"""GitLab's registry: every repository lies in a project, which people create."""
