"""GitLab's registry: every repository lies in a project, which people create."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import ErrorShape, Preparation, VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
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
