"""Amazon's registries: ECR and ECR Public."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import (
    BulkListing,
    ErrorShape,
    Preparation,
    UploadProfile,
    VendorFacts,
    VendorProfile,
)

_MIB: Final = 1024 * 1024

PROFILE: Final = VendorProfile(
    name="Amazon ECR",
    basis="documented only: the model of its API (`LayerPartTooSmall`), regclient",
    hosts=("*.dkr.ecr*.amazonaws.com", "*.dkr.ecr*.amazonaws.com.cn", "*.dkr-ecr*.on.aws", "public.ecr.aws"),
    # Parts have at least 5 MiB (LayerPartTooSmall). A PATCH with the whole blob commits it, and ECR then refuses the
    # PUT; Docker sends an empty PUT.
    uploads=UploadProfile(patches=True, least_bytes=5 * _MIB),
    bulk=BulkListing("aws", 1000, "the access key"),
    preparation=Preparation(
        subject="repository",
        creator="aws",
        call="aws {service} create-repository --repository-name {path} --region {region}",
        options=("immutable", "scan", "lifecycle"),
    ),
    # The API calls it ImageTagAlreadyExistsException; the status is not documented.
    immutable=ErrorShape(
        400,
        "TAG_INVALID",
        "The image tag '{tag}' already exists in the '{path}' repository and cannot be overwritten because the "
        "repository is immutable.",
    ),
    facts=VendorFacts(
        mounts="only with the account setting BLOB_MOUNTING, within one account and region",
        deletion="by digest and by its own API",
        quota="pushes and pulls per second and account",
        credentials="`auth: aws`: a login for 12 hours",
        limits=("a repository has at most 60 000 tags; repositories must exist before a push",),
    ),
)
