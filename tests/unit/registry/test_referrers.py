"""Referrers of a registry: what counts as its API, the tag schema where it has none, and what each costs."""

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace

import pytest
from aiohttp import web

from image_syncer.cache import MemoryHostFacts
from image_syncer.errors import MissingContent, ProtocolError, Refused, TooLarge, Unavailable
from image_syncer.oci import Digest, RawManifest, media_type
from image_syncer.oci.referrer import legacy_tags, referrer_entry, referrers_tag
from image_syncer.registry.referrers import API_FACT
from image_syncer.registry.registries import Registries
from image_syncer.testing import FakeRegistry, Image, Profile, profiles
from image_syncer.testing.images import artifact, cosign_signature, multi, single
from support.clients import Fault, RecordingObserver, client, instead

KIND = "application/vnd.example.attached"
IMAGE = multi("image")
SIGNATURE = artifact("signature", KIND, subject=IMAGE)
WITHOUT_API = replace(profiles.OCI, referrers=False)


@pytest.fixture
def profile() -> Profile:
    """The registry: with the API."""
    return profiles.OCI


@pytest.fixture
async def fake(profile: Profile) -> AsyncGenerator[FakeRegistry]:
    """A registry with an image, two tags and no referrer."""
    async with FakeRegistry(profile) as registry:
        registry.load("app", IMAGE, "v1", "v2")
        yield registry


@pytest.fixture
async def registries() -> AsyncGenerator[Registries]:
    """A client that knows nothing yet."""
    async with client() as registries:
        registries.observer = RecordingObserver()
        yield registries


async def found(registries: Registries, fake: FakeRegistry, subject: Digest = IMAGE.digest) -> set[Digest]:
    """Return the digests of the referrers at the source."""
    children = [raw.digest for raw in IMAGE.manifests]
    source = registries.referrer_source(fake.repository("app"))
    return {entry.digest for entry in await source.referrers(subject, children)}


def listing(*entries: Image, content_type: str = media_type.OCI_INDEX, **keys: object) -> web.Response:
    """Return the response that lists *entries*."""
    listed = [
        {"mediaType": one.root.media_type, "digest": str(one.digest), "size": len(one.root.content)} for one in entries
    ]
    document = {"schemaVersion": 2, "mediaType": media_type.OCI_INDEX, "manifests": listed} | keys
    return web.Response(body=json.dumps(document).encode(), headers={"Content-Type": content_type})


def index_of(*entries: Image) -> RawManifest:
    """Return the index of the tag schema that lists *entries*."""
    body = listing(*entries).body
    assert isinstance(body, bytes)
    return RawManifest.of(body, media_type.OCI_INDEX)


def load_index(fake: FakeRegistry, *entries: Image, subject: Digest = IMAGE.digest) -> RawManifest:
    """Put *entries* and the index of the tag schema that lists them into the registry."""
    for one in entries:
        fake.load("app", one)
    index = index_of(*entries)
    fake.load("app", Image(index, (index,), {}), referrers_tag(subject))
    return index


async def test_the_api_costs_one_request_for_each_subject(fake: FakeRegistry, registries: Registries) -> None:
    """Once it has listed something, an empty list is believed."""
    fake.load("app", SIGNATURE)
    assert await found(registries, fake) == {SIGNATURE.digest}
    fake.requests.clear()
    assert await found(registries, fake, IMAGE.manifests[0].digest) == set()
    assert [request.kind for request in fake.requests] == ["referrers"]


async def test_an_empty_list_of_a_new_host_is_checked_against_the_tag_schema(
    fake: FakeRegistry, registries: Registries
) -> None:
    """By the tag list, once per host."""
    assert await found(registries, fake) == set()
    assert fake.requests.count(kind="tags") == 1
    fake.requests.clear()
    assert await found(registries, fake) == set()
    assert [request.kind for request in fake.requests] == ["referrers"]


@pytest.mark.parametrize("status", [400, 404, 405, 501])
async def test_without_the_api_the_tag_schema_is_asked(fake: FakeRegistry, registries: Registries, status: int) -> None:
    """The API is asked for once per host, and the tag list once per repository."""
    fake.intercept.append(Fault(status, kind="referrers", times=99))
    load_index(fake, SIGNATURE)
    for _ in range(2):
        assert await found(registries, fake) == {SIGNATURE.digest}
        assert await found(registries, fake, IMAGE.manifests[0].digest) == set()
    assert fake.requests.count(kind="referrers") == 1
    assert fake.requests.count(kind="tags") == 1


@pytest.mark.parametrize(
    ("content_type", "keys"),
    [
        ("text/html", {}),
        ("application/json", {}),
        (media_type.OCI_INDEX, {"schemaVersion": 1}),
        (media_type.OCI_INDEX, {"manifests": None, "layers": []}),
        (media_type.OCI_INDEX, {"manifests": "none"}),
    ],
)
async def test_a_foreign_document_is_no_list(
    fake: FakeRegistry, registries: Registries, content_type: str, keys: Mapping[str, object]
) -> None:
    """Some servers answer 200 to every path."""
    fake.intercept.append(instead("GET", lambda _: listing(content_type=content_type, **keys), kind="referrers"))
    load_index(fake, SIGNATURE)
    assert await found(registries, fake) == {SIGNATURE.digest}


async def test_an_api_that_lists_nothing_though_the_tag_schema_does_is_none(
    fake: FakeRegistry, registries: Registries
) -> None:
    """The next subject is looked up by the tag schema alone."""
    fake.intercept.append(instead("GET", lambda _: listing(), kind="referrers"))
    load_index(fake, SIGNATURE)
    assert await found(registries, fake) == {SIGNATURE.digest}
    fact = await registries.facts.get(fake.host, API_FACT)
    assert fact is not None
    assert fact.value == "no"


async def test_the_image_itself_at_the_tag_of_the_tag_schema_is_no_list(
    registries: Registries,
) -> None:
    """GitLab answers so."""
    async with FakeRegistry(WITHOUT_API) as fake:
        fake.load("app", IMAGE, "v1", referrers_tag(IMAGE.digest))
        assert await found(registries, fake) == set()
        assert isinstance(registries.observer, RecordingObserver)
        assert "ignored" in registries.observer.warnings[0]


async def test_the_children_of_the_subject_are_no_referrers(fake: FakeRegistry, registries: Registries) -> None:
    """Even if a list at the tag of the tag schema repeats them."""
    fake.intercept.append(Fault(404, kind="referrers", times=99))
    children = [Image(raw, (raw,), {}) for raw in IMAGE.manifests if raw.digest != IMAGE.digest]
    load_index(fake, *children)
    assert await found(registries, fake) == set()


async def test_pages_are_followed(registries: Registries) -> None:
    """Each referrer once."""
    async with FakeRegistry(replace(profiles.OCI, page_limit=2, pages="always")) as fake:
        fake.load("app", IMAGE, "v1")
        attached = [artifact(str(number), KIND, subject=IMAGE) for number in range(5)]
        for one in attached:
            fake.load("app", one)
        assert await found(registries, fake) == {one.digest for one in attached}
        assert fake.requests.count(kind="referrers") == 3


async def test_pages_that_form_a_loop_are_refused(fake: FakeRegistry, registries: Registries) -> None:
    """They would never end."""

    def page(request: web.Request) -> web.Response:
        response = listing(SIGNATURE)
        response.headers["Link"] = f'<{request.path}?last=1>; rel="next"'
        return response

    fake.intercept.append(instead("GET", page, kind="referrers"))
    with pytest.raises(ProtocolError, match="form a loop"):
        await found(registries, fake)


async def test_a_page_at_another_host_is_refused(fake: FakeRegistry, registries: Registries) -> None:
    """No request goes there."""

    def page(_: web.Request) -> web.Response:
        response = listing(SIGNATURE)
        response.headers["Link"] = '<https://elsewhere.test/v2/app/referrers/x>; rel="next"'
        return response

    fake.intercept.append(instead("GET", page, kind="referrers"))
    with pytest.raises(ProtocolError, match="at another host"):
        await found(registries, fake)


async def test_endless_lists_end(fake: FakeRegistry, registries: Registries) -> None:
    """More than a thousand referrers of one subject are too many."""
    pages = 0

    def page(request: web.Request) -> web.Response:
        nonlocal pages
        pages += 1
        many = [
            {"mediaType": media_type.OCI_MANIFEST, "digest": str(Digest.of(f"{pages} {number}".encode())), "size": 1}
            for number in range(400)
        ]
        response = listing(manifests=many)
        response.headers["Link"] = f'<{request.path}?last={pages}>; rel="next"'
        return response

    fake.intercept.append(instead("GET", page, kind="referrers"))
    with pytest.raises(TooLarge, match="more than 1000 referrers"):
        await found(registries, fake)
    assert pages == 3


async def test_an_outage_is_no_empty_list(fake: FakeRegistry, registries: Registries) -> None:
    """A signature would be lost."""
    fake.intercept.append(Fault(503, kind="referrers", times=99))
    with pytest.raises(Unavailable):
        await found(registries, fake)


async def test_the_answer_is_remembered_for_later_processes(fake: FakeRegistry) -> None:
    """A week long, by host."""
    facts = MemoryHostFacts()
    fake.load("app", SIGNATURE)
    for _ in range(2):
        async with client() as registries:
            registries.facts = facts
            assert await found(registries, fake) == {SIGNATURE.digest}
    fact = await facts.get(fake.host, API_FACT)
    assert fact is not None
    assert fact.value == "yes"


async def test_legacy_tags_cost_one_tag_list(fake: FakeRegistry, registries: Registries) -> None:
    """And a HEAD for each that exists."""
    tag = legacy_tags(IMAGE.digest)[0]
    fake.load("app", cosign_signature(IMAGE), tag)
    source = registries.referrer_source(fake.repository("app"))
    for raw in IMAGE.manifests:
        assert (await source.legacy_tags(raw.digest)).keys() == ({tag} if raw.digest == IMAGE.digest else set())
    assert fake.requests.count(kind="tags") == 1
    assert fake.requests.count(method="HEAD", kind="manifest") == 1


async def test_a_long_tag_list_is_not_read_for_legacy_tags(registries: Registries) -> None:
    """After two pages each tag is asked for instead; the list is tried once."""
    async with FakeRegistry(replace(profiles.OCI, page_limit=1, pages="always")) as fake:
        fake.load("app", IMAGE, *(f"v{number}" for number in range(9)), legacy_tags(IMAGE.digest)[1])
        source = registries.referrer_source(fake.repository("app"))
        for _ in range(2):
            assert (await source.legacy_tags(IMAGE.digest)).keys() == {legacy_tags(IMAGE.digest)[1]}
        assert fake.requests.count(kind="tags") == 2
        assert fake.requests.count(method="HEAD", kind="manifest") == 6


async def test_a_registry_that_does_not_confirm_the_subject_needs_the_index(
    fake: FakeRegistry, registries: Registries
) -> None:
    """Without OCI-Subject in its answer it lists nothing by itself (distribution-spec, end-7a)."""
    target = registries.referrer_target(fake.repository("app"))
    for blob in SIGNATURE.blobs.values():
        await registries.target(fake.repository("app")).push_blob(blob.descriptor, blob.open)
    assert await target.push_referrer(SIGNATURE.root)
    async with FakeRegistry(WITHOUT_API) as older:
        older.load("app", IMAGE, "v1")
        older.load("app", SIGNATURE)
        assert not await registries.referrer_target(older.repository("app")).push_referrer(SIGNATURE.root)


async def test_a_concurrent_writer_of_the_index_is_noticed(registries: Registries) -> None:
    """The index is read again after the PUT, and written again without losing the other's entry."""
    async with FakeRegistry(WITHOUT_API) as fake:
        fake.load("app", IMAGE, "v1")
        theirs = artifact("theirs", KIND, subject=IMAGE)
        fake.load("app", theirs)
        fake.load("app", SIGNATURE)
        replaced = 0

        async def other_writer(request: web.Request) -> web.StreamResponse | None:
            nonlocal replaced
            if request.method == "HEAD" and request.path.endswith(referrers_tag(IMAGE.digest)) and not replaced:
                replaced += 1
                load_index(fake, theirs)
            return None

        fake.intercept.append(other_writer)
        target = registries.referrer_target(fake.repository("app"))
        await target.list_referrers(IMAGE.digest, [referrer_entry(SIGNATURE.root)])
        assert await found(registries, fake) == {theirs.digest, SIGNATURE.digest}


async def test_writers_that_never_stop_end_with_an_error(registries: Registries) -> None:
    """The message says what to do."""
    async with FakeRegistry(WITHOUT_API) as fake:
        fake.load("app", IMAGE, "v1")
        theirs = artifact("theirs", KIND, subject=IMAGE)
        fake.load("app", theirs)
        fake.load("app", SIGNATURE)

        async def other_writer(request: web.Request) -> web.StreamResponse | None:
            if request.method == "HEAD":
                load_index(fake, theirs)
            return None

        fake.intercept.append(other_writer)
        target = registries.referrer_target(fake.repository("app"))
        with pytest.raises(Refused, match="again and again"):
            await target.list_referrers(IMAGE.digest, [referrer_entry(SIGNATURE.root)])


async def test_a_tag_of_something_else_is_kept(registries: Registries) -> None:
    """An image at the tag of the tag schema is not replaced."""
    async with FakeRegistry(WITHOUT_API) as fake:
        other = single("other")
        fake.load("app", other, referrers_tag(IMAGE.digest))
        target = registries.referrer_target(fake.repository("app"))
        with pytest.raises(Refused, match="names something else"):
            await target.list_referrers(IMAGE.digest, [referrer_entry(SIGNATURE.root)])
        assert fake.content("app").tags[referrers_tag(IMAGE.digest)] == other.digest


async def test_adding_what_is_listed_sends_no_put(registries: Registries) -> None:
    """A repeated copy changes nothing."""
    async with FakeRegistry(WITHOUT_API) as fake:
        load_index(fake, SIGNATURE)
        target = registries.referrer_target(fake.repository("app"))
        await target.list_referrers(IMAGE.digest, [referrer_entry(SIGNATURE.root)])
        assert fake.requests.count(method="PUT") == 0


async def test_entries_that_no_longer_exist_are_left_out(registries: Registries) -> None:
    """A registry refuses an index with them; nothing is lost, since nothing is there."""
    async with FakeRegistry(WITHOUT_API) as fake:
        gone, kept = artifact("gone", KIND, subject=IMAGE), artifact("kept", KIND, subject=IMAGE)
        load_index(fake, gone, kept)
        fake.load("app", SIGNATURE)
        del fake.content("app").manifests[gone.digest]
        target = registries.referrer_target(fake.repository("app"))
        await target.list_referrers(IMAGE.digest, [referrer_entry(SIGNATURE.root)])
        assert await found(registries, fake) == {kept.digest, SIGNATURE.digest}


@pytest.mark.parametrize("listed", [(), (artifact("kept", KIND, subject=IMAGE),)], ids=["no list", "a list"])
async def test_a_manifest_that_is_missing_for_a_moment_is_listed(
    registries: Registries, listed: tuple[Image, ...]
) -> None:
    """docker-registry writes the link of a manifest in place: it misses one that another client pushes again."""
    async with FakeRegistry(WITHOUT_API) as fake:
        fake.load("app", SIGNATURE)
        if listed:
            load_index(fake, *listed)
        refusals = 2

        async def refuse(request: web.Request) -> web.StreamResponse | None:
            nonlocal refusals
            if request.method != "PUT" or not refusals:
                return None
            refusals -= 1
            return web.json_response({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}, status=400)

        fake.intercept.append(refuse)
        target = registries.referrer_target(fake.repository("app"))
        await target.list_referrers(IMAGE.digest, [referrer_entry(SIGNATURE.root)])
        assert await found(registries, fake) == {one.digest for one in (SIGNATURE, *listed)}


async def test_an_entry_that_is_not_there_is_not_listed(registries: Registries) -> None:
    """One PUT finds that out, and one HEAD confirms it."""
    async with FakeRegistry(WITHOUT_API) as fake:
        kept = artifact("kept", KIND, subject=IMAGE)
        load_index(fake, kept)
        target = registries.referrer_target(fake.repository("app"))
        with pytest.raises(MissingContent):
            await target.list_referrers(IMAGE.digest, [referrer_entry(SIGNATURE.root)])
        assert (fake.requests.count(method="PUT"), fake.requests.count(method="HEAD")) == (1, 1)
        assert await found(registries, fake) == {kept.digest}


async def test_a_registry_that_misses_what_it_has_is_not_asked_for_ever(registries: Registries) -> None:
    """After four PUTs its own error is the result."""
    async with FakeRegistry(WITHOUT_API) as fake:
        fake.load("app", SIGNATURE)

        async def refuse(request: web.Request) -> web.StreamResponse | None:
            if request.method != "PUT":
                return None
            return web.json_response({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}, status=400)

        fake.intercept.append(refuse)
        target = registries.referrer_target(fake.repository("app"))
        with pytest.raises(MissingContent):
            await target.list_referrers(IMAGE.digest, [referrer_entry(SIGNATURE.root)])
        assert fake.requests.count(method="PUT") == 4
