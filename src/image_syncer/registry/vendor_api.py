"""Requests to a vendor's own API, at the registry or at another server."""

import asyncio
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from image_syncer.errors import Side, Unavailable
from image_syncer.registry.auth.authenticator import LOGIN_SCOPE
from image_syncer.registry.endpoint import RegistryClient
from image_syncer.registry.error_mapping import ErrorContext, ErrorResponse, failure
from image_syncer.registry.host import Call
from image_syncer.registry.http.messages import Headers
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import Request, Transport
from image_syncer.registry.http.urls import host_of, is_loopback, origin_of
from image_syncer.structs import Struct, field

_CHALLENGES: Final = frozenset({200, 301, 302, 307, 308, 401, 403, 404})
_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}
_DIGITS: Final = 10
_ERROR_BYTES: Final = 64 * 1024


class ApiRequest(Struct):
    """One request to the *server*, a URL without a slash at its end; *document* is sent as JSON.

    The registry's own login opens a request without a server: a token for *scope* (such as
    `repository:app:metadata_read`), or user and password with *takes_password*. A request to a server has what its
    *headers* bring, and nothing else.
    """

    path: str
    server: str = ""
    method: str = "GET"
    document: object = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    scope: str = ""
    takes_password: bool = False


class ApiAnswer(Struct):
    """A response of an API."""

    status: int
    headers: Headers
    body: bytes = b""

    @property
    def retry_after(self) -> float | None:
        """The seconds that the server asks to wait; None if it says none, or a date."""
        text = (self.headers.get("Retry-After") or "").strip()
        return float(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else None


class VendorApi:
    """Sends requests to the vendor of one registry, without redirects or retries.

    Requests share the limits of the registry, and are counted for *side*. *transport* reaches a server; with
    *is_insecure*, the registry needs no valid certificate. A response takes *seconds* at most.
    """

    def __init__(
        self,
        client: RegistryClient,
        transport: Callable[[str], Transport],
        count: Callable[[Side], None],
        *,
        side: Side = "source",
        is_insecure: bool = False,
        seconds: float = 20.0,
    ) -> None:
        self._client = client
        self._transport = transport
        self._count = count
        self._side: Side = side
        self._is_insecure = is_insecure
        self._seconds = seconds

    async def own_url(self) -> str:
        """Return the URL of the registry itself, with the scheme that it speaks; one request."""
        host = self._client.host
        context = ErrorContext(host.name, host.name)
        response = await self._client.request(Call("GET", "/v2/", self._side), context, expect=_CHALLENGES, retry=False)
        origin = origin_of(response.url)
        return f"{origin.scheme}://{origin}"

    async def read(self, request: ApiRequest, limit_bytes: int) -> bytes:
        """Return the content of the response to *request*; raises `StoreError` for every status but 200.

        More than *limit_bytes* are `TooLarge`.
        """
        if not request.server:
            return await self._read_with_login(request, limit_bytes)
        answer = await self.send(request, limit_bytes)
        if answer.status != HTTPStatus.OK:
            server = urlsplit(request.server).netloc
            refusal = ErrorResponse(answer.status, answer.body[:_ERROR_BYTES], answer.retry_after, server)
            raise failure(ErrorContext(f"{self._client.host.name}: {request.path.partition('?')[0]}", server), refusal)
        return answer.body

    async def _read_with_login(self, request: ApiRequest, limit_bytes: int) -> bytes:
        """Return the content that the registry sends to its own login."""
        scopes = (LOGIN_SCOPE,) if request.takes_password else ()
        scopes += (request.scope,) if request.scope else ()
        has_document = request.document is not None
        headers = {**_JSON, **request.headers} if has_document else request.headers
        body = json.dumps(request.document).encode() if has_document else None
        call = Call(request.method, request.path, self._side, scopes, headers, body, is_optional=True)
        context = ErrorContext(self._client.host.name, self._client.host.name)
        expect = {HTTPStatus.OK}
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._client.request(
                    call, context, expect=expect, retry=False, limit_bytes=limit_bytes
                )
        except TimeoutError:
            raise self._late(self._client.host.name) from None
        return response.content

    async def send(self, request: ApiRequest, limit_bytes: int) -> ApiAnswer:
        """Return the response to *request*, which names a server."""
        server = urlsplit(request.server).netloc
        is_own = server == self._client.host.name
        tls = TlsPolicy(server, is_loopback(host_of(server)) or (is_own and self._is_insecure))
        body = None if request.document is None else json.dumps(request.document).encode()
        sent = Request(request.method, f"{request.server}{request.path}", {**_JSON, **request.headers}, body)
        self._count(self._side)
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.limiter.request(),
                self._transport(server).request(sent, tls=tls) as response,
            ):
                return ApiAnswer(response.status, response.headers, await response.read(limit_bytes))
        except TimeoutError:
            raise self._late(server) from None

    def _late(self, server: str) -> Unavailable:
        return Unavailable(f"{server}: no complete response within {self._seconds:g} s")
