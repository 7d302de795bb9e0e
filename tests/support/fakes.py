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


_READING = ("login", "blobs_elsewhere", "canonical_digests", "go_ranges", "ranges")
_UPLOADING = (
    *("login", "single_post", "chunk_min_bytes", "chunk_min_told", "chunk_max_bytes", "patches", "closing_content"),
    *("commits_early", "order_checked", "strict_state", "errors_end_uploads", "mismatch_ends_upload", "location"),
    *("range_unit", "blobs_elsewhere"),
)


def _distinct(*fields: str) -> tuple[str, ...]:
    """Return a profile for each combination of *fields* that one of `FAKES` has."""
    found = dict[tuple[object, ...], str]()
    for name, profile in FAKES.items():
        found.setdefault(tuple(getattr(profile, field) for field in fields), name)
    return tuple(found.values())


READING = _distinct(*_READING)
"""The profiles that differ in how a blob is read: the content of blobs is tested with these alone."""
UPLOADING = _distinct(*_UPLOADING)
"""The profiles that differ in how a blob is uploaded and read."""


@asynccontextmanager
async def place_at(fake: FakeRegistry, prefix: str) -> AsyncGenerator[Place]:
    """Return a place at *fake*, with a login if it requires one."""
    async with registry_place(fake.host, fake.replace_blob, prefix, login=fake.profile.auth != "none") as place:
        yield replace(place, profile=fake.profile)
