"""Fake registries for the store contract, one per profile."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from image_syncer.structs import replace
from image_syncer.testing import FakeRegistry, profiles
from support.places import Place, registry_place

_BARE = replace(profiles.OCI, name="bare", head="no digest", referrers=False, ranges=False, null_tags=True)
_BASIC = replace(profiles.OCI, name="basic", login="basic")
_DISTRIBUTION = replace(profiles.DISTRIBUTION_2_8, layer_urls=("https://",))  # As `DockerRegistry` is configured.
FAKES = {profile.name: profile for profile in (*profiles.ALL, _DISTRIBUTION, profiles.MONOLITHIC, _BARE, _BASIC)}
"""Profiles by name: known products, combinations that make a poor registry, and another login."""

THREADED = ("oci", "zot", "ecr", "monolithic")
"""Profiles that are tested with threads too: one for each way of a body, since the others send and receive the same.

Chunks, one POST, blobs elsewhere, and uploads in one piece.
"""


@asynccontextmanager
async def place_at(fake: FakeRegistry, prefix: str) -> AsyncGenerator[Place]:
    """Return a place at *fake*, with a login if it requires one."""
    async with registry_place(fake.host, fake.replace_blob, prefix, login=fake.profile.auth != "none") as place:
        yield replace(place, profile=fake.profile)
