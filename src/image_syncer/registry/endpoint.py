"""One registry with everything that a request to it needs: its places, its pauses, retries, and what refusals mean."""

from collections.abc import AsyncGenerator, Container, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from image_syncer.errors import InvalidReference, Side, StoreError
from image_syncer.oci import DOCKER_HUB, Descriptor, Digest, Reference, Repository
from image_syncer.registry.host import Call, Host
from image_syncer.registry.options import Limits
from image_syncer.registry.quirks import Quirks
from image_syncer.registry.responses import Asked, Refusal, failure, parse_retry_after
from image_syncer.registry.retry import Retrying, wait_wished
from image_syncer.registry.throttle import Throttle
from image_syncer.registry.transport import Body, Headers, Response
from image_syncer.registry.urls import origin_of

_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. *url* is where it came from, behind redirects; *content* is empty where it was not asked for."""

    status: int
    headers: Headers
    url: str
    content: bytes = b""

    @property
    def digest(self) -> Digest | None:
        """What the registry claims that this is (Docker-Content-Digest); None for no claim that could be checked."""
        try:
            return Digest.parse((self.headers.get("Docker-Content-Digest") or "").strip())
        except InvalidReference:
            return None


class Endpoint:
    """One registry under one access. Every method says with *expect* which statuses are fine; others are raised."""

    def __init__(self, host: Host, throttle: Throttle, retrying: Retrying, limits: Limits) -> None:
        self.host = host
        self.throttle = throttle
        self.retrying = retrying
        self.limits = limits
        self.quirks = Quirks.of(host.name)

    async def call(self, call: Call, asked: Asked, *, expect: Container[int], limit_bytes: int | None = None) -> Answer:
        """Return the answer to *call*, which must be safe to repeat: it is retried as the policy says.

        *limit_bytes* bounds the content (`TooLarge`); None means that it is of no interest.
        """
        return await self.retrying.run(lambda _: self.once(call, asked, expect=expect, limit_bytes=limit_bytes))

    async def once(self, call: Call, asked: Asked, *, expect: Container[int], limit_bytes: int | None = None) -> Answer:
        """Return the answer to *call*, tried once, in a request's place."""
        async with self.throttle.request():
            return await self.send(call, asked, expect=expect, limit_bytes=limit_bytes)

    async def send(self, call: Call, asked: Asked, *, expect: Container[int], limit_bytes: int | None = None) -> Answer:
        """Return the answer to *call*, tried once, by whoever holds a place already."""
        async with AsyncExitStack() as stack:
            response = await self._open(call, asked, expect, stack)
            content = b""
            if limit_bytes is not None:
                content = await response.read(limit_bytes)
            elif call.method != "HEAD":
                await self._beginning(response)  # Of no interest, but then the connection serves again.
            return Answer(response.status, response.headers, response.url, content)

    @asynccontextmanager
    async def download(self, call: Call, asked: Asked) -> AsyncGenerator[Response]:
        """Open the answer to *call* for streaming, in a download's place; opening is retried, reading is not."""

        async def attempt(_: int) -> tuple[Response, AsyncExitStack]:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self.throttle.download())
                response = await self._open(call, asked, {200}, stack)
                return response, stack.pop_all()

        response, stack = await self.retrying.run(attempt)
        async with stack:
            yield response

    async def _open(self, call: Call, asked: Asked, expect: Container[int], stack: AsyncExitStack) -> Response:
        """Return the answer to *call*, held by *stack*."""
        try:
            response = await stack.enter_async_context(self.host.exchange(call))
            if response.status not in expect:
                raise await self._refused(response, asked)
        except StoreError as error:
            self._heed(error)
            raise
        return response

    async def _refused(self, response: Response, asked: Asked) -> StoreError:
        retry_after = parse_retry_after(response.headers.get("Retry-After"), self._now)
        refusal = Refusal(
            response.status, await self._beginning(response), retry_after, _other_host(self.host.name, response.url)
        )
        return failure(asked, refusal)

    def _heed(self, error: StoreError) -> None:
        """Pause everything at this registry for as long as it asked, if that is a time that we would wait."""
        wished = wait_wished(error)
        if wished is not None and wished <= self.retrying.policy.patience:
            self.throttle.pause(wished)

    async def _beginning(self, response: Response) -> bytes:
        """Return the first bytes of a content that nothing depends on."""
        content = bytearray()
        try:
            async with aclosing(response.chunks()) as chunks:
                async for chunk in chunks:
                    content += chunk
                    if len(content) >= self.limits.error_bytes:
                        break
        except StoreError:
            pass  # The status has been told; what is missing are words about it.
        return bytes(content[: self.limits.error_bytes])

    def _now(self) -> datetime:
        return self.retrying.clock.now()


@dataclass(frozen=True, slots=True)
class Conversation:
    """One repository as one side of a copy sees it: builds the calls about it, with the rights that they need."""

    endpoint: Endpoint
    repository: Repository
    side: Side

    @property
    def scopes(self) -> tuple[str, ...]:
        """The rights to ask for: a target's push right is wanted from its first request on."""
        rights = "pull" if self.side == "source" else "pull,push"
        return (f"repository:{self.repository.path}:{rights}",)

    def path(self, rest: str) -> str:
        """Return the path of *rest* (such as `tags/list`) in this repository."""
        return f"/v2/{self.repository.path}/{rest}"

    def blob_path(self, blob: Descriptor) -> str:
        """Return the path of *blob* in this repository."""
        return self.path(f"blobs/{blob.digest}")

    def call(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | Body | None = None,
        follow: bool = False,
    ) -> Call:
        """Return a request to *target*, a path or a URL that the host resolved."""
        return Call(method, target, self.side, self.scopes, headers, body, follow)

    def reference(self, identifier: str) -> Reference:
        """Return the tag or digest *identifier* here; `InvalidReference` where it could not stand in a URL."""
        if ":" in identifier:
            return self.repository.at(Digest.parse(identifier))
        return self.repository.tag(identifier)

    def asked(self, what: object, *, manifest: bool = False, upload: bool = False) -> Asked:
        """Return what a request is about, for messages; *manifest* or *upload* where one is put."""
        return Asked(str(what), self.repository.registry, manifest=manifest, upload=upload)

    def asked_blob(self, blob: Descriptor, *, upload: bool = False) -> Asked:
        """Return what a request about *blob* is about."""
        return self.asked(self.repository.at(blob.digest), upload=upload)


def _other_host(registry: str, url: str) -> str:
    """Return the host of *url* where that is not *registry*, otherwise an empty text."""
    origin = origin_of(url)
    host = str(origin)
    same = host in {registry, registry.removesuffix(_DEFAULT_PORTS[origin.scheme])}
    return "" if same or (registry == DOCKER_HUB and origin.host.endswith(f".{DOCKER_HUB}")) else host
