"""JFrog's Artifactory."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import UploadProfile, VendorProfile

PROFILE: Final = VendorProfile(
    name="Artifactory",
    basis="documented only: RTFACT-19344, renovate",
    hosts=("*.jfrog.io",),
    # It mostly runs under a custom host name. It identifies itself by the first three, versions 5 and 6 by the last.
    headers=(
        ("X-JFrog-Version", "artifactory/"),
        ("X-Artifactory-Id", ""),
        ("X-Artifactory-Node-Id", ""),
        ("Server", "artifactory/"),
    ),
    # It ignores content of the closing PUT (RTFACT-19344); one PATCH is the only way known to work.
    uploads=UploadProfile(patches=True, chunks=False),
)
