"""Docker Hub."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="Docker Hub",
    basis="documented only: Docker's documentation",
    hosts=("docker.io", "registry-1.docker.io"),
    facts=VendorFacts(
        mounts="from a named repository",
        deletion="only by the API of hub.docker.com",
        quota="pulls per 6 hours, in the headers `ratelimit-limit` and `ratelimit-remaining`",
        credentials="user and password or access token",
        limits=("pulls are counted: HEAD requests are not, GET requests of manifests are",),
    ),
)
