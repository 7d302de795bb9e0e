"""Huawei Cloud's SoftWare Repository for Container (SWR)."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import Preparation, VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="Huawei Cloud",
    basis="documented only: huaweicloudsdkswr, harbor's adapter",
    hosts=("swr.*.myhuaweicloud.com", "swr.*.myhuaweicloud.eu"),
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
