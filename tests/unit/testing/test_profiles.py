"""FakeRegistry behaves as its profile says, one setting at a time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from image_syncer.oci import Digest
from image_syncer.oci import media_type as types
from image_syncer.structs import replace
from image_syncer.testing import Account, Accounts, Blob, FakeRegistry, Image, Profile, faults, profiles
from image_syncer.testing.fake.access import SERVICE
from image_syncer.testing.images import multi, single
from image_syncer.testing.profile import ProfileRefusal, QuotaProfile
from support.answers import code_of

ACCEPT = {"Accept": ", ".join(types.ACCEPT)}
ACCOUNTS = Accounts({"ann": Account("secret"), "bob": Account("word")}, anonymous={"*": frozenset({"pull"})})
BLOB = Blob.generated("habits", 3_000)
IMAGE = single("habits", layers=[BLOB])
MANIFEST = "/v2/app/manifests/v1"
PATH = f"/v2/app/blobs/{BLOB.digest}"
REFUSAL = ProfileRefusal(418, "TEAPOT", "no coffee")


@asynccontextmanager
async def opened(profile: Profile) -> AsyncGenerator[tuple[FakeRegistry, aiohttp.ClientSession]]:
    """A registry with *profile* and the image `app:v1`, and a client."""
    async with FakeRegistry(profile) as registry, aiohttp.ClientSession(registry.url, headers=ACCEPT) as http:
        registry.load("app", IMAGE, "v1")
        yield registry, http


async def _status(http: aiohttp.ClientSession, method: str, path: str, data: bytes | None = None) -> int:
    async with http.request(method, path, data=data) as response:
        await response.read()
        return response.status


async def _start(http: aiohttp.ClientSession, query: str = "") -> str:
    async with http.post(f"/v2/app/blobs/uploads/{query}") as response:
        assert response.status == 202
        return response.headers.get("Location") or f"/v2/app/blobs/uploads/{response.headers['Docker-Upload-UUID']}"


async def _send(
    http: aiohttp.ClientSession, location: str, content: bytes, start: int | None = None
) -> aiohttp.ClientResponse:
    chunk_range = {} if start is None else {"Content-Range": f"{start}-{start + len(content) - 1}"}
    async with http.patch(location, data=content, headers=chunk_range) as response:
        await response.read()
        return response


async def _close(http: aiohttp.ClientSession, location: str, digest: Digest, content: bytes = b"") -> int:
    return await _status(http, "PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", content)


async def _put(http: aiohttp.ClientSession, image: Image, path: str) -> tuple[int, str]:
    headers = {"Content-Type": image.root.media_type}
    async with http.put(path, data=image.root.content, headers=headers) as response:
        return await code_of(response) if response.status >= 400 else (response.status, "")


def test_every_profile_has_a_unique_name() -> None:
    """And no login until it is guarded, in the product's own way."""
    assert len({profile.name for profile in profiles.ALL}) == len(profiles.ALL) == 11
    assert {profile.auth for profile in profiles.ALL} == {"none"}
    assert profiles.ECR.guarded(ACCOUNTS).auth == "basic"
    assert profiles.GHCR.guarded(ACCOUNTS).auth == "bearer"


# Uploads.


@pytest.mark.parametrize("sent_bytes", [0, 500])
async def test_a_cut_within_a_chunk_loses_a_strict_upload(sent_bytes: int) -> None:
    """A cut before its first byte does not; other profiles report the offset in both cases."""
    for strict in (True, False):
        async with opened(replace(profiles.OCI, strict_state=strict)) as (registry, http):
            location = (await _send(http, await _start(http), BLOB.read()[:1_000])).headers["Location"]
            registry.faults.add(faults.cut(sent_bytes), method="PATCH")
            with pytest.raises(aiohttp.ClientError):
                await _send(http, location, BLOB.read()[1_000:])
            async with http.get(location) as response:
                lost = strict and sent_bytes
                assert response.status == (404 if lost else 204)
                assert response.headers.get("Range") == (None if lost else f"0-{999 + sent_bytes}")


async def test_a_lost_response_loses_a_strict_upload() -> None:
    """The client never got the newest Location."""
    async with opened(profiles.DISTRIBUTION_2_8) as (registry, http):
        location = await _start(http)
        registry.faults.add(faults.lost(), method="PATCH")
        with pytest.raises(aiohttp.ClientError):
            await _send(http, location, BLOB.read())
        assert await _status(http, "GET", location) == 404


async def test_an_upload_state_cannot_be_forged() -> None:
    """Only Locations from the registry work."""
    async with opened(profiles.OCI) as (_, http):
        location = await _start(http)
        assert (await _send(http, f"{location}0", BLOB.read())).status == 416
        assert (await _send(http, location.partition("?")[0], BLOB.read())).status == 416


@pytest.mark.parametrize(("checked", "status"), [(True, 416), (False, 202)])
async def test_the_start_of_a_chunk_may_be_unchecked(checked: bool, status: int) -> None:
    """The chunk is then appended."""
    async with opened(replace(profiles.OCI, order_checked=checked)) as (_, http):
        assert (await _send(http, await _start(http), BLOB.read(), start=7)).status == status


@pytest.mark.parametrize(
    ("profile", "beginning"),
    [
        (Profile(location="relative"), "/v2/"),
        (Profile(location="absolute"), "http://127.0.0.1:"),
        (Profile(location="none"), "/v2/"),
    ],
)
async def test_locations_have_several_forms(profile: Profile, beginning: str) -> None:
    """A path, an absolute URL, or only an id: each can be continued."""
    async with opened(profile) as (registry, http):
        location = await _start(http)
        assert location.startswith(beginning)
        response = await _send(http, location, BLOB.read()[:10])
        assert ("Location" in response.headers) is (profile.location != "none")
        location = response.headers.get("Location", location)
        async with http.get(location) as response:
            assert response.headers.get("Location", location) == location
        assert await _close(http, location, BLOB.digest, BLOB.read()[10:]) == 201
        assert registry.unfinished_uploads == 0


async def test_a_range_may_have_a_unit() -> None:
    """Quay's, in the response to GET."""
    async with opened(profiles.QUAY) as (_, http):
        sent = await _send(http, await _start(http), BLOB.read())
        async with http.get(sent.headers["Location"]) as response:
            assert (sent.headers["Range"], response.headers["Range"]) == ("0-2999", "bytes=0-2999")


async def test_a_chunk_has_a_maximum() -> None:
    """413 for a larger chunk; a whole body is not limited."""
    async with opened(replace(profiles.OCI, chunk_max_bytes=1_000)) as (_, http):
        location = await _start(http)
        assert (await _send(http, location, bytes(1_001), start=0)).status == 413
        location = (await _send(http, location, bytes(1_000), start=0)).headers["Location"]
        assert (await _send(http, location, bytes(1_001))).status == 202


async def test_a_minimum_may_be_unannounced() -> None:
    """It applies nevertheless."""
    profile = replace(profiles.OCI, chunk_min_bytes=10, chunk_min_told=False)
    async with opened(profile) as (_, http), http.post("/v2/app/blobs/uploads/") as response:
        assert "OCI-Chunk-Min-Length" not in response.headers
        location = (await _send(http, response.headers["Location"], bytes(9))).headers["Location"]
        assert (await _send(http, location, bytes(9))).status == 400


@pytest.mark.parametrize(
    ("profile", "statuses"),
    [
        (Profile(patches="many"), [202, 202]),
        (Profile(patches="one"), [202, 405]),
        (Profile(patches="none"), [405, 405]),
    ],
)
async def test_the_number_of_patches_is_limited(profile: Profile, statuses: list[int]) -> None:
    """Everything comes in one, or with the closing PUT."""
    async with opened(profile) as (_, http):
        location, seen = await _start(http), list[int]()
        for content in (BLOB.read()[:1_000], BLOB.read()[1_000:]):
            response = await _send(http, location, content)
            location = response.headers.get("Location", location)
            seen.append(response.status)
        assert seen == statuses
        rest = {"many": b"", "one": BLOB.read()[1_000:], "none": BLOB.read()}[profile.patches]
        assert await _close(http, location, BLOB.digest, rest) == 201


async def test_artifactory_ignores_the_body_of_the_closing_put() -> None:
    """One PATCH with the whole blob works."""
    async with opened(profiles.ARTIFACTORY) as (registry, http):
        assert await _close(http, await _start(http), BLOB.digest, BLOB.read()) == 400
        location = await _start(http)
        await _send(http, location, BLOB.read())
        assert await _close(http, location, BLOB.digest) == 201
        assert registry.content("app").blobs >= {BLOB.digest}


@pytest.mark.parametrize("whole", [True, False])
async def test_ecr_commits_early(whole: bool) -> None:
    """201 to the PATCH that must be the last; then there is no upload to close."""
    async with opened(replace(profiles.ECR, chunk_min_bytes=1_000)) as (registry, http):
        location, content = await _start(http), BLOB.read()
        if not whole:
            response = await _send(http, location, content[:2_500], start=0)
            assert response.status == 202
            location, content = response.headers["Location"], content[2_500:]
        response = await _send(http, location, content, start=None if whole else 2_500)
        assert response.status == 201
        assert await _close(http, location, BLOB.digest) == 404
        assert BLOB.digest in registry.content("app").blobs


@pytest.mark.parametrize(("ends", "status"), [(True, 404), (False, 204)])
async def test_a_broken_connection_may_end_an_upload(ends: bool, status: int) -> None:
    """As in zot, which keeps the upload after a chunk out of order."""
    async with opened(replace(profiles.OCI, errors_end_uploads=ends)) as (registry, http):
        location = await _start(http)
        assert (await _send(http, location, BLOB.read(), start=7)).status == 416
        assert await _status(http, "GET", location) == 204
        registry.faults.add(faults.cut(1_000), method="PATCH", times=1)
        with pytest.raises(aiohttp.ClientError):
            await _send(http, location, BLOB.read(), start=0)
        assert await _status(http, "GET", location) == status


@pytest.mark.parametrize(
    ("profile", "statuses"),
    [
        (Profile(mount="any"), [201, 201, 202]),
        (Profile(mount="named"), [202, 201, 202]),
        (Profile(mount="everywhere"), [201, 201, 201]),
        (Profile(mount="never"), [202, 202, 202]),
    ],
)
async def test_a_mount_searches_where_the_profile_says(profile: Profile, statuses: list[int]) -> None:
    """Without `from`, with the right one, with a wrong one."""
    async with opened(profile) as (_, http):
        queries = [f"?mount={BLOB.digest}{origin}" for origin in ("", "&from=app", "&from=none")]
        assert [await _status(http, "POST", f"/v2/to/blobs/uploads/{query}") for query in queries] == statuses
        assert await _status(http, "POST", "/v2/to/blobs/uploads/?from=app") == (
            405 if profile.mount == "everywhere" else 202
        )


async def test_a_mount_may_be_refused_with_an_error() -> None:
    """Pulp answers 404 and begins no upload."""
    async with opened(replace(profiles.OCI, mount_refusal=REFUSAL)) as (registry, http):
        missing = Blob.of(b"nowhere").digest
        assert await _status(http, "POST", f"/v2/to/blobs/uploads/?mount={missing}&from=app") == 418
        assert registry.unfinished_uploads == 0


async def test_a_path_outside_of_the_projects_is_refused() -> None:
    """For blobs and for manifests; a project accepts both."""
    async with opened(replace(profiles.OCI, projects=("app", "team/*"), missing_project=REFUSAL)) as (_, http):
        paths = ["team/app", "other/app"]
        assert [await _status(http, "POST", f"/v2/{path}/blobs/uploads/") for path in paths] == [202, 418]
        assert await _put(http, IMAGE, "/v2/other/app/manifests/v1") == (418, "TEAPOT")


# Manifests.


@pytest.mark.parametrize(
    ("profile", "seen"),
    [
        (Profile(head="full"), (200, True)),
        (Profile(head="no digest"), (200, False)),
        (Profile(head="refused"), (405, False)),
    ],
)
async def test_head_may_omit_the_digest_or_be_refused(profile: Profile, seen: tuple[int, bool]) -> None:
    """GET has the digest all the same."""
    async with opened(profile) as (_, http):
        async with http.head(MANIFEST) as response:
            assert (response.status, "Docker-Content-Digest" in response.headers) == seen
        async with http.get(MANIFEST) as response:
            assert response.headers["Docker-Content-Digest"] == str(IMAGE.digest)


async def test_zot_refuses_docker_types() -> None:
    """With 415; OCI types are accepted."""
    async with opened(profiles.ZOT) as (registry, http):
        docker = single("docker", docker=True)
        registry.load("app", docker)
        assert await _put(http, docker, MANIFEST) == (415, "MANIFEST_INVALID")
        assert await _put(http, IMAGE, MANIFEST) == (201, "")


async def test_ecr_requires_a_media_type_in_the_document() -> None:
    """An OCI manifest without one is refused."""
    async with opened(profiles.ECR) as (_, http):
        untyped = IMAGE.root.content.replace(b'"mediaType":"application/vnd.oci.image.manifest.v1+json",', b"")
        assert untyped != IMAGE.root.content
        headers = {"Content-Type": IMAGE.root.media_type}
        async with http.put(MANIFEST, data=untyped, headers=headers) as response:
            assert await code_of(response) == (400, "UNSUPPORTED")


@pytest.mark.parametrize(
    ("profile", "refusal"),
    [
        (profiles.HARBOR, (412, "PRECONDITION")),
        (profiles.QUAY, (409, "TAG_IMMUTABLE")),
        (profiles.ECR, (400, "TAG_INVALID")),
        (profiles.ACR, (405, "DENIED")),
        (profiles.ARTIFACTORY, (403, "DENIED")),
    ],
)
async def test_a_tag_may_be_immutable(profile: Profile, refusal: tuple[int, str]) -> None:
    """The same manifest is accepted again, another one is not; other tags move."""
    async with opened(replace(profile, immutable_tags="v*")) as (registry, http):
        other = single("other")
        registry.load("app", other)
        assert await _put(http, IMAGE, MANIFEST) == (201, "")
        assert await _put(http, other, MANIFEST) == refusal
        assert [await _put(http, image, "/v2/app/manifests/latest") for image in (IMAGE, other)] == [(201, "")] * 2


@pytest.mark.parametrize(
    ("profile", "answer"),
    [
        (profiles.OCI, (404, "MANIFEST_BLOB_UNKNOWN")),
        (profiles.HARBOR, (400, "MANIFEST_BLOB_UNKNOWN")),
        (Profile(sparse_index=True), (201, "")),
    ],
)
async def test_few_profiles_accept_a_sparse_index(profile: Profile, answer: tuple[int, str]) -> None:
    """The others name the missing manifest, each with its own status; an image without its blobs is always refused."""
    async with opened(profile) as (_, http):
        assert await _put(http, multi("sparse"), MANIFEST) == answer
        assert (await _put(http, single("no blobs"), MANIFEST))[1] == "MANIFEST_BLOB_UNKNOWN"


async def test_harbor_has_its_own_code_for_missing_content() -> None:
    """For manifests, and for the tags of a missing repository."""
    async with opened(profiles.HARBOR) as (_, http):
        for path in ("/v2/app/manifests/no", "/v2/no/manifests/v1", "/v2/no/tags/list"):
            async with http.get(path) as response:
                assert await code_of(response) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("profile", "statuses"),
    [
        (Profile(deletes="tags"), [202, 202]),
        (Profile(deletes="digests"), [418, 202]),
        (Profile(deletes="nothing"), [418, 418]),
    ],
)
async def test_deletion_depends_on_the_profile(profile: Profile, statuses: list[int]) -> None:
    """By tag and by digest, only by digest, not at all."""
    async with opened(replace(profile, undeletable=REFUSAL)) as (_, http):
        paths = [MANIFEST, f"/v2/app/manifests/{IMAGE.digest}"]
        assert [await _status(http, "DELETE", path) for path in paths] == statuses
        assert await _status(http, "DELETE", PATH) == (418 if profile.deletes == "nothing" else 202)


# Blobs.


async def test_blobs_are_redirected_to_a_storage_host() -> None:
    """GET is redirected, HEAD is not; ranges work there as well, and both hosts count."""
    async with opened(profiles.GHCR) as (registry, http):
        async with http.get(PATH, headers={"Range": "bytes=1000-"}) as response:
            assert (response.status, await response.read()) == (206, BLOB.read()[1_000:])
            assert response.url.authority == registry.elsewhere.host
        assert await _status(http, "HEAD", PATH) == 200
        assert [request.status for request in registry.requests] == [307, 200]
        assert (registry.elsewhere.requests.count(kind="blob"), registry.elsewhere.requests.bytes_out) == (1, 2_000)
    with pytest.raises(RuntimeError, match="does not redirect blobs"):
        assert FakeRegistry().elsewhere


async def test_the_storage_host_requires_a_valid_signature_and_no_login() -> None:
    """400 for a request with credentials, 403 for an altered or expired URL."""
    async with opened(profiles.GHCR) as (registry, http):
        async with http.get(PATH, allow_redirects=False) as response:
            url = response.headers["Location"]
        async with http.get(url, headers={"Authorization": "Bearer token"}) as response:
            assert response.status == 400
        assert [await _status(http, "GET", place) for place in (url, f"{url}0")] == [200, 403]
        registry.elsewhere.expire()
        assert await _status(http, "GET", url) == 403
    async with opened(replace(profiles.GHCR, signed_seconds=-1)) as (_, http):
        assert await _status(http, "GET", PATH) == 403


async def test_the_storage_host_has_its_own_fault_script() -> None:
    """Its faults do not affect the registry."""
    async with opened(profiles.GHCR) as (registry, http):
        registry.elsewhere.faults.add(faults.answer(503), kind="blob", times=1)
        assert [await _status(http, "GET", PATH) for _ in range(2)] == [503, 200]
        assert (len(registry.faults.fired), len(registry.elsewhere.faults.fired)) == (0, 1)


async def test_a_registry_without_ranges_sends_everything() -> None:
    """With status 200."""
    async with (
        opened(replace(profiles.OCI, ranges=False)) as (_, http),
        http.get(PATH, headers={"Range": "bytes=1000-"}) as response,
    ):
        assert (response.status, await response.read()) == (200, BLOB.read())
        assert response.headers["Accept-Ranges"] == "none"


# Listings.


async def _tags(http: aiohttp.ClientSession, query: str = "") -> tuple[list[str] | None, str]:
    async with http.get(f"/v2/app/tags/list{query}") as response:
        assert response.status == 200
        link = response.headers.get("Link", "")
        return (await response.json(content_type=None))["tags"], link[1:].partition(">")[0]


async def _all_tags(http: aiohttp.ClientSession, query: str) -> list[str]:
    found: list[str] = []
    while True:
        page, link = await _tags(http, query)
        found += page or []
        if not link:
            return found
        query = f"?{link.partition('?')[2]}"


@pytest.mark.parametrize(
    ("habits", "first", "begins"),
    [
        ({}, ["a", "b"], "/v2/app/tags/list?n=2&last=b"),
        ({"pages": "never"}, ["a", "b", "c", "v1"], ""),
        ({"link": "absolute"}, ["a", "b"], "http://127.0.0.1:"),
        ({"link": "absent"}, ["a", "b"], ""),
        ({"link_query": {"orderby": ""}}, ["a", "b"], "/v2/app/tags/list?n=2&last=b&orderby="),
        ({"cursor": "token"}, ["a", "b"], "/v2/app/tags/list?n=2&next_page="),
        ({"cursor": "existing"}, ["a", "b"], "/v2/app/tags/list?n=2&last=b"),
    ],
)
async def test_pages_have_several_forms(habits: dict[str, Any], first: list[str], begins: str) -> None:
    """Following the link finds every entry."""
    async with opened(Profile(**habits)) as (registry, http):
        registry.load("app", IMAGE, "c", "a", "b")
        page, link = await _tags(http, "?n=2")
        assert page == first
        assert link.startswith(begins)
        assert bool(link) is bool(begins)
        if link:
            assert await _all_tags(http, "?n=2") == ["a", "b", "c", "v1"]


async def test_a_list_is_paged_only_on_request() -> None:
    """As in Harbor."""
    async with opened(replace(profiles.HARBOR, page_limit=2)) as (registry, http):
        registry.load("app", IMAGE, "a", "b")
        assert (await _tags(http))[0] == ["a", "b", "v1"]
        assert (await _tags(http, "?n=9"))[0] == ["a", "b"]


async def test_an_invalid_page_start_is_refused() -> None:
    """Quay requires its own token, zot an existing tag, ECR at most a thousand entries."""
    async with opened(profiles.ZOT) as (_, http):
        assert await _status(http, "GET", "/v2/app/tags/list?last=u") == 404
    async with opened(profiles.QUAY) as (_, http):
        assert (await _tags(http, "?last=v1"))[0] == ["v1"]
    async with opened(profiles.ECR) as (_, http):
        async with http.get("/v2/app/tags/list?n=1001") as response:
            assert await code_of(response) == (400, "PAGINATION_NUMBER_INVALID")
        async with http.get("/v2/app/tags/list?n=1000") as response:
            assert (response.status, response.content_type) == (200, "text/plain")


async def test_lists_have_oddities() -> None:
    """A null for an empty list, digests among tags, no order, and no catalog."""
    async with opened(replace(profiles.OCI, null_tags=True)) as (registry, http):
        registry.content("app").tags.clear()
        assert await _tags(http) == (None, "")
    async with opened(profiles.ARTIFACTORY) as (registry, http):
        other = single("other")
        registry.load("app", other)
        assert await _tags(http) == ([str(other.digest), "v1"], "")
    async with opened(profiles.DISTRIBUTION_2_8) as (registry, http):
        registry.load("app", IMAGE, "c", "a")
        assert await _tags(http) == (["v1", "c", "a"], "")
    async with opened(profiles.DOCKER_HUB) as (_, http):
        assert await _status(http, "GET", "/v2/_catalog") == 404


# Logins.


async def _token(registry: FakeRegistry, http: aiohttp.ClientSession, user: str = "") -> dict[str, str]:
    headers = {"Authorization": aiohttp.encode_basic_auth(user, ACCOUNTS.users[user].password)} if user else {}
    asked = {"service": SERVICE, "scope": "repository:app:pull"}
    async with http.get(registry.profile.token_path, params=asked, headers=headers) as response:
        return await response.json()


async def test_acr_has_its_own_token_path_and_omits_the_lifetime() -> None:
    """The challenge names it."""
    async with opened(profiles.ACR.guarded(ACCOUNTS)) as (registry, http):
        async with http.get("/v2/") as response:
            assert f'realm="{registry.url}/oauth2/token"' in response.headers["WWW-Authenticate"]
        answer = await _token(registry, http, "ann")
        assert answer.keys() == {"token"}
        async with http.get(MANIFEST, headers={"Authorization": f"Bearer {answer['token']}"}) as response:
            assert response.status == 200


async def test_harbor_challenges_by_the_credentials_of_the_request() -> None:
    """For a token if there are none, for Basic if a token is invalid; a password is accepted directly."""
    async with opened(profiles.HARBOR.guarded(ACCOUNTS)) as (_, http):
        seen: list[tuple[int, str]] = []
        basic = aiohttp.encode_basic_auth("ann", "secret")
        shown: list[dict[str, str]] = [{}, {"Authorization": "Bearer old"}, {"Authorization": basic}]
        for header in shown:
            async with http.get(MANIFEST, headers=header) as response:
                seen.append((response.status, response.headers.get("WWW-Authenticate", "").partition(" ")[0]))
        assert seen == [(401, "Bearer"), (401, "Basic"), (200, "")]


@pytest.mark.parametrize("retry_after", [True, False])
async def test_pulls_are_counted_per_account(retry_after: bool) -> None:
    """GET of a manifest counts, HEAD does not, and each account has its own quota, until a new window begins."""
    quota = QuotaProfile(pulls=2, window_seconds=3_600, retry_after=retry_after)
    async with opened(replace(profiles.DOCKER_HUB, quota=quota).guarded(ACCOUNTS)) as (registry, http):
        tokens = {user: (await _token(registry, http, user))["token"] for user in ("ann", "bob", "")}

        async def pull(user: str, method: str = "GET") -> tuple[int, str]:
            async with http.request(method, MANIFEST, headers={"Authorization": f"Bearer {tokens[user]}"}) as response:
                assert response.headers["ratelimit-limit"] == "2;w=3600"
                assert response.headers["docker-ratelimit-source"] == (user or "127.0.0.1")
                assert ("Retry-After" in response.headers) is (retry_after and response.status == 429)
                return response.status, response.headers["ratelimit-remaining"].partition(";")[0]

        assert [await pull("ann") for _ in range(3)] == [(200, "1"), (200, "0"), (429, "0")]
        assert await pull("ann", "HEAD") == (200, "0")
        assert [await pull(user) for user in ("bob", "")] == [(200, "1")] * 2
        registry.turn_quota()
        assert await pull("ann") == (200, "1")


async def test_a_window_ends_by_itself() -> None:
    """After its time."""
    async with opened(replace(profiles.DOCKER_HUB, quota=QuotaProfile(pulls=1, window_seconds=1))) as (_, http):
        assert [await _status(http, "GET", MANIFEST) for _ in range(2)] == [200, 429]
        await asyncio.sleep(1.0)
        assert await _status(http, "GET", MANIFEST) == 200
