"""Blob storage on another host: signed URLs that expire, and no use for the registry's credentials."""

import hmac
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from image_syncer.testing.fake.blobs import BlobHandlers
from image_syncer.testing.fake.fault_script import Script
from image_syncer.testing.fake.request_gate import RequestGate
from image_syncer.testing.fake.storage import Storage
from image_syncer.testing.profile import Profile
from image_syncer.testing.request_log import RequestLog
from image_syncer.testing.serving import serve


class StorageHost:
    """Serves blobs to requests with a signed URL and without an Authorization (S3 refuses both together).

    *requests* logs its requests, *faults* is its own fault script, *host* is its address.
    """

    def __init__(self, storage: Storage, profile: Profile, faults: Script) -> None:
        self.requests = RequestLog()
        self.faults = faults
        self.host = ""
        self._profile = profile
        self._blobs = BlobHandlers(storage, profile)
        self._key = secrets.token_bytes(16)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Serve on its own free port, with the registry's TLS settings."""
        application = web.Application(middlewares=[RequestGate(self.requests, self.faults, self._admit, {}).answer])
        application.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blobs.get)
        async with serve(application, self._profile.tls) as port:
            self.host = f"127.0.0.1:{port}"
            yield

    def url(self, path: str) -> str:
        """Return the signed URL of the blob that the registry has at *path*."""
        expires = str(time.time() + self._profile.signed_seconds)
        scheme = "https" if self._profile.tls else "http"
        return f"{scheme}://{self.host}{path}?X-Expires={expires}&X-Signature={self._sign(path, expires)}"

    def expire(self) -> None:
        """Invalidate every URL signed so far."""
        self._key = secrets.token_bytes(16)

    async def _admit(self, request: web.Request) -> web.StreamResponse | None:
        expires = request.query.get("X-Expires", "0")
        if "Authorization" in request.headers:
            return _refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        signature = self._sign(request.path, expires)
        if not hmac.compare_digest(signature, request.query.get("X-Signature", "")) or float(expires) < time.time():
            return _refusal(403, "AccessDenied", "Request has expired")
        return None

    def _sign(self, path: str, expires: str) -> str:
        return hmac.digest(self._key, f"{path} {expires}".encode(), "sha256").hex()


def _refusal(status: int, code: str, message: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")
