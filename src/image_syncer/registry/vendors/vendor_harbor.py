"""Harbor: its own API lists a hundred artifacts with their tags in one request."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import (
    BulkListing,
    ErrorShape,
    Preparation,
    VendorFacts,
    VendorProfile,
)

PROFILE: Final = VendorProfile(
    name="Harbor",
    basis="documented only: its API description and source",
    challenge_service="harbor-registry",
    bulk=BulkListing("harbor", 100, "user and password"),
    preparation=Preparation(
        subject="project",
        creator="harbor",
        call="curl -u USER -X POST https://{registry}/api/v2.0/projects -H 'Content-Type: application/json' -d "
        '\'{{"project_name": "{first}", "metadata": {{"public": "false"}}}}\'',
        options=("immutable", "scan", "public"),
        hides=True,
    ),
    immutable=ErrorShape(
        412, "PRECONDITION", "Failed to process request due to '{path}:{tag}' configured as immutable."
    ),
    facts=VendorFacts(
        mounts="from a named repository",
        copies="within one Harbor, but with all tags of the image: not used",
        deletion="by digest; tags by its own API",
        quota="storage per project: 403 DENIED when it is full",
        referrers="since 2.8",
        credentials="user or robot account and password",
        limits=("a push to a proxy cache project is denied",),
    ),
)
