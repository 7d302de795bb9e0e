"""Fake registries for the contract of stores: one with each set of habits."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from image_syncer.testing import FakeRegistry, profiles
from support.places import Place, registry_place

_BARE = replace(profiles.OCI, name="bare", head="no digest", referrers=False, ranges=False, null_tags=True)
_BASIC = replace(profiles.OCI, name="basic", login="basic")
FAKES = {profile.name: profile for profile in (*profiles.ALL, profiles.MONOLITHIC, _BARE, _BASIC)}
"""Habits by name: those of known products, those of none that add up to a poor registry, and another login."""


@asynccontextmanager
async def place_at(fake: FakeRegistry, prefix: str) -> AsyncGenerator[Place]:
    """Return a place at *fake* for who has a login, if it wants one."""
    async with registry_place(fake.host, fake.plant, prefix, login=fake.profile.auth != "none") as place:
        yield replace(place, profile=fake.profile)
