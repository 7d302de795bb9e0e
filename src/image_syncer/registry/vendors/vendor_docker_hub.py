"""Docker Hub."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import BulkListing, VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="Docker Hub",
    basis="documented only: Docker's documentation",
    hosts=("docker.io", "registry-1.docker.io"),
    bulk=BulkListing("docker_hub", 100, "the same user and password, or none", "https://hub.docker.com"),
    facts=VendorFacts(
        mounts="from a named repository",
        deletion="only by the API of hub.docker.com",
        quota="pulls per 6 hours, in the headers `ratelimit-limit` and `ratelimit-remaining`",
        credentials="user and password or access token",
        limits=("pulls are counted: HEAD requests are not, GET requests of manifests are",),
    ),
)
