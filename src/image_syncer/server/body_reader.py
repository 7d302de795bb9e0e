"""Reads the raw body of a request once, within bounds of size, time and number."""

import asyncio
from typing import Final

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from image_syncer.events import Oversized
from image_syncer.server.errors import refuse_busy
from image_syncer.server.server_settings import ServerSettings

_LONGEST_NUMBER: Final = 15


class BodyReader:
    """Reads bodies. A sender that is too slow, or one too many, gets an error; the others go on."""

    def __init__(self, settings: ServerSettings) -> None:
        self._limit_bytes = settings.body_limit_bytes
        self._timeout_seconds = settings.body_seconds
        self._most_readers = settings.bodies_at_once
        self._readers = 0

    async def read(self, request: Request) -> bytes:
        """Return the body as sent. Raises `Oversized` (413) beyond the limit, and 408, 415 or 503."""
        self._check_headers(request)
        if self._readers >= self._most_readers:
            raise refuse_busy("too many request bodies at once")
        self._readers += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._collect(request)
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {self._timeout_seconds:g} s") from None
        except ClientDisconnect:
            raise HTTPException(400, "the body ended early") from None
        finally:
            self._readers -= 1

    def _check_headers(self, request: Request) -> None:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > _LONGEST_NUMBER or int(declared) > self._limit_bytes):
            raise self._oversized()
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            # A few compressed kilobytes can unpack to gigabytes, and signatures cover the bytes as sent.
            raise HTTPException(415, "the body must not be compressed")

    async def _collect(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limit_bytes:
                raise self._oversized()
        return bytes(body)

    def _oversized(self) -> Oversized:
        return Oversized(f"the body has more than {self._limit_bytes} bytes")
