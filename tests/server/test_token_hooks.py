"""Signed tokens over HTTP: a sender presents one, and the server fetches the issuer's keys."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, get_args

import jwt
import pytest

from image_syncer.config.model import HookKind
from image_syncer.daemon.jwks import IssuerKeys
from image_syncer.errors import UsageError
from image_syncer.events import DIALECTS
from image_syncer.events.oidc import GOOGLE_ISSUERS, Jwt
from image_syncer.registry.http.json_fetch import JsonFetcher
from image_syncer.server.server_settings import HookSource, ServerSettings
from server.serving import Running, event_rule, running
from support.issuers import DISCOVERY, KEYS, Issuer, open_issuer, private_key
from unit.events.payloads import EVENT_GRID, GAR, JFROG, NEXUS, SAMPLES, pubsub

AUDIENCE, EMAIL = "https://sync.example.com/hooks/gar", "push@my-project.iam.gserviceaccount.com"
ACCOUNT: dict[str, Any] = {"email": EMAIL, "email_verified": True}
GAR_BODY = json.dumps(pubsub(GAR)).encode()
DOWN_SECONDS = 10


@dataclass(frozen=True)
class Desk:
    """A server with webhooks that accept tokens of *issuer*."""

    site: Running
    issuer: Issuer

    async def push(self, headers: dict[str, str], path: str = "/hooks/gar", body: bytes = GAR_BODY) -> int:
        """Return the status of a notification; a refused one leaves nothing behind."""
        before = await self._deliveries()
        status = await self.site.status("POST", path, data=body, headers=headers)
        assert (await self._deliveries() > before) is (status == 202)
        return status

    async def _deliveries(self) -> int:
        """Return the number of recorded deliveries, repeated ones included."""
        return sum(1 + event.repetitions for event in await self.site.events())


@pytest.fixture
async def desk() -> AsyncGenerator[Desk]:
    """A webhook for Pub/Sub's tokens, and one for Entra ID's, which name no account."""
    async with open_issuer() as issuer, JsonFetcher({}, seconds=10.0) as documents:
        hooks = {
            "gar": HookSource("pubsub", "europe-docker.pkg.dev", (Jwt((issuer.url,), AUDIENCE, EMAIL),)),
            "acr": HookSource("acr", "myreg.azurecr.io", (Jwt((issuer.url,), "api://sync"),)),
        }
        rules = [event_rule("europe-docker.pkg.dev", "**")]
        async with running(
            ServerSettings(hooks=hooks, patience_seconds=2), rules=rules, keys=IssuerKeys(documents)
        ) as site:
            yield Desk(site, issuer)


async def test_a_push_to_artifact_registry_is_accepted_with_its_token(desk: Desk) -> None:
    """Pub/Sub's envelope becomes an event; the keys are fetched once."""
    for _ in range(3):
        assert await desk.push(desk.issuer.proof(AUDIENCE, **ACCOUNT)) == 202
    row = (await desk.site.events())[0]
    assert (row.source, row.repository, row.tag) == ("gar", "europe-docker.pkg.dev/team/app", "1.4.2")
    assert desk.issuer.requests == {DISCOVERY: 1, KEYS: 1}


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example.com"},
        {"iss": "https://stranger.example.com"},
        {"email": "stranger@other.iam.gserviceaccount.com"},
        {"email_verified": False},
        {"exp": 1_700_000_000},
        {"exp": None},
    ],
)
async def test_another_token_of_the_issuer_is_401(desk: Desk, claims: dict[str, Any]) -> None:
    """For another audience or account, from another issuer, or expired."""
    assert await desk.push(desk.issuer.proof(AUDIENCE, **ACCOUNT | claims)) == 401


async def test_an_unsigned_token_is_401_without_a_request(desk: Desk) -> None:
    """No algorithm, an HMAC, no token at all: the issuer's keys are not fetched."""
    claims = jwt.decode(desk.issuer.token(AUDIENCE, **ACCOUNT), options={"verify_signature": False})
    secret = "a secret that everybody knows, long enough for the library"
    for key, algorithm in (("", "none"), (secret, "HS256")):
        text = jwt.encode(claims, key, algorithm, headers={"kid": "k1"})
        assert await desk.push({"authorization": f"Bearer {text}"}) == 401
    assert await desk.push({}) == 401
    assert not desk.issuer.requests


async def test_a_token_of_a_strangers_key_is_401(desk: Desk) -> None:
    """With a key id of its own, and with that of the issuer's key."""
    assert await desk.push(desk.issuer.proof(AUDIENCE, kid="stranger", **ACCOUNT)) == 401
    claims = jwt.decode(desk.issuer.token(AUDIENCE, **ACCOUNT), options={"verify_signature": False})
    forged = jwt.encode(claims, private_key("stranger"), "RS256", headers={"kid": "k1"})
    assert await desk.push({"authorization": f"Bearer {forged}"}) == 401


async def test_while_the_issuer_is_down_webhooks_are_503(desk: Desk) -> None:
    """With Retry-After, and without the issuer's address; nothing is accepted."""
    desk.issuer.status = 500
    headers = desk.issuer.proof(AUDIENCE, **ACCOUNT)
    async with desk.site.client.post("/hooks/gar", data=GAR_BODY, headers=headers) as response:
        assert response.status == 503
        assert 1 <= int(response.headers["retry-after"]) <= DOWN_SECONDS
        assert desk.issuer.url not in await response.text()
    assert not await desk.site.events()


async def test_event_grid_authenticates_with_a_token_of_entra_id(desk: Desk) -> None:
    """It names no account; the validation of a subscription needs the token, too."""
    headers = desk.issuer.proof("api://sync")
    assert await desk.push(headers, "/hooks/acr", json.dumps([EVENT_GRID]).encode()) == 202
    kind = "Microsoft.EventGrid.SubscriptionValidationEvent"
    handshake = json.dumps([{"id": "1", "eventType": kind, "data": {"validationCode": "512d38b6"}}]).encode()
    assert await desk.push(headers, "/hooks/acr", handshake) == 200
    assert await desk.push(desk.issuer.proof("api://other"), "/hooks/acr", handshake) == 401


def test_a_hook_accepts_tokens_of_one_issuer_only() -> None:
    """With two, the keys of one could sign for the other."""
    with pytest.raises(UsageError, match="one issuer"):
        HookSource("acr", "myreg.azurecr.io", (Jwt(GOOGLE_ISSUERS, "a"), Jwt(("https://i.example.com",), "a")))


def test_every_kind_that_can_be_configured_has_its_dialect() -> None:
    """And every dialect can be configured."""
    assert set(get_args(HookKind)) == set(DIALECTS) == {sample.kind for sample in SAMPLES.values()} | {"plain"}


@pytest.mark.parametrize(
    ("kind", "prefix", "repository"),
    [
        ("jfrog", None, "docker-local/team/app"),
        ("jfrog", "virtual", "virtual/team/app"),
        ("nexus", None, "team/app"),
        ("nexus", "docker/hosted", "docker/hosted/team/app"),
    ],
)
async def test_the_prefix_of_a_hook_precedes_the_image(kind: str, prefix: str | None, repository: str) -> None:
    """These senders do not report the name of the image at its registry."""
    source = HookSource(kind, "registry.example.com", prefix=prefix)
    async with running(ServerSettings(hooks={"h": source})) as site:
        assert await site.status("POST", "/hooks/h", json=JFROG if kind == "jfrog" else NEXUS) == 202
        assert [row.repository for row in await site.events()] == [f"registry.example.com/{repository}"]
