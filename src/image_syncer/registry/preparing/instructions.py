"""What people can do about a repository that does not exist: the call that creates what it needs. Pure."""

import re
import shlex
from typing import Final

from image_syncer.errors import StoreError
from image_syncer.oci import Repository
from image_syncer.registry.endpoint import RegistryClient
from image_syncer.registry.settings import CreateSettings
from image_syncer.registry.vendor_profiles import VENDORS, vendor_of, vendor_of_service
from image_syncer.registry.vendors.vendor_profile import Preparation

_REGION: Final = re.compile(r"(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.", re.ASCII)


def preparation_of(client: RegistryClient, settings: CreateSettings | None) -> Preparation | None:
    """Return what a push to the registry of *client* needs; None if a push creates it, or if the vendor is unknown.

    The vendor is the one that *settings* name, or is known by the registry's host name or its challenge.
    """
    if settings is not None and settings.vendor:
        named = (one.preparation for one in VENDORS if one.preparation is not None)
        return next((one for one in named if one.creator == settings.vendor), None)
    vendor = vendor_of(client.host.name) or vendor_of_service(client.host.auth.service) or client.profile.vendor
    return None if vendor is None else vendor.preparation


def call_text(preparation: Preparation, repository: Repository) -> str:
    """Return the command or request that creates what *repository* needs, with its names."""
    registry, path = repository.registry, repository.path
    first, _, rest = path.partition("/")
    found = _REGION.match(registry)
    is_public = registry == "public.ecr.aws"
    return preparation.call.format(
        registry=registry,
        path=shlex.quote(rest if is_public else path),
        first=first,
        second=rest.partition("/")[0],
        rest=rest,
        parent=path.rpartition("/")[0] if path.count("/") > 1 else path,
        region=found["region"] if found else "us-east-1" if is_public else "REGION",
        service="ecr-public" if is_public else "ecr",
        location=registry.partition("-docker.pkg.dev")[0],
        instance=registry.partition(".")[0].rsplit("-", 2)[0],
    )


def with_remedy(refusal: StoreError, preparation: Preparation, repository: Repository) -> StoreError:
    """Return *refusal* with what to run; one that may have another reason keeps what it says about that."""
    call = call_text(preparation, repository)
    may_create = preparation.creator is not None and preparation.creator != "gitlab"
    own = f"create the {preparation.subject}: {call}" if not call.startswith("create ") else call
    if may_create:
        own += f"; or set create: true at {repository.registry}"
    remedy = own if preparation_is_certain(refusal) or refusal.remedy is None else f"{refusal.remedy}; or {own}"
    return type(refusal)(refusal.message, status=refusal.status, code=refusal.code, remedy=remedy)


def preparation_is_certain(refusal: StoreError) -> bool:
    """Whether *refusal* says that something does not exist, rather than that a right is missing."""
    return refusal.status not in {401, 403}
