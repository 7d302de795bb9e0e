"""An identity provider over HTTP: OpenID Connect discovery, a JWK set that rotates, and tokens."""

import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from image_syncer.testing.serving import serve

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"


@cache
def private_key(kid: str) -> rsa.RSAPrivateKey:
    """Return the key *kid*; each is generated once, because that takes a while."""
    assert kid
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Issuer:
    """Its responses can change at any time: *kids* are the published keys, *answers* replace responses by path.

    *requests* counts the requests by path.
    """

    url: str = ""
    kids: list[str] = field(default_factory=lambda: ["k1"])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    status: int = 200
    discovery: dict[str, Any] = field(default_factory=dict[str, Any])
    answers: dict[str, bytes] = field(default_factory=dict[str, bytes])
    requests: Counter[str] = field(default_factory=Counter[str])

    def token(self, audience: str, *, kid: str = "k1", **claims: Any) -> str:
        """Return a token for *audience*, valid for five minutes; *claims* replace its claims, None removes one."""
        now = int(time.time())
        said = {"iss": self.url, "aud": audience, "iat": now, "exp": now + 300} | claims
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(kept, private_key(kid), "RS256", headers={"kid": kid})

    def proof(self, audience: str, *, kid: str = "k1", **claims: Any) -> dict[str, str]:
        """Return the Authorization header with such a token."""
        return {"authorization": f"Bearer {self.token(audience, kid=kid, **claims)}"}

    async def answer(self, request: web.Request) -> web.Response:
        """Respond as configured at this moment."""
        self.requests[request.path] += 1
        if self.status != 200:
            return web.Response(status=self.status, headers=self.headers)
        body = self.answers.get(request.path) or json.dumps(self._document(request.path)).encode()
        return web.Response(body=body, headers=self.headers)

    def _document(self, path: str) -> Mapping[str, Any]:
        if path == DISCOVERY:
            return {"issuer": self.url, "jwks_uri": f"{self.url}{KEYS}"} | self.discovery
        public = [(kid, json.loads(RSAAlgorithm.to_jwk(private_key(kid).public_key()))) for kid in self.kids]
        return {"keys": [key | {"kid": kid} for kid, key in public]}


@asynccontextmanager
async def open_issuer() -> AsyncGenerator[Issuer]:
    """Run an issuer on a free loopback port."""
    issuer = Issuer()
    application = web.Application()
    application.add_routes([web.get("/{path:.*}", issuer.answer)])
    async with serve(application) as port:
        issuer.url = f"http://127.0.0.1:{port}"
        yield issuer
