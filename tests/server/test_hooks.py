"""Native webhooks: authenticated as sent, parsed, recorded, and only then answered."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator
from io import BytesIO
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from image_syncer.events.oidc import GOOGLE_ISSUERS, Jwt
from image_syncer.events.signatures import Basic, Bearer, StaticHeader, UrlSecret, signed
from image_syncer.server.server_settings import HookSource, ServerSettings
from image_syncer.structs import replace
from server.serving import FixedKeys, Running, basic, running

REGISTRY = "registry.example.com"
SECRET = "a-secret-of-32-characters-0123456"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SETTINGS = ServerSettings(
    hooks={
        "open": HookSource("distribution", REGISTRY),
        "static": HookSource("distribution", REGISTRY, (StaticHeader(f"Bearer {SECRET}"),)),
        "basic": HookSource("distribution", REGISTRY, (Basic("user", SECRET),)),
        "bearer": HookSource("distribution", REGISTRY, (Bearer(SECRET),)),
        "url": HookSource("distribution", REGISTRY, (UrlSecret(SECRET),)),
        "rolling": HookSource("distribution", REGISTRY, (Bearer("new"), Bearer("old"))),
        "github": HookSource("github", "ghcr.io", (signed("github", SECRET),)),
        "nexus": HookSource("nexus", REGISTRY, (signed("nexus", SECRET),)),
        "pubsub": HookSource("pubsub", "europe-docker.pkg.dev", (Jwt(GOOGLE_ISSUERS, "our-audience"),)),
        "acr": HookSource("acr", "myreg.azurecr.io", (UrlSecret(SECRET),)),
        "plain": HookSource("plain", None, (Bearer(SECRET),)),
    },
    body_seconds=1.5,
    patience_seconds=1,
)
BEARER = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture
async def site() -> AsyncGenerator[Running]:
    """A server with a source for every kind of proof."""
    async with running(SETTINGS) as server:
        yield server


def envelope(tag: str = "1.4.2", action: str = "push", repository: str = "team/app") -> bytes:
    """Return a notification of a Distribution registry."""
    target = {"mediaType": MANIFEST, "repository": repository, "tag": tag, "digest": f"sha256:{'3f' * 32}"}
    return json.dumps({"events": [{"id": "e-1", "action": action, "target": target}]}).encode()


async def test_accepted_means_recorded(site: Running) -> None:
    """202 names the events, which are durable by then."""
    async with site.client.post("/hooks/open", data=envelope()) as response:
        answer = await response.json()
    assert response.status == 202
    assert answer["events"] == [{"id": 1, "reference": f"{REGISTRY}/team/app:1.4.2", "rules": ["team"]}]
    assert [(row.source, row.tag) for row in await site.events()] == [("open", "1.4.2")]


async def test_other_kinds_of_events_are_ignored_with_the_reason(site: Running) -> None:
    """200, since senders repeat or stop after an error."""
    async with site.client.post("/hooks/open", data=envelope(action="pull")) as response:
        answer = await response.json()
    assert (response.status, answer["status"]) == (200, "ignored")
    assert "pull" in answer["reason"]
    assert not await site.events()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"nonsense", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"events": 1}', 400),
        (b'{"events": NaN}', 400),
        (b'{"events": ' + b"[" * 100_000, 400),
        (b'{"a":' * 33 + b"1" + b"}" * 33, 400),
        (b" " * (1024 * 1024 + 1), 413),
    ],
)
async def test_malformed_bodies_are_refused(site: Running, body: bytes, status: int) -> None:
    """400 for malformed or deeply nested bodies, 413 beyond the limit; nothing is recorded."""
    assert await site.status("POST", "/hooks/open", data=BytesIO(body)) == status
    assert not await site.events()


async def test_a_body_of_unknown_length_is_bounded() -> None:
    """413 as soon as the limit is exceeded."""

    async def pieces() -> AsyncGenerator[bytes]:
        yield envelope()
        for _ in range(10):
            yield b" " * 100

    for limit, status in ((1000, 413), (2000, 202)):
        async with running(ServerSettings(hooks=SETTINGS.hooks, body_limit_bytes=limit)) as site:
            assert await site.status("POST", "/hooks/open", data=pieces()) == status


async def test_every_event_of_an_envelope_is_recorded(site: Running) -> None:
    """One notification may contain several tags; an invalid one is left out."""
    entries = [json.loads(envelope(tag))["events"][0] for tag in ("1", "2", "bad tag")]
    async with site.client.post("/hooks/open", json={"events": entries}) as response:
        answer = await response.json()
    recorded = {row.id: f"{REGISTRY}/team/app:{row.tag}" for row in await site.events()}
    assert {event["id"]: event["reference"] for event in answer["events"]} == recorded
    assert sorted(recorded.values()) == [f"{REGISTRY}/team/app:1", f"{REGISTRY}/team/app:2"]
    assert "bad tag" in answer["left_out"][0]


async def test_a_slow_body_is_408(site: Running) -> None:
    """After the timeout for bodies."""

    async def drip() -> AsyncGenerator[bytes]:
        yield b"{"
        await asyncio.sleep(3)

    assert await site.status("POST", "/hooks/open", data=drip()) == 408


async def test_a_compressed_body_is_refused(site: Running) -> None:
    """A few kilobytes could unpack to gigabytes."""
    headers = {"content-encoding": "gzip"}
    assert await site.status("POST", "/hooks/open", data=b"x", headers=headers) == 415


async def test_a_tag_with_control_characters_is_no_event(site: Running) -> None:
    """The answer quotes it, and nothing is recorded."""
    async with site.client.post("/hooks/open", data=envelope(tag="a\x1b[31m")) as response:
        assert response.status == 200
        assert "\x1b" not in (await response.json())["reason"]


async def test_an_unknown_source_is_404(site: Running) -> None:
    """With and without a secret in the path."""
    assert await site.status("POST", "/hooks/unknown", data=envelope()) == 404
    assert await site.status("POST", "/hooks/unknown/secret", data=envelope()) == 404
    assert await site.status("OPTIONS", "/hooks/unknown") == 404


async def test_only_post_is_accepted(site: Running) -> None:
    """A GET must have no effects."""
    assert await site.status("GET", "/hooks/open") == 405


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/hooks/static", {"headers": BEARER}),
        ("/hooks/basic", {"headers": basic("user", SECRET)}),
        ("/hooks/bearer", {"headers": BEARER}),
        (f"/hooks/url/{SECRET}", {}),
        (f"/hooks/url?secret={SECRET}", {}),
        ("/hooks/rolling", {"headers": {"authorization": "Bearer new"}}),
        ("/hooks/rolling", {"headers": {"authorization": "Bearer old"}}),
    ],
)
async def test_a_valid_proof_is_accepted(site: Running, path: str, options: dict[str, Any]) -> None:
    """Every way in which a sender of envelopes authenticates."""
    assert await site.status("POST", path, data=envelope(), **options) == 202


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/hooks/static", {}),
        ("/hooks/static", {"headers": {"authorization": SECRET}}),
        ("/hooks/basic", {"headers": basic("user", "wrong")}),
        ("/hooks/bearer", {"headers": {"authorization": "Bearer wrong"}}),
        ("/hooks/url", {}),
        ("/hooks/url/wrong", {}),
        ("/hooks/url?secret=wrong", {}),
        ("/hooks/rolling", {"headers": {"authorization": "Bearer older"}}),
        ("/hooks/github", {"headers": {"x-hub-signature-256": "sha256=00"}}),
        ("/hooks/pubsub", {"headers": {"authorization": "Bearer a.b.c"}}),
    ],
)
async def test_a_wrong_proof_is_401(site: Running, path: str, options: dict[str, Any]) -> None:
    """It is checked before the body is parsed: a malformed body is 401, too. The answer does not repeat the proof."""
    for body in (envelope(), b"nonsense"):
        async with site.client.post(path, data=body, **options) as response:
            assert response.status == 401
            assert "wrong" not in response.headers.get("www-authenticate", "")
            assert SECRET not in await response.text()
    assert not await site.events()


async def test_signatures_cover_the_raw_body(site: Running) -> None:
    """One changed byte, even a space, invalidates the signature."""
    body = json.dumps({"repository": {}, "component": {"format": "docker"}, "action": "DELETED"}).encode()
    headers = {"x-nexus-webhook-signature": hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()}
    assert await site.status("POST", "/hooks/nexus", data=body, headers=headers) in {200, 400}
    assert await site.status("POST", "/hooks/nexus", data=body + b" ", headers=headers) == 401


async def test_a_signed_ping_is_answered(site: Running) -> None:
    """GitHub sends it after the webhook was created."""
    body = b'{"zen": "Keep it logically awesome."}'
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-hub-signature-256": f"sha256={signature}", "x-github-event": "ping"}
    assert await site.status("POST", "/hooks/github", data=body, headers=headers) == 200


async def test_a_signed_token_is_verified_with_the_issuers_keys() -> None:
    """Pub/Sub's token is accepted for our audience only; the keys come from the key ring."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = json.loads(RSAAlgorithm.to_jwk(private.public_key())) | {"kid": "k1"}
    keys = FixedKeys({"k1": jwt.PyJWK(numbers, "RS256")})
    body = json.dumps({"message": {"data": "e30=", "messageId": "1"}, "subscription": "s"}).encode()
    async with running(SETTINGS, keys=keys) as site:
        for audience, refused in (("our-audience", False), ("another", True)):
            now = int(time.time())
            claims = {"iss": GOOGLE_ISSUERS[0], "aud": audience, "iat": now, "exp": now + 300}
            token = jwt.encode(claims, private, "RS256", headers={"kid": "k1"})
            headers = {"authorization": f"Bearer {token}"}
            assert (await site.status("POST", "/hooks/pubsub", data=body, headers=headers) == 401) is refused
    assert keys.calls == [(*GOOGLE_ISSUERS, "k1")] * 2


async def test_both_handshakes_of_event_grid_are_answered(site: Running) -> None:
    """The event of its own schema, and the OPTIONS request of CloudEvents."""
    kind = "Microsoft.EventGrid.SubscriptionValidationEvent"
    body = json.dumps([{"id": "1", "eventType": kind, "data": {"validationCode": "512d38b6"}}])
    async with site.client.post(f"/hooks/acr/{SECRET}", data=body) as response:
        assert (response.status, await response.json()) == (200, {"validationResponse": "512d38b6"})
    headers = {"webhook-request-origin": "eventgrid.azure.net"}
    async with site.client.options("/hooks/acr", headers=headers) as response:
        assert (response.status, response.headers["webhook-allowed-origin"]) == (200, "eventgrid.azure.net")
    assert await site.status("OPTIONS", "/hooks/acr") == 405


async def test_a_handshake_needs_the_proof_too(site: Running) -> None:
    """A stranger cannot subscribe this server to a topic."""
    kind = "Microsoft.EventGrid.SubscriptionValidationEvent"
    body = json.dumps([{"id": "1", "eventType": kind, "data": {"validationCode": "512d38b6"}}])
    assert await site.status("POST", "/hooks/acr/wrong", data=body) == 401


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "any.example.com/team/app", "tag": "1"}, 202),
        ({}, 200),
        ({"name": "a.example.com/b"}, 400),
        ({"name": "a.example.com/b", "tag": "snapshot"}, 400),
    ],
)
async def test_a_plain_notification_names_its_registry(site: Running, fields: dict[str, str], status: int) -> None:
    """The fork's fields with the statuses of a native source."""
    assert await site.status("POST", "/hooks/plain", json=fields, headers=BEARER) == status


async def test_nothing_is_accepted_while_the_state_is_down(site: Running) -> None:
    """503 with Retry-After; a later delivery is accepted."""
    site.databases.is_down = True
    async with site.client.post("/hooks/open", data=envelope()) as response:
        assert (response.status, response.headers["retry-after"]) == (503, "5")
    site.databases.is_down = False
    assert await site.status("POST", "/hooks/open", data=envelope()) == 202


async def test_too_many_bodies_at_once_are_503() -> None:
    """Memory is bounded; the sender succeeds later."""

    async def drip() -> AsyncGenerator[bytes]:
        yield b"{"
        reading.set()
        await turned_away.wait()
        yield envelope()[1:]

    reading, turned_away = asyncio.Event(), asyncio.Event()
    async with running(ServerSettings(hooks=SETTINGS.hooks, bodies_at_once=1)) as site, asyncio.TaskGroup() as group:
        first = group.create_task(site.status("POST", "/hooks/open", data=drip()))
        await reading.wait()
        assert await site.status("GET", "/healthz") == 200  # A whole exchange later the first body is being read.
        async with site.client.post("/hooks/open", data=envelope()) as response:
            assert (response.status, response.headers["retry-after"]) == (503, "1")
        turned_away.set()
        assert await first == 202
        assert await site.status("POST", "/hooks/open", data=envelope()) == 202


async def test_a_notification_from_another_site_is_403(site: Running) -> None:
    """A browser may hold the login of a source."""
    headers = basic("user", SECRET) | {"origin": "https://evil.example.com"}
    assert await site.status("POST", "/hooks/basic", data=envelope(), headers=headers) == 403
    assert not await site.events()


async def test_a_slow_state_blocks_no_other_request() -> None:
    """A probe is answered while a webhook waits for the state."""
    patient = replace(SETTINGS, patience_seconds=30)
    async with running(patient) as site, asyncio.TaskGroup() as group:
        site.databases.delay = 3
        waiting = group.create_task(site.status("POST", "/hooks/open", data=envelope()))
        assert await site.status("GET", "/healthz") == 200
        assert not waiting.done()
    assert waiting.result() == 202


@pytest.mark.parametrize("path", ["static", "basic", "bearer", "url/wrong", "rolling", "plain", "github", "nexus"])
async def test_strangers_are_refused_before_their_body_is_read(site: Running, path: str) -> None:
    """Without a proof in the head, or a header for a signature, the body need not arrive."""
    reader, writer = await asyncio.open_connection(site.listen.host, site.listen.port)
    writer.write(f"POST /hooks/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{{".encode())
    async with asyncio.timeout(1.0):  # Less than the timeout of a body.
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()


async def test_a_slow_body_makes_room_for_a_fast_one() -> None:
    """All places are taken by strangers at a hook with signatures; good senders are answered at once."""
    settings = ServerSettings(hooks=SETTINGS.hooks, bodies_at_once=4)
    signature = hmac.new(SECRET.encode(), b"{}", hashlib.sha256).hexdigest()
    head = f"POST /hooks/github HTTP/1.1\r\nHost: localhost\r\nX-Hub-Signature-256: sha256={signature}\r\n"
    async with running(settings) as site:
        slow = [await asyncio.open_connection(site.listen.host, site.listen.port) for _ in range(8)]
        for _, writer in slow:
            writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        await asyncio.sleep(1.2)
        statuses = [await site.status("POST", "/hooks/open", data=envelope(f"v{number}")) for number in range(20)]
        assert statuses == [202] * 20
        for _, writer in slow:
            writer.close()


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/hooks/open", b" " * (1024 * 1024 + 1), "more than 1048576 bytes"),
        ("/hooks/open", b"nonsense", "JSON"),
        ("/hooks/basic", envelope(), "authorization"),
    ],
)
async def test_the_log_line_of_a_refused_notification_names_hook_and_reason(
    site: Running, path: str, body: bytes, reason: str
) -> None:
    """Whatever refused it."""
    with structlog.testing.capture_logs() as logs:
        await site.status("POST", path, data=BytesIO(body))
    [line] = [line for line in logs if line["event"] == "http.answered"]
    assert line["source"] == path.removeprefix("/hooks/")
    assert reason.lower() in line["reason"].lower()


async def test_the_log_line_of_a_hook_names_a_full_disk(site: Running) -> None:
    """503, as a warning, with the reason."""
    site.databases.is_down = True
    with structlog.testing.capture_logs() as logs:
        assert await site.status("POST", "/hooks/open", data=envelope()) == 503
    [line] = [line for line in logs if line["event"] == "http.answered"]
    assert (line["log_level"], line["source"], line["reason"]) == ("warning", "open", "state.db: disk I/O error")


async def test_an_ignored_notification_is_logged_at_debug(site: Running) -> None:
    """A registry notifies of each pulled blob."""
    with structlog.testing.capture_logs() as logs:
        await site.status("POST", "/hooks/open", data=envelope(action="pull"))
    assert [(line["log_level"], line["outcome"]) for line in logs] == [("debug", "ignored")]
