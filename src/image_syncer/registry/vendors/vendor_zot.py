"""zot: its search extension lists a thousand images with their digests in one request."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import BulkListing, VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="zot",
    basis="documented only: its source",
    extension="_zot",
    bulk=BulkListing("zot", 1000),
    facts=VendorFacts(
        mounts="of any blob that it has, whatever is named",
        deletion="by tag and by digest",
        referrers="yes",
        credentials="user and password, token or client certificate",
        limits=("Docker's media types are refused unless `http.compat` allows them",),
    ),
)
