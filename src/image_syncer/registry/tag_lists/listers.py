"""The module of each vendor's listing; it is imported when it is used."""

# ruff: noqa: PLC0415 - each is needed by one vendor, and libraries are slow to import

from collections.abc import Callable

from image_syncer.registry.tag_lists.tag_lister import Lister, Listing, PageReader
from image_syncer.registry.vendors.vendor_profile import ListerName


def lister_of(name: ListerName) -> Lister | Callable[[Listing], PageReader]:
    """Return what speaks the listing *name*, or opens it through a library; `ImportError` without the library."""
    match name:
        case "harbor":
            from image_syncer.registry.tag_lists.list_harbor import LISTER
        case _:
            raise ImportError(name)
    return LISTER
