"""Requests to the target that do not wait for the source, and the reverse."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.sync.result import Outcome
from image_syncer.testing import Account, Accounts, FakeRegistry, Profile
from image_syncer.testing.images import single
from support.syncs import sync_files

_LOGIN = {"username": "ann", "password": "secret", "insecure": True}


async def test_the_target_is_contacted_while_the_source_lists_its_tags(tmp_path: Path) -> None:
    """Scheme and token of a far target then cost no round trips of their own."""
    has_token = asyncio.Event()
    profile = Profile(auth="bearer", accounts=Accounts({"ann": Account("secret")}))

    async def hold_tags(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith("/tags/list"):
            await has_token.wait()
        return None

    async def note_token(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith("/token"):
            has_token.set()
        return None

    async with FakeRegistry() as source, FakeRegistry(profile) as target, asyncio.timeout(20):
        source.load("app", single("app"), "v1")
        source.intercept.append(hold_tags)
        target.intercept.append(note_token)
        images = {f"{source.host}/app": f"{target.host}/app"}
        result = await sync_files(tmp_path, images, auth={target.host: _LOGIN})
    assert [entry.outcome for entry in result.results] == [Outcome.COPIED]
    assert (target.requests.count(kind="ping"), target.requests.count(kind="token")) == (1, 1)


async def test_a_target_that_is_down_delays_no_listing(tmp_path: Path) -> None:
    """Its failure comes from the requests about its images."""
    async with FakeRegistry() as source:
        source.load("app", single("app"), "v1")
        result = await sync_files(tmp_path, {f"{source.host}/app": "127.0.0.1:1/app"})
    assert [entry.outcome for entry in result.results] == [Outcome.FAILED]
    assert source.requests.count(kind="tags") == 1


async def _as_if_far(_: web.Request) -> web.StreamResponse | None:
    """Delay a request by the round trip of a far registry."""
    await asyncio.sleep(0.04)
    return None


@pytest.mark.parametrize(("is_new", "looks"), [(True, 1), (False, 3)])
async def test_the_blobs_of_a_new_repository_far_away_are_not_looked_for(
    tmp_path: Path, is_new: bool, looks: int
) -> None:
    """One request tells that it is new, while the manifest is read. A large blob may be left of an earlier run."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", single("app", layers=[1000, 9 * 1024 * 1024]), "v1")
        if not is_new:
            target.load("app", single("other"), "v0")
        target.intercept.append(_as_if_far)
        result = await sync_files(tmp_path, {f"{source.host}/app:v1": f"{target.host}/app"})
    assert [entry.outcome for entry in result.results] == [Outcome.COPIED]
    assert target.requests.count(kind="tags") == 1
    assert target.requests.count(method="HEAD", kind="blob") == looks


async def test_the_blobs_of_a_new_image_nearby_are_looked_for(tmp_path: Path) -> None:
    """There a request more would cost as much as the ones that it saves."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", single("app", layers=[1000]), "v1")
        await sync_files(tmp_path, {f"{source.host}/app:v1": f"{target.host}/app"})
    assert (target.requests.count(kind="tags"), target.requests.count(method="HEAD", kind="blob")) == (0, 2)
