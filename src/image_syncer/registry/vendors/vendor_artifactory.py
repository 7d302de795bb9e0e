"""JFrog's Artifactory."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import (
    ErrorShape,
    Preparation,
    UploadProfile,
    VendorFacts,
    VendorProfile,
)

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
    preparation=Preparation(
        subject="repository key",
        creator="artifactory",
        call="curl -u USER -X PUT https://{registry}/artifactory/api/repositories/{first} -H "
        '\'Content-Type: application/json\' -d \'{{"rclass": "local", "packageType": "docker"}}\'',
        options=("scan",),
        hides=True,
    ),
    immutable=ErrorShape(403, "DENIED", "Tag '{tag}' cannot be overwritten: its repository forbids it", "assumed"),
    facts=VendorFacts(
        mounts="not documented",
        copies="within one instance, but by tags: not used",
        deletion="by digest, with the right to delete",
        credentials="user and password or access token",
    ),
)
