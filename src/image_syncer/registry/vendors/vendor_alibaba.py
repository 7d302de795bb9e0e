"""Alibaba Cloud Container Registry, personal and enterprise."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import Preparation, VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="Alibaba Cloud",
    basis="documented only: its libraries for the versions 2016-06-07 and 2018-12-01",
    hosts=("registry*.aliyuncs.com", "*-registry*.cr.aliyuncs.com"),
    preparation=Preparation(
        subject="namespace and repository",
        creator="aliyun",
        call="aliyun cr CreateNamespace --InstanceId ID --NamespaceName {first}, then aliyun cr CreateRepository "
        "--InstanceId ID --RepoNamespaceName {first} --RepoName {rest} --RepoType PRIVATE --Summary mirror",
        options=("immutable", "public"),
        hides=True,
    ),
    facts=VendorFacts(
        mounts="reported",
        deletion="by its own API",
        quota="15 requests per second to its API",
        credentials="`auth: aliyun`: a temporary login",
    ),
)
