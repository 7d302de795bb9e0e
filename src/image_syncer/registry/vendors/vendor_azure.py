"""Azure Container Registry."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import ErrorShape, VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="Azure",
    basis="documented only: azure-containerregistry, harbor's adapter",
    hosts=("*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"),
    immutable=ErrorShape(
        405, "DENIED", "The operation is disallowed on this registry, repository or image.", "assumed"
    ),
    facts=VendorFacts(
        mounts="yes",
        deletion="by digest",
        quota="requests per minute and tier",
        referrers="yes",
        credentials="`auth: azure`: a token of Entra, which the registry exchanges",
    ),
)
