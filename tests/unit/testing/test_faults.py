"""FakeRegistry fails as its fault script says, and counts the faults."""

import asyncio
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import aiohttp
import pytest

from image_syncer.oci import media_type as types
from image_syncer.testing import Account, Accounts, Blob, FakeRegistry, Profile, faults
from image_syncer.testing.images import single
from support.answers import code_of

CONTENT = bytes(range(256)) * 40
BLOB = Blob.of(CONTENT)
IMAGE = single("faults", layers=[BLOB])
PATH = f"/v2/app/blobs/{BLOB.digest}"
MANIFEST = "/v2/app/manifests/v1"
ACCEPT = {"Accept": ", ".join(types.ACCEPT)}


@pytest.fixture(autouse=True)
def held(registry: FakeRegistry) -> None:
    """A loaded image."""
    registry.load("app", IMAGE, "v1")


async def _status(http: aiohttp.ClientSession, path: str = PATH, method: str = "GET") -> int:
    async with http.request(method, path, headers=ACCEPT) as response:
        await response.read()
        return response.status


async def test_a_response_instead_of_the_registrys(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """With headers and the usual error code, as often as configured; other kinds of requests pass."""
    rule = registry.faults.add(faults.answer(429, headers={"Retry-After": "2"}), method="GET", kind="blob", times=2)
    async with http.get(PATH) as response:
        assert response.headers["Retry-After"] == "2"
        assert await code_of(response) == (429, "TOOMANYREQUESTS")
    assert await _status(http, MANIFEST) == 200
    assert [await _status(http) for _ in range(2)] == [429, 200]
    assert (rule.seen, rule.fired, len(registry.faults.fired)) == (3, 2, 2)
    assert [fired.request.status for fired in registry.faults.fired] == [429, 429]


@pytest.mark.parametrize(("body", "read"), [("plain text", b"plain text"), (b"", b""), (None, b"")])
async def test_a_response_has_the_given_body(
    registry: FakeRegistry, http: aiohttp.ClientSession, body: bytes | str | None, read: bytes
) -> None:
    """Even one that is not JSON; a status without a usual code has no body."""
    registry.faults.add(faults.answer(502, body=body))
    async with http.get(PATH) as response:
        assert (response.status, await response.read()) == (502, read)


async def test_some_requests_pass_first(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """*after* counts matching requests; a pattern of the path selects them."""
    registry.faults.add(faults.answer(500), path="/v2/app/manifests/*", after=1, times=1)
    assert [await _status(http, MANIFEST) for _ in range(3)] == [200, 500, 200]
    assert await _status(http) == 200


async def test_faults_apply_in_the_order_of_their_adding(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """A fault that responds hides later ones; earlier ones apply as well."""
    first = registry.faults.add(faults.headers({"Retry-After": "1"}), kind="blob")
    registry.faults.add(faults.answer(503), kind="blob", times=1)
    last = registry.faults.add(faults.without("Docker-Content-Digest"), kind="blob")
    async with http.get(PATH) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert (first.fired, last.fired) == (1, 0)
    async with http.get(PATH) as response:
        assert response.status == 200
        assert "Docker-Content-Digest" not in response.headers
    assert (first.fired, last.fired) == (2, 1)


async def test_the_seed_decides_chance() -> None:
    """The same seed selects the same requests; a chance requires a random source."""

    async def met(seed: int) -> list[int]:
        async with FakeRegistry(rng=Random(seed)) as registry, aiohttp.ClientSession(registry.url) as http:
            registry.faults.add(faults.answer(500), chance=0.3)
            return [await _status(http, "/v2/") for _ in range(60)]

    assert await met(1) == await met(1) != await met(2)
    assert 5 < (await met(1)).count(500) < 35
    with pytest.raises(ValueError, match="rng"):
        faults.Script().add(faults.answer(500), chance=0.3)


@pytest.mark.parametrize("after_bytes", [0, 1, 1_000, len(CONTENT) - 1])
async def test_a_response_is_cut(registry: FakeRegistry, http: aiohttp.ClientSession, after_bytes: int) -> None:
    """After this many bytes the connection is reset; the next response is complete."""
    registry.faults.add(faults.cut(after_bytes), method="GET", kind="blob", times=1)
    async with http.get(PATH) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.content.readexactly(after_bytes + 1)
    assert (registry.requests.bytes_out, registry.requests[-1].broken) == (after_bytes, True)
    assert await _status(http) == 200


async def test_a_response_over_tls_is_cut(private_ca: Path) -> None:
    """At the same byte of the body, however TLS frames it."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(private_ca / "server.pem", private_ca / "server.key")
    trust = ssl.create_default_context(cafile=private_ca / "ca.pem")
    async with FakeRegistry(Profile(tls=server)) as registry, aiohttp.ClientSession(registry.url) as http:
        registry.load("app", IMAGE)
        registry.faults.add(faults.cut(5_000), kind="blob")
        async with http.get(PATH, ssl=trust) as response:
            with pytest.raises(aiohttp.ClientError):
                await response.content.readexactly(5_001)
    assert (registry.requests.bytes_out, registry.requests[-1].broken) == (5_000, True)


async def test_bytes_before_a_cut_arrive(registry: FakeRegistry) -> None:
    """All of them, then the reset: a client that counts bytes gets the same number each time."""
    big = Blob.generated("big", 3_000_000)
    registry.load("app", single("big", layers=[big]))
    registry.faults.add(faults.cut(2_000_001))

    def read() -> bytes:
        host, _, port = registry.host.partition(":")
        with socket.create_connection((host, int(port)), 20) as connection:
            connection.sendall(f"GET /v2/app/blobs/{big.digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            received = bytearray()
            with suppress(ConnectionResetError):
                while chunk := connection.recv(65_536):
                    received += chunk
            return bytes(received)

    body = (await asyncio.to_thread(read)).partition(b"\r\n\r\n")[2]
    assert (len(body), big.read().startswith(body)) == (2_000_001, True)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("after_bytes", [0, 1_000])
async def test_a_request_body_is_cut(
    registry: FakeRegistry, http: aiohttp.ClientSession, method: str, after_bytes: int
) -> None:
    """The registry keeps that many bytes and reports the offset; it sent no response."""
    registry.faults.add(faults.cut(after_bytes), method=method, kind="upload")
    async with http.post("/v2/app/blobs/uploads/") as response:
        location = response.headers["Location"]
    url = f"{registry.url}{location}&digest={BLOB.digest}"
    with pytest.raises(OSError):  # noqa: PT011 -- of several classes; aiohttp would repeat a PUT by itself.
        await asyncio.to_thread(urlopen, Request(url, CONTENT, method=method))
    async with http.get(location) as response:
        assert response.headers["Range"] == f"0-{max(after_bytes - 1, 0)}"
    assert [request.status for request in registry.requests.only(method=method)] == [0]
    assert registry.requests.bytes_in == after_bytes


async def test_a_body_shorter_than_the_cut_passes(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """In both directions."""
    registry.faults.add(faults.cut(len(CONTENT)))
    assert await _status(http) == 200
    async with http.post(f"/v2/app/blobs/uploads/?digest={BLOB.digest}", data=CONTENT) as response:
        assert response.status == 201
    assert [fired.request.broken for fired in registry.faults.fired] == [False, False]


async def test_a_response_is_lost(
    registry: FakeRegistry, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """The registry has processed the request, and logs no error."""
    registry.faults.add(faults.lost(), method="POST", times=1)
    with pytest.raises(aiohttp.ClientError):
        await http.post(f"/v2/new/blobs/uploads/?digest={BLOB.digest}", data=CONTENT)
    assert caplog.text == ""
    assert await _status(http, f"/v2/new/blobs/{BLOB.digest}") == 200


async def test_a_response_drips(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """No faster than configured, and complete."""
    registry.faults.add(faults.drip(bytes_per_second=len(CONTENT) * 5), kind="blob")
    began = time.monotonic()
    async with http.get(PATH) as response:
        assert await response.read() == CONTENT
    assert time.monotonic() - began > 0.15


@pytest.mark.parametrize("after_bytes", [None, 0, 3_000])
async def test_a_pause_ends(registry: FakeRegistry, http: aiohttp.ClientSession, after_bytes: int | None) -> None:
    """Before the request or within the body; then everything continues."""
    registry.faults.add(faults.silence(0.2, after_bytes=after_bytes), kind="blob")
    began = time.monotonic()
    async with http.get(PATH) as response:
        received = await response.content.readexactly(after_bytes or 0)
        async with asyncio.timeout(10):
            assert received + await response.read() == CONTENT
    assert time.monotonic() - began > 0.15


@pytest.mark.parametrize("at", [0, 5_000, len(CONTENT) - 1])
async def test_one_byte_is_altered(registry: FakeRegistry, http: aiohttp.ClientSession, at: int) -> None:
    """Length and headers do not change; manifests can be altered as well."""
    registry.faults.add(faults.altered(at))
    async with http.get(PATH) as response:
        received = await response.read()
        assert response.headers["Docker-Content-Digest"] == str(BLOB.digest)
    assert [place for place in range(len(CONTENT)) if received[place] != CONTENT[place]] == [at]
    async with http.get(MANIFEST, headers=ACCEPT) as response:
        assert (await response.read() == IMAGE.root.content) is (at > len(IMAGE.root.content))


async def test_headers_are_removed_and_replaced(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """A session without a Location, a manifest with another manifest's digest."""
    registry.faults.add(faults.without("Location", "range"), method="POST")
    registry.faults.add(faults.headers({"docker-content-digest": "sha256:wrong"}), kind="manifest")
    async with http.post("/v2/app/blobs/uploads/") as response:
        assert response.status == 202
        assert not response.headers.keys() & {"Location", "Range"}
    async with http.head(MANIFEST, headers=ACCEPT) as response:
        assert response.headers.getall("Docker-Content-Digest") == ["sha256:wrong"]


@pytest.mark.parametrize(("to", "location"), [("/there?a=b", "/there?a=b"), ("", f"{PATH}?x=1")])
async def test_a_redirect(registry: FakeRegistry, http: aiohttp.ClientSession, to: str, location: str) -> None:
    """To a URL as it is, or to the same path on another host."""
    registry.faults.add(faults.redirect(f"http://other.test{to}"), kind="blob")
    async with http.get(f"{PATH}?x=1", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, f"http://other.test{location}")


async def test_only_authorized_requests_are_redirected() -> None:
    """A redirect does not bypass the login."""
    profile = Profile(auth="basic", accounts=Accounts({"ann": Account("secret")}))
    async with FakeRegistry(profile) as registry, aiohttp.ClientSession(registry.url) as http:
        registry.faults.add(faults.redirect("http://other.test"), kind="blob")
        assert await _status(http) == 401


async def test_faults_are_removed(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """One by one, or all; the list of fired faults stays."""
    rule = registry.faults.add(faults.answer(500), kind="blob")
    registry.faults.add(faults.answer(503))
    assert await _status(http) == 500
    registry.faults.remove(rule)
    assert await _status(http) == 503
    registry.faults.clear()
    assert (await _status(http), len(registry.faults.fired), list(registry.faults)) == (200, 2, [])


def test_faults_can_be_added_while_the_registry_runs() -> None:
    """From any thread, and each request counts once."""
    with FakeRegistry.in_thread(rng=Random(1)) as registry:

        def ask() -> None:
            for _ in range(10):
                registry.faults.add(faults.answer(500), times=1)
                with pytest.raises(HTTPError) as caught:
                    urlopen(f"{registry.url}/v2/")
                caught.value.close()

        threads = [Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(registry.faults.fired) == 40
        assert urlopen(f"{registry.url}/v2/").status == 200
