"""Quay, at quay.io and elsewhere."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import (
    BulkListing,
    ErrorShape,
    Preparation,
    VendorFacts,
    VendorProfile,
)

PROFILE: Final = VendorProfile(
    name="Quay",
    basis="documented only: its source",
    hosts=("quay.io",),
    bulk=BulkListing("quay", 100, "an OAuth token of `control`, or none"),
    preparation=Preparation(
        subject="repository",
        creator="quay",
        call="curl -X POST https://{registry}/api/v1/repository -H 'Authorization: Bearer TOKEN' -H "
        '\'Content-Type: application/json\' -d \'{{"namespace": "{first}", "repository": "{rest}", '
        '"visibility": "private", "description": "", "repo_kind": "image"}}\'',
        options=("public",),
        hides=True,
    ),
    immutable=ErrorShape(409, "TAG_IMMUTABLE", "The tag is immutable."),
    facts=VendorFacts(
        mounts="from a named repository",
        deletion="by tag and by digest",
        quota="storage per organisation",
        referrers="yes",
        credentials="user, or robot account and token; its own API takes OAuth tokens only",
    ),
)
