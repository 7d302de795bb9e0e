"""The module of each vendor's listing; it is imported when it is used."""

# ruff: noqa: PLC0415 - each is needed by one vendor, and libraries are slow to import

from collections.abc import Callable

from image_syncer.registry.tag_lists.tag_lister import Lister, Listing, PageReader
from image_syncer.registry.vendors.vendor_profile import ListerName


def lister_of(name: ListerName) -> Lister | None:
    """Return what speaks the listing *name*; None if a library does that."""
    match name:
        case "azure":
            from image_syncer.registry.tag_lists import list_azure

            return list_azure.LISTER
        case "docker_hub":
            from image_syncer.registry.tag_lists import list_docker_hub

            return list_docker_hub.LISTER
        case "github":
            from image_syncer.registry.tag_lists import list_github

            return list_github.LISTER
        case "harbor":
            from image_syncer.registry.tag_lists import list_harbor

            return list_harbor.LISTER
        case "huawei":
            from image_syncer.registry.tag_lists import list_huawei

            return list_huawei.LISTER
        case "quay":
            from image_syncer.registry.tag_lists import list_quay

            return list_quay.LISTER
        case "zot":
            from image_syncer.registry.tag_lists import list_zot

            return list_zot.LISTER
        case _:
            return None


def library_of(name: ListerName) -> Callable[[Listing], PageReader]:
    """Return what opens the listing *name* through a library; `ImportError` without it."""
    match name:
        case "aliyun":
            from image_syncer.registry.tag_lists.list_aliyun import open_listing
        case "aws":
            from image_syncer.registry.tag_lists.list_aws import open_listing
        case "tencent":
            from image_syncer.registry.tag_lists.list_tencent import open_listing
        case "volcengine":
            from image_syncer.registry.tag_lists.list_volcengine import open_listing
        case _:
            raise ImportError(name)
    return open_listing
