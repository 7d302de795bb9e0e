"""The vendors of registries, and what is learnt from their responses.

A registry of no known vendor is treated as the specification says; `LearntProfile` records deviations.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final, Self

from image_syncer.bounded_json import JsonObject
from image_syncer.registry.blobs.chunk_size import ChunkSize
from image_syncer.registry.http.messages import Headers
from image_syncer.registry.settings import Limits
from image_syncer.registry.vendors import (
    vendor_amazon,
    vendor_artifactory,
    vendor_clouds,
    vendor_docker_hub,
    vendor_forges,
    vendor_google,
    vendor_harbor,
    vendor_quay,
    vendor_zot,
)
from image_syncer.registry.vendors.vendor_profile import ListedTag, UploadProfile, VendorProfile
from image_syncer.structs import Struct

VENDORS: Final = (
    vendor_clouds.ALIBABA,
    vendor_amazon.PROFILE,
    vendor_artifactory.PROFILE,
    vendor_clouds.AZURE,
    vendor_docker_hub.PROFILE,
    vendor_forges.GITEA,
    vendor_forges.GITHUB,
    vendor_forges.GITLAB,
    vendor_google.PROFILE,
    vendor_harbor.PROFILE,
    vendor_clouds.HUAWEI,
    vendor_quay.PROFILE,
    vendor_clouds.TENCENT,
    vendor_clouds.VOLCENGINE,
    vendor_zot.PROFILE,
)
"""Every vendor that is known to differ from the specification; a new one is added here."""


def vendor_of(registry: str) -> VendorProfile | None:
    """Return the vendor of *registry* (`host` or `host:port`) by its host name; None if that tells nothing."""
    host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdecimal() else registry
    for vendor in VENDORS:
        if any(fnmatchcase(host.lower(), pattern) for pattern in vendor.hosts):
            return vendor
    return None


def vendor_of_service(service: str) -> VendorProfile | None:
    """Return the vendor whose registries name *service* in their challenges; None if that tells nothing."""
    return next((vendor for vendor in VENDORS if vendor.challenge_service == service), None)


def vendor_of_extensions(names: Iterable[str]) -> VendorProfile | None:
    """Return the vendor one of whose extensions is among *names*; None if there is none."""
    announced = set(names)
    return next((vendor for vendor in VENDORS if vendor.extension in announced), None)


def known_limits(registry: str) -> tuple[str, ...]:
    """Return the limits of *registry* that its vendor documents and that no response announces."""
    vendor = vendor_of(registry)
    return () if vendor is None else vendor.facts.limits


def upload_profile_of(registry: str) -> UploadProfile:
    """Return the upload profile of *registry* (`host` or `host:port`)."""
    vendor = vendor_of(registry)
    return UploadProfile() if vendor is None else vendor.uploads


def upload_profile_from_headers(headers: Headers) -> UploadProfile | None:
    """Return the upload profile of the product that *headers* name; None for an unknown product."""
    vendor = vendor_from_headers(headers)
    return None if vendor is None else vendor.uploads


def vendor_from_headers(headers: Headers) -> VendorProfile | None:
    """Return the vendor that *headers* name; None for an unknown one.

    Headers are untrusted: they only select one of the vendors above.
    """
    for vendor in VENDORS:
        for name, prefix in vendor.headers:
            value = headers.get(name)
            if value is not None and value.strip().lower().startswith(prefix):
                return vendor
    return None


def digests_in_tag_list(document: JsonObject) -> Iterator[ListedTag]:
    """Yield the tags whose digests a page of the tag list has; the member itself tells the vendor, behind any name."""
    for vendor in VENDORS:
        if vendor.read_tag_list is not None:
            yield from vendor.read_tag_list(document)


class LearntProfile(Struct, frozen=False):
    """What is known of one registry; updated as its responses tell more.

    *uploads* is how it takes content, *chunk* the chunk size. *closing_put_carries*: a blob was stored whose content
    came with the closing PUT, so this registry does not ignore it. *many_tags*: one manifest PUT can set several tags;
    *answers_head*: a HEAD of a manifest tells what a GET does; *referrers_api*: it lists referrers; *single_post*: a
    POST with the digest and the content stores a blob, False also while an upload tries that.
    *vendor* is the one that its headers name. None: unknown yet.
    """

    uploads: UploadProfile
    chunk: ChunkSize
    closing_put_carries: bool = False
    many_tags: bool | None = None
    answers_head: bool | None = None
    referrers_api: bool | None = None
    single_post: bool | None = None
    vendor: VendorProfile | None = None

    @classmethod
    def of(cls, registry: str, limits: Limits) -> Self:
        """Return the profile of *registry* before the first request, with chunks as *limits* say."""
        own = limits.host_limits.get(registry)
        if own is not None and own.chunk_bytes is not None:
            return cls(upload_profile_of(registry), ChunkSize.fixed(own.chunk_bytes))
        return cls(upload_profile_of(registry), ChunkSize.of(limits.chunk_bytes))

    def learn_from_headers(self, headers: Headers) -> None:
        """Recognise the product by *headers*, unless the host name or its behaviour has told more."""
        if self.vendor is None:
            self.vendor = vendor_from_headers(headers)
        if self.uploads == UploadProfile() and not self.closing_put_carries:
            self.uploads = upload_profile_from_headers(headers) or self.uploads
