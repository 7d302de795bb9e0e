"""Amazon's registries: ECR and ECR Public."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import UploadProfile, VendorProfile

_MIB: Final = 1024 * 1024

PROFILE: Final = VendorProfile(
    name="Amazon ECR",
    basis="documented only: the model of its API (`LayerPartTooSmall`), regclient",
    hosts=("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", "public.ecr.aws"),
    # Parts have at least 5 MiB (LayerPartTooSmall). A PATCH with the whole blob commits it, and ECR then refuses the
    # PUT; Docker sends an empty PUT.
    uploads=UploadProfile(patches=True, least_bytes=5 * _MIB),
)
