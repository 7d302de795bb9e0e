"""The raw body of a request, read once and within bounds of size, time and number."""

import asyncio
from typing import Final

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from image_syncer.events import Oversized
from image_syncer.server.errors import refuse_busy
from image_syncer.server.server_settings import ServerSettings

_LONGEST_NUMBER: Final = 15


class BodyReader:
    """Reads bodies. A sender that is too slow, or one too many, loses its turn and not ours."""

    def __init__(self, settings: ServerSettings) -> None:
        self._limit = settings.body_limit_bytes
        self._seconds = settings.body_seconds
        self._at_once = settings.bodies_at_once
        self._reading = 0

    async def read(self, request: Request) -> bytes:
        """Return the body as it came; `Oversized` (413) beyond the limit, 408, 415 or 503 where it is not had."""
        self._check_headers(request)
        if self._reading >= self._at_once:
            raise refuse_busy("too many bodies are being read")
        self._reading += 1
        try:
            async with asyncio.timeout(self._seconds):
                return await self._collect(request)
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {self._seconds:g} s") from None
        except ClientDisconnect:
            raise HTTPException(400, "the body ended early") from None
        finally:
            self._reading -= 1

    def _check_headers(self, request: Request) -> None:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > _LONGEST_NUMBER or int(declared) > self._limit):
            raise self._oversized()
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            # A few compressed kilobytes could be gigabytes, and signatures are over what was sent.
            raise HTTPException(415, "the body must not be compressed")

    async def _collect(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limit:
                raise self._oversized()
        return bytes(body)

    def _oversized(self) -> Oversized:
        return Oversized(f"a body of more than {self._limit} bytes")
