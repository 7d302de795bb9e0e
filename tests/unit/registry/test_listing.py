import json
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import NotFound, ProtocolError, StoreError, TooLarge
from image_syncer.registry.paging import next_link
from image_syncer.registry.settings import Limits
from image_syncer.structs import replace
from image_syncer.testing import FakeRegistry, Profile
from image_syncer.testing.images import single
from support.clients import QUICK, Fault, RecordingObserver, client, instead


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry that serves at most two tags per page; `app` has five."""
    async with FakeRegistry(Profile(page_limit=2)) as registry:
        registry.load("app", single("image"), "a", "b", "c", "d", "e")
        yield registry


async def tags(fake: FakeRegistry, limits: Limits = QUICK) -> list[str]:
    """Return the tags that the client lists in `app`."""
    async with client(limits=limits) as registries:
        return [tag async for tag in registries.source(fake.repository("app")).tags()]


def page(
    found: object, link: str = "", content_type: str = "application/json"
) -> Callable[[web.Request], web.Response]:
    """Return a handler that responds with one page."""
    headers = {"Content-Type": content_type} | ({"Link": link} if link else {})
    return lambda _: web.Response(body=json.dumps(found).encode(), headers=headers)


async def test_all_pages_are_followed(fake: FakeRegistry) -> None:
    """By their links; the first request asks for the largest page that every registry accepts."""
    assert await tags(fake) == ["a", "b", "c", "d", "e"]
    listing = fake.requests.only(kind="tags")
    assert len(listing) == 3
    assert listing[0].query == (("n", "1000"),)


async def test_one_page_is_one_request() -> None:
    """A short list needs no second request."""
    async with FakeRegistry() as fake:
        fake.load("app", single("image"), "a", "b")
        assert await tags(fake) == ["a", "b"]
        assert fake.requests.count(kind="tags") == 1


async def test_an_absolute_link_to_the_same_registry_is_followed(fake: FakeRegistry) -> None:
    """Quay sends them; the query stays untouched."""
    first = Fault(200, kind="tags", body=b'{"tags": ["x"]}')
    first.headers = {"Link": f'<{fake.url}/v2/app/tags/list?n=2&last=c&orderby=%2f>; rel="next"'}
    fake.intercept.append(first)
    assert await tags(fake) == ["x", "d", "e"]


@pytest.mark.parametrize("found", [None, []])
async def test_an_empty_list_is_no_error(fake: FakeRegistry, found: list[str] | None) -> None:
    """Distribution sends null."""
    fake.intercept.append(instead("GET", page({"name": "app", "tags": found}), kind="tags"))
    assert await tags(fake) == []


async def test_entries_that_are_no_tags_are_skipped(fake: FakeRegistry) -> None:
    """Nexus lists null, Artifactory digests, and some list a tag twice."""
    found: list[object] = ["a", None, 3, "sha256:" + "0" * 64, "-x", "", "a/b", [], "b", "a", "x" * 129]
    fake.intercept.append(instead("GET", page({"tags": found}), kind="tags"))
    assert await tags(fake) == ["a", "b"]


async def test_the_content_type_does_not_matter(fake: FakeRegistry) -> None:
    """ECR sends text/plain."""
    fake.intercept.append(instead("GET", page({"tags": ["a"]}, content_type="text/plain"), kind="tags"))
    assert await tags(fake) == ["a"]


@pytest.mark.parametrize("found", [[], "x", {"tags": {}}, {"tags": "a"}])
async def test_a_malformed_list_is_an_error(fake: FakeRegistry, found: object) -> None:
    """An empty list would look like a repository without tags."""
    fake.intercept.append(instead("GET", page(found), kind="tags"))
    with pytest.raises(ProtocolError):
        await tags(fake)


async def test_a_missing_repository_is_not_found(fake: FakeRegistry) -> None:
    """The message names it."""
    async with client() as registries:
        with pytest.raises(NotFound, match=f"tags of {fake.host}/none: not found"):
            await anext(registries.source(fake.repository("none")).tags())


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.2:5000/v2/other/tags/list",
        "http://127.0.0.2:5000/v2/app/tags/list/x?/v2/app/tags/list",
        "//evil.example/x",
        "//evil.example/v2/app/tags/list",
        "ftp://x/",
        "ftp://x/v2/app/tags/list",
    ],
)
async def test_a_page_at_another_host_is_refused(fake: FakeRegistry, link: str) -> None:
    """Credentials stay with the registry."""
    fake.intercept.append(instead("GET", page({"tags": ["a"]}, f'<{link}>; rel="next"'), kind="tags"))
    with pytest.raises(ProtocolError):
        await tags(fake)


@pytest.mark.parametrize(
    "prefix",
    [
        "http://registry.internal:5000",
        "https://10.0.0.7",
        "http://127.0.0.2:5000/artifactory/api/docker/team",
        "/artifactory/api/docker/team",
    ],
)
async def test_a_link_to_the_internal_address_of_the_list_is_followed_here(fake: FakeRegistry, prefix: str) -> None:
    """A registry behind a proxy names its internal host or path: the next page is at the known one, query untouched."""
    first = Fault(200, kind="tags", body=b'{"tags": ["x"]}')
    first.headers = {"Link": f'<{prefix}/v2/app/tags/list?n=2&last=c&orderby=%2f>; rel="next"'}
    fake.intercept.append(first)
    assert await tags(fake) == ["x", "d", "e"]
    assert fake.requests.only(kind="tags")[1].query == (("n", "2"), ("last", "c"), ("orderby", "/"))


@pytest.mark.parametrize(("found", "expected"), [(["b"], ["a", "b"]), ([], ["a"]), (None, ["a"])])
async def test_a_last_page_that_links_to_itself_ends_the_list_with_a_warning(
    fake: FakeRegistry, found: list[str] | None, expected: list[str]
) -> None:
    """With new tags, or empty: there is no further page."""
    link = '</v2/app/tags/list?last=a>; rel="next"'
    fake.intercept.append(
        Fault(200, kind="tags", body=json.dumps({"tags": found}).encode(), times=9, headers={"Link": link})
    )
    fake.intercept.insert(0, Fault(200, kind="tags", body=b'{"tags": ["a"]}', headers={"Link": link}))
    observer = RecordingObserver()
    async with client() as registries:
        registries.observer = observer
        assert [tag async for tag in registries.source(fake.repository("app")).tags()] == expected
    assert observer.warnings == [f"{fake.host}/app: the last page of the tag list links to itself"]
    assert fake.requests.count(kind="tags") == 2


async def test_a_full_page_that_links_to_itself_is_an_error(fake: FakeRegistry) -> None:
    """More tags may follow, so the list must not end silently."""
    link = '</v2/app/tags/list?n=1000>; rel="next"'
    fake.intercept.append(instead("GET", page({"tags": [f"t{number}" for number in range(1000)]}, link), kind="tags"))
    with pytest.raises(ProtocolError, match="form a loop"):
        await tags(fake)


async def test_a_loop_of_pages_is_an_error(fake: FakeRegistry) -> None:
    """Tags may be missing from the list."""
    fake.intercept.append(instead("GET", page({"tags": ["a"]}, '</v2/app/tags/list?last=a>; rel="next"'), kind="tags"))
    with pytest.raises(ProtocolError, match="form a loop"):
        await tags(fake)
    assert fake.requests.count(kind="tags") == 2


@pytest.mark.parametrize(
    ("limits", "what"), [(replace(QUICK, tag_pages=2), "2 pages"), (replace(QUICK, tags=3), "3 tags")]
)
async def test_an_endless_list_ends_at_the_limits(fake: FakeRegistry, limits: Limits, what: str) -> None:
    """The server controls the number of pages, the client bounds it."""
    with pytest.raises(TooLarge, match=f"more than {what}"):
        await tags(fake, limits)


async def test_a_huge_page_is_not_read(fake: FakeRegistry) -> None:
    """The bytes of a page are bounded too."""
    with pytest.raises(TooLarge):
        await tags(fake, replace(QUICK, tag_page_bytes=10))


async def test_a_registry_that_wants_smaller_pages_gets_them(fake: FakeRegistry) -> None:
    """After one refused request."""
    fake.intercept.append(Fault(400, kind="tags", code="PAGINATION_NUMBER_INVALID"))
    assert await tags(fake) == ["a", "b", "c", "d", "e"]


async def test_a_failed_page_is_retried(fake: FakeRegistry) -> None:
    """The list does not start over."""
    fake.intercept.append(Fault(503, kind="tags", times=2))
    assert await tags(fake) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (['</a?n=1>; rel="next"'], "/a?n=1"),
        (["</a>; rel=next"], "/a"),
        (["</a>;REL = Next"], "/a"),
        (['</a>; title="x; rel=next"'], None),
        (['</a>; title="\\"; rel=next"'], None),
        (['</a>; rel="prev next"'], "/a"),
        (['</p>; rel="prev", </a,b>; rel="next"'], "/a,b"),
        (['</p>; rel="prev"', '</a>; rel="next"'], "/a"),
        (['</a>; rel="nextish"'], None),
        (['</a>; rel=prev; rel="next"'], None),
        (["</a>"], None),
        (["/a; rel=next"], None),
        ([""], None),
        ([], None),
    ],
)
def test_a_link_header_is_parsed_as_specified(values: Sequence[str], target: str | None) -> None:
    """RFC 8288: several links and parameters, quoted or not, in any case."""
    assert next_link(values) == target


@given(st.text(alphabet='<>;,"\\= relnxt/', max_size=8000))
def test_parsing_a_link_header_is_fast(value: str) -> None:
    """For any header value of a registry."""
    found = next_link([value])
    assert found is None or found in value


async def test_an_error_on_a_later_page_is_raised(fake: FakeRegistry) -> None:
    """The tags of the first page alone are no complete list."""
    first = Fault(200, kind="tags", body=b'{"tags": ["a"]}', headers={"Link": '</v2/none/tags/list>; rel="next"'})
    fake.intercept.append(first)
    with pytest.raises(StoreError, match="not found"):
        await tags(fake)


async def test_digests_in_a_listing_are_kept() -> None:
    """Google's registries include the digest of every tag; most registries do not."""
    for tells in (True, False):
        async with (
            FakeRegistry(Profile(page_limit=2, listed_digests=tells)) as fake,
            client(limits=QUICK) as registries,
        ):
            fake.load("app", single("one"), "a", "b", "c")
            source = registries.source(fake.repository("app"))
            assert source.listed_digests() == {}
            assert [tag async for tag in source.tags()] == ["a", "b", "c"]
            assert source.listed_digests() == (dict.fromkeys(["a", "b", "c"], single("one").digest) if tells else {})
            uploaded_at = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
            assert source.listed_dates() == (dict.fromkeys(["a", "b", "c"], uploaded_at) if tells else {})


@pytest.mark.parametrize("text", ["x", "", "-1", "1" * 15, "\u0661", 1700000000000, None])
async def test_a_malformed_time_in_a_listing_is_ignored(fake: FakeRegistry, text: object) -> None:
    """The digest counts; the time at which the image was created, as its builder claims, is no time of an upload."""
    entry = {"tag": ["a"], "timeUploadedMs": text, "timeCreatedMs": "1700000000000"}
    body = json.dumps({"tags": ["a"], "manifest": {str(single("x").digest): entry}}).encode()
    fake.intercept.append(Fault(200, kind="tags", body=body))
    async with client(limits=QUICK) as registries:
        source = registries.source(fake.repository("app"))
        assert [tag async for tag in source.tags()] == ["a"]
        assert (source.listed_digests(), source.listed_dates()) == ({"a": single("x").digest}, {})


@pytest.mark.parametrize(
    "manifest",
    [
        "x",
        7,
        [],
        {"sha256:short": {"tag": ["a"]}},
        {str(single("x").digest): 7},
        {str(single("x").digest): {"tag": [7]}},
    ],
)
async def test_malformed_digests_in_a_listing_are_ignored(fake: FakeRegistry, manifest: object) -> None:
    """The tags are listed all the same."""
    body = json.dumps({"tags": ["a"], "manifest": manifest}).encode()
    fake.intercept.append(Fault(200, kind="tags", body=body))
    async with client(limits=QUICK) as registries:
        source = registries.source(fake.repository("app"))
        assert [tag async for tag in source.tags()] == ["a"]
        assert source.listed_digests() == {}
