"""GitHub Container Registry."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="GitHub",
    basis="documented only: GitHub's documentation, harbor's adapter",
    hosts=("ghcr.io",),
    facts=VendorFacts(
        mounts="yes",
        deletion="only by the API of api.github.com",
        credentials="any user name and a token with `write:packages`",
        limits=("an upload must end within 10 minutes", "a layer has at most 10 GB"),
    ),
)
