"""Fetches small public JSON documents over the same transport, without login, redirects or retries."""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from image_syncer.errors import ProtocolError, StoreError, Unavailable
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import Headers, Request, Response, Transport
from image_syncer.registry.http.urls import origin_of
from image_syncer.registry.settings import Limits
from image_syncer.structs import Struct

_MAX_AGE: Final = re.compile(r"max-age=\"?([0-9]{1,9})\"?")
_UNCACHEABLE: Final = frozenset({"no-cache", "no-store"})


class JsonDocument(Struct):
    """A fetched document. *max_age* is how many seconds it may be cached, None if the server does not say."""

    content: bytes
    max_age: float | None = None


class JsonFetcher:
    """Fetches documents, as an async context manager; *environment* names proxies and certificates.

    Each fetch takes at most *seconds*. TLS is always verified.
    """

    def __init__(self, environment: Mapping[str, str], *, seconds: float = 4.0) -> None:
        self._seconds = seconds
        self._transport = Transport(Limits(connect_seconds=seconds, stall_seconds=seconds), environment)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def get(self, url: str, limit_bytes: int) -> JsonDocument:
        """Return the document at *url*.

        Raises `TooLarge` for more than *limit_bytes*, `Unavailable` for network errors and 5xx, `InsecureConnection`
        for untrusted TLS, and `ProtocolError` for every other status than 200.
        """
        request = Request("GET", url, {"Accept": "application/json"})
        try:
            async with asyncio.timeout(self._seconds):
                async with self._transport.request(request, tls=TlsPolicy(str(origin_of(url)))) as response:
                    if response.status != HTTPStatus.OK:
                        raise _refusal(request, response)
                    return JsonDocument(await response.read(limit_bytes), _max_age(response.headers))
        except TimeoutError:
            raise Unavailable(f"{request}: no complete response within {self._seconds:g} s") from None


def _refusal(request: Request, response: Response) -> StoreError:
    status = response.status
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(f"{request}: answers {status}", status=status)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return ProtocolError(f"{request}: answers {status}, and redirects are not followed", status=status)
    return ProtocolError(f"{request}: answers {status}", status=status)


def _max_age(headers: Headers) -> float | None:
    """Return the seconds that Cache-Control allows (RFC 9111, 5.2.2), less the age from a cache on the way."""
    directives = {part.strip().lower() for line in headers.all("Cache-Control") for part in line.split(",")}
    if directives & _UNCACHEABLE:
        return 0.0
    ages = [float(match[1]) for part in directives if (match := _MAX_AGE.fullmatch(part))]
    age = headers.get("Age") or ""
    spent = float(age) if re.fullmatch(r"[0-9]{1,9}", age) else 0.0
    return max(min(ages) - spent, 0.0) if ages else None
