"""Volcengine Container Registry."""

from typing import Final

from image_syncer.registry.vendors.vendor_profile import Preparation, VendorFacts, VendorProfile

PROFILE: Final = VendorProfile(
    name="Volcengine",
    basis="documented only: volcenginesdk-cr, harbor's adapter",
    hosts=("*.cr.volces.com", "*.cr.ivolces.com"),
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
