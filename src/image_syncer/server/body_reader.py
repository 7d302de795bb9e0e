"""Reads the raw body of a request once, within bounds of size, time and number."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from image_syncer.events import Oversized
from image_syncer.server.errors import refuse_busy
from image_syncer.server.server_settings import ServerSettings

_LONGEST_NUMBER: Final = 15
_USUAL_SECONDS: Final = 1.0  # most bodies arrive within milliseconds


@dataclass(slots=True)
class _Reading:
    """A body that is being read from *address* since *began*, by the clock of the loop, within *timeout*."""

    address: str
    began: float
    timeout: asyncio.Timeout


class BodyReader:
    """Reads bodies. A sender that is too slow, or one too many, gets an error; the others go on.

    If all places are taken, the slowest body of the address with the most bodies makes room, unless it is younger than
    a second. So slow strangers cannot keep out senders that deliver at once.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._limit_bytes = settings.body_limit_bytes
        self._timeout_seconds = settings.body_seconds
        self._most_readings = settings.bodies_at_once
        self._readings: list[_Reading] = []

    async def read(self, request: Request) -> bytes:
        """Return the body as sent. Raises `Oversized` (413) beyond the limit, and 408, 415 or 503."""
        self._check_headers(request)
        now = asyncio.get_running_loop().time()
        if len(self._readings) >= self._most_readings and not self._interrupt_slowest(now):
            raise refuse_busy("too many request bodies at once")
        timeout = asyncio.timeout(self._timeout_seconds)
        reading = _Reading(request.client.host if request.client else "", now, timeout)
        self._readings.append(reading)
        try:
            async with timeout:
                return await self._collect(request)
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        except ClientDisconnect:
            raise HTTPException(400, "the body ended early") from None
        finally:
            if reading in self._readings:
                self._readings.remove(reading)

    def _interrupt_slowest(self, now: float) -> bool:
        """End one reading with 408, and return whether there was one to end."""
        slow = [reading for reading in self._readings if now - reading.began >= _USUAL_SECONDS]
        if not slow:
            return False
        [(address, _)] = Counter(reading.address for reading in slow).most_common(1)
        slowest = min((each for each in slow if each.address == address), key=lambda each: each.began)
        slowest.timeout.reschedule(now)
        self._readings.remove(slowest)
        return True

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
