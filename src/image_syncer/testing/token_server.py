"""A token server whose tokens docker-registry verifies: RS256, with key ids in libtrust's format.

Importing this module needs PyJWT and cryptography, which are development dependencies; no other module here does.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from image_syncer.testing.accounts import Accounts
from image_syncer.testing.fake.answers import RECORD, new_record
from image_syncer.testing.request_log import RequestLog
from image_syncer.testing.serving import serve
from image_syncer.testing.threads import open_in_thread
from image_syncer.testing.tokens import IssuedToken, Issuer, TokenService


class TokenServer:
    """Issues bearer tokens to *accounts* on a free loopback port; an async context manager.

    *requests* logs every token request; *issuer* is the information that a registry needs to verify tokens.
    """

    def __init__(self, accounts: Accounts, *, token_seconds: float = 300) -> None:
        self.requests = RequestLog()
        self._accounts = accounts
        self._token_seconds = token_seconds
        self._stack = AsyncExitStack()
        self._issuer: Issuer | None = None

    @classmethod
    def in_thread(cls, accounts: Accounts, *, token_seconds: float = 300) -> AbstractContextManager[Self]:
        """Return a token server for a plain `with` statement; it runs in its own thread."""
        return open_in_thread(cls(accounts, token_seconds=token_seconds))

    @property
    def issuer(self) -> Issuer:
        """The information that a registry needs about this server."""
        if self._issuer is None:
            raise RuntimeError("a TokenServer is used as a context manager")
        return self._issuer

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            certificate = Path(stack.enter_context(TemporaryDirectory(prefix="token-server-"))) / "tokens.pem"
            signer = Signer()
            signer.write_certificate(certificate)
            service = TokenService(self._accounts, Issuer.service, signer.sign, token_seconds=self._token_seconds)
            application = web.Application(middlewares=[self._note])
            application.add_routes([web.get("/token", service.get), web.post("/token", service.post)])
            port = await stack.enter_async_context(serve(application))
            self._issuer = Issuer(f"http://127.0.0.1:{port}/token", certificate)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @web.middleware
    async def _note(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        record = request[RECORD] = new_record(request)
        self.requests.append(record)
        response = await handler(request)
        record.status = response.status
        return response


class Signer:
    """Signs grants as tokens of distribution's `spec/auth/jwt.md`, with its own key."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        # libtrust's key id: 240 bits of the key's hash in base32, in groups of four.
        name = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
        self._headers = {"kid": ":".join(name[start : start + 4] for start in range(0, len(name), 4))}

    def sign(self, grant: IssuedToken, seconds: float) -> str:
        """Return a token for *grant* that is valid for *seconds*."""
        return jwt.encode(_claims(grant, seconds), self._key, algorithm="RS256", headers=self._headers)

    def write_certificate(self, file: Path) -> None:
        """Write the certificate that verifies the tokens to *file* (PEM)."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, Issuer.name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _claims(grant: IssuedToken, seconds: float) -> dict[str, Any]:
    now = int(time.time())
    access: list[dict[str, Any]] = []
    for resource, actions in grant.access.items():
        kind, _, name = resource.partition(":")
        access.append({"type": kind, "name": name, "actions": sorted(actions)})
    return {
        "iss": Issuer.name,
        "sub": grant.subject or "",
        "aud": grant.service,
        "exp": now + int(seconds),
        "nbf": now - 10,
        "iat": now,
        "jti": secrets.token_hex(8),
        "access": access,
    }
