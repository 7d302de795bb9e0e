"""Responses of test registries to plain clients."""

import asyncio

import aiohttp

from image_syncer.testing import FakeRegistry
from image_syncer.testing.artifact_kinds import twenty_kinds
from support.skopeo import Skopeo


async def code_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Return the status and the error code of a response."""
    return response.status, (await response.json())["errors"][0]["code"]


async def copy_by_skopeo(skopeo: Skopeo, registry: FakeRegistry, name: str) -> None:
    """Copy one of the twenty kinds from `from` to `to` with skopeo, and compare the copy."""
    image = twenty_kinds()[name]
    registry.load("from", image, name)
    await asyncio.to_thread(skopeo.copy, f"{registry.host}/from:{name}", f"{registry.host}/to:{name}")
    assert await asyncio.to_thread(skopeo.raw, f"{registry.host}/to:{name}") == image.root.content
    assert registry.content("to").tags[name] == image.digest
