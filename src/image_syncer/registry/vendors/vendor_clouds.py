"""The registries of clouds: what they document. Amazon and Google, which upload or list differently, have modules."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import (
    BulkListing,
    ErrorShape,
    Preparation,
    VendorFacts,
    VendorProfile,
)

ALIBABA: Final = VendorProfile(
    name="Alibaba Cloud",
    basis="documented only: its libraries for the versions 2016-06-07 and 2018-12-01",
    hosts=("registry*.aliyuncs.com", "*-registry*.cr.aliyuncs.com"),
    bulk=BulkListing("aliyun", 100, "the access key"),
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
"""Alibaba Cloud Container Registry, personal and enterprise."""

AZURE: Final = VendorProfile(
    name="Azure",
    basis="documented only: azure-containerregistry, harbor's adapter",
    hosts=("*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"),
    bulk=BulkListing("azure", 100),
    immutable=ErrorShape(
        405, "DENIED", "The operation is disallowed on this registry, repository or image.", "assumed"
    ),
    facts=VendorFacts(
        mounts="yes",
        copies="by digest, from any registry: [`import`](configuration.md#ways)",
        deletion="by digest",
        quota="requests per minute and tier",
        referrers="yes",
        credentials="`auth: azure`: a token of Entra, which the registry exchanges",
    ),
)
"""Azure Container Registry."""

HUAWEI: Final = VendorProfile(
    name="Huawei Cloud",
    basis="documented only: huaweicloudsdkswr, harbor's adapter",
    hosts=("swr.*.myhuaweicloud.com", "swr.*.myhuaweicloud.eu"),
    bulk=BulkListing("huawei", 100, "the access key"),
    preparation=Preparation(
        subject="organisation",
        creator="huawei",
        call="hcloud SWR CreateNamespace --namespace={first}",
        hides=True,
    ),
    facts=VendorFacts(
        mounts="not documented",
        deletion="by its own API",
        credentials="`auth: huawei`: a login that follows from the access key",
    ),
)
"""Huawei Cloud's SoftWare Repository for Container (SWR)."""

TENCENT: Final = VendorProfile(
    name="Tencent Cloud",
    basis="documented only: tencentcloud-sdk-python-tcr, harbor's adapter",
    hosts=("*.tencentcloudcr.com",),
    bulk=BulkListing("tencent", 100, "the access key"),
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
"""Tencent Container Registry."""

VOLCENGINE: Final = VendorProfile(
    name="Volcengine",
    basis="documented only: volcenginesdk-cr, harbor's adapter",
    hosts=("*.cr.volces.com", "*.cr.ivolces.com"),
    bulk=BulkListing("volcengine", 100, "the access key"),
    preparation=Preparation(
        subject="namespace and repository",
        creator="volcengine",
        call="ve cr CreateNamespace --Registry {instance} --Name {first}, then ve cr CreateRepository --Registry "
        "{instance} --Namespace {first} --Name {rest} --AccessLevel Private",
        options=("public",),
        hides=True,
    ),
    facts=VendorFacts(
        deletion="by its own API",
        credentials="`auth: volcengine`: a temporary login",
    ),
)
"""Volcengine Container Registry."""
