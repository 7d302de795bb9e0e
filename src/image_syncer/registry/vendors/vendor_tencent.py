"""Tencent Container Registry."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import ErrorShape, Preparation, VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="Tencent Cloud",
    basis="documented only: tencentcloud-sdk-python-tcr, harbor's adapter",
    hosts=("*.tencentcloudcr.com",),
    preparation=Preparation(
        subject="namespace",
        creator="tencent",
        call="tccli tcr CreateNamespace --RegistryId ID --NamespaceName {first} --IsPublic False",
        options=("immutable", "scan", "public"),
        hides=True,
    ),
    immutable=ErrorShape(412, "PRECONDITION", "the tag is configured as immutable", "assumed"),
    facts=VendorFacts(
        mounts="not documented",
        deletion="by its own API",
        quota="10 to 20 requests per second to its API",
        credentials="`auth: tencent`: a login for an hour",
    ),
)
