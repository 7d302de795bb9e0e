"""Immutable tags, in every form in which a vendor refuses to move one: one test per profile."""

import json
from dataclasses import replace

import pytest
from aiohttp import web

from image_syncer.errors import TagImmutable
from image_syncer.registry.vendor_profiles import VENDORS
from image_syncer.registry.vendors.vendor_profile import ErrorShape
from image_syncer.testing import FakeRegistry, profiles
from image_syncer.testing.images import single
from image_syncer.testing.profile import Profile, ProfileRefusal
from support.clients import client

OLD, NEW = single("old"), single("new")
SHAPES = {vendor.name: vendor.immutable for vendor in VENDORS if vendor.immutable is not None}
FAKES = {
    "Amazon ECR": profiles.ECR,
    "Artifactory": profiles.ARTIFACTORY,
    "Azure": profiles.ACR,
    "Harbor": profiles.HARBOR,
    "Quay": profiles.QUAY,
}
OTHERS = {
    "a text alone": ErrorShape(400, "UNKNOWN", "Tag v1 already exists"),
    "a conflict": ErrorShape(409, "TAG_ALREADY_EXISTS", ""),
    "an empty 412": ErrorShape(412, "", ""),
    "another spelling": ErrorShape(403, "DENIED", "the tag is IMMUTABLE"),
}


def refusing(name: str, shape: ErrorShape) -> Profile:
    """Return a registry of the vendor *name* with immutable tags, which refuses as *shape* says."""
    text = shape.message.replace("{tag}", "v1").replace("{path}", "app")
    refusal = ProfileRefusal(shape.status, shape.code, text)
    return replace(FAKES.get(name, profiles.OCI), immutable_tags="*", immutable=refusal)


@pytest.mark.parametrize("name", [*SHAPES, *OTHERS])
async def test_another_digest_fails_at_once_and_the_same_one_is_there_already(name: str) -> None:
    """One PUT: a retry would be refused too. The tag keeps what it had."""
    shape = SHAPES.get(name) or OTHERS[name]
    async with FakeRegistry(refusing(name, shape)) as registry, client() as registries:
        registry.load("app", OLD, "v1")
        registry.load("app", NEW)
        target = registries.target(registry.repository("app"))
        with pytest.raises(TagImmutable, match=r"app:v1: the tag is immutable; .* answered \d+") as raised:
            await target.push_manifest(NEW.root, "v1")
        assert raised.value.remedy == f"delete the tag at {registry.host} or copy to another one"
        assert not raised.value.retryable
        assert registry.requests.count(method="PUT", kind="manifest") == 1
        await target.push_manifest(OLD.root, "v1")
        assert registry.content("app").tags == {"v1": OLD.root.digest}


@pytest.mark.parametrize("name", [*SHAPES, *OTHERS])
async def test_a_refused_push_of_what_the_tag_has_is_no_failure(name: str) -> None:
    """Some registries refuse every PUT to an immutable tag: a HEAD finds the same digest."""
    shape = SHAPES.get(name) or OTHERS[name]
    body = json.dumps({"errors": [{"code": shape.code, "message": shape.message}]})

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PUT" or "/manifests/" not in request.path:
            return None
        await request.read()
        return web.Response(status=shape.status, text=body)

    async with FakeRegistry(replace(FAKES.get(name, profiles.OCI))) as registry, client() as registries:
        registry.load("app", OLD, "v1")
        registry.intercept.append(refuse)
        await registries.target(registry.repository("app")).push_manifest(OLD.root, "v1")
        assert registry.requests.count(method="HEAD", kind="manifest") == 1


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [(400, "TAG_INVALID", "not a tag"), (403, "DENIED", "no right to push"), (404, "TAG_EXPIRED", "it has expired")],
)
async def test_other_refusals_are_not_taken_for_an_immutable_tag(status: int, code: str, text: str) -> None:
    """The code of ECR alone says nothing: its text does."""
    profile = replace(profiles.OCI, immutable_tags="*", immutable=ProfileRefusal(status, code, text))
    async with FakeRegistry(profile) as registry, client() as registries:
        registry.load("app", OLD, "v1")
        registry.load("app", NEW)
        with pytest.raises(Exception, match=text) as raised:
            await registries.target(registry.repository("app")).push_manifest(NEW.root, "v1")
        assert not isinstance(raised.value, TagImmutable)
