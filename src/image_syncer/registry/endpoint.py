"""Sends requests to one registry: login rotation, slots, retries, and error responses mapped to exceptions."""

import asyncio
from collections.abc import AsyncGenerator, Container, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Literal

from image_syncer.errors import (
    InvalidReference,
    Postponed,
    RateLimited,
    Side,
    StoreError,
    Unavailable,
)
from image_syncer.oci import DOCKER_HUB, Descriptor, Digest, Reference, Repository
from image_syncer.registry.error_mapping import (
    ErrorContext,
    ErrorResponse,
    failure,
    is_about_request,
    parse_retry_after,
)
from image_syncer.registry.host import Call
from image_syncer.registry.http.messages import released
from image_syncer.registry.http.transport import ConnectionRefused, HandshakeBroken, Headers, RequestBody, Response
from image_syncer.registry.http.urls import origin_of
from image_syncer.registry.limits.limiter import HostLimiter, Operation
from image_syncer.registry.limits.quota import LONGEST_WINDOW_SECONDS, Quota, read_quota
from image_syncer.registry.limits.retry import RetryAttempts, Retrying
from image_syncer.registry.login_rotation import Login, LoginPool
from image_syncer.registry.observer import RegistryObserver
from image_syncer.registry.settings import Limits
from image_syncer.registry.vendor_profiles import LearntProfile
from image_syncer.roles import HostFacts
from image_syncer.structs import Struct

_SUCCESS: Final = 2  # The class of the status.
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}
_CONGESTED: Final = frozenset({None, 408, 502, 503, 504, 520, 521, 522, 523, 524})  # None: no response at all.
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

Slot = Literal["request", "upload"]
"""The slot that a request runs in: one of its own, or the upload slot that its caller holds."""


class BufferedResponse(Struct):
    """A complete response. *url* is the URL after redirects; *content* is empty unless the caller asked for it.

    *is_elsewhere*: another host than the registry sent it, after a redirect.
    """

    status: int
    headers: Headers
    url: str
    content: bytes = b""
    is_elsewhere: bool = False

    @property
    def is_found(self) -> bool:
        """Whether a HEAD found its object: any 2xx counts if a storage host sent it."""
        return self.status == HTTPStatus.OK or (self.is_elsewhere and self.status // 100 == _SUCCESS)

    @property
    def digest(self) -> Digest | None:
        """The digest in Docker-Content-Digest; None without one that can be verified."""
        try:
            return Digest.parse((self.headers.get("Docker-Content-Digest") or "").strip())
        except InvalidReference:
            return None


class RegistryClient:
    """One registry with one set of logins. *expect* lists the statuses to return; every other status is raised."""

    def __init__(
        self,
        logins: LoginPool,
        limiter: HostLimiter,
        retrying: Retrying,
        limits: Limits,
        observer: RegistryObserver,
        facts: HostFacts,
    ) -> None:
        self.logins = logins
        self.host = host = logins.first.host
        self.limiter = limiter
        self.retrying = retrying
        self.limits = limits
        self.observer = observer
        self.facts = facts
        self.profile = LearntProfile.of(host.name, limits)
        self.multi_tag_probe = asyncio.Lock()
        self.head_probe = asyncio.Lock()

    async def request(
        self,
        call: Call,
        context: ErrorContext,
        *,
        expect: Container[int],
        retry: bool = True,
        slot: Slot = "request",
        limit_bytes: int | None = None,
    ) -> BufferedResponse:
        """Return the response to *call*, sent with each login in turn until one has access.

        With *retry* it is repeated as the policy says, so *call* must be safe to repeat. *slot* "request" takes a
        request slot for each attempt; "upload" means that the caller holds an upload slot. *limit_bytes* bounds the
        content (`TooLarge`); None discards it. The call's fence is checked before each
        attempt, after the wait for a slot.
        """
        attempts = RetryAttempts(self.retrying)
        while True:
            login = self.logins.available(call) or await self.logins.wait_available(call)
            try:
                with self.logins.count_in_flight(login, call):
                    async with self.limiter.request() if slot == "request" else nullcontext():
                        if call.fence is not None:
                            await call.fence.check()
                        response = await self._open(login, call, context, expect, slot)
                        return await self._read(call, response, limit_bytes)
            except StoreError as error:
                if self.logins.record_refusal(login, call, error):
                    continue
                if not retry or _is_unrelated_failure(call, error):
                    raise
                await attempts.wait_after(error)  # Outside the slot, so that other requests can use it.

    @asynccontextmanager
    async def download(self, call: Call, context: ErrorContext, *, expect: Container[int]) -> AsyncGenerator[Response]:
        """Open the response to *call* for streaming, in a download slot; opening is retried, reading is not."""
        response, stack = await self._open_download(call, context, expect)
        async with stack:
            yield response

    async def _open_download(
        self, call: Call, context: ErrorContext, expect: Container[int]
    ) -> tuple[Response, AsyncExitStack]:
        """Return the response to *call*, and the stack that releases the response and its slot."""
        attempts = RetryAttempts(self.retrying)
        while True:
            login = self.logins.available(call) or await self.logins.wait_available(call)
            try:
                async with AsyncExitStack() as stack:
                    await stack.enter_async_context(self.limiter.download())
                    response = await self._open(login, call, context, expect, "download")
                    await stack.enter_async_context(released(response))
                    return response, stack.pop_all()
            except StoreError as error:
                if not self.logins.record_refusal(login, call, error):
                    await attempts.wait_after(error)

    async def _read(self, call: Call, response: Response, limit_bytes: int | None) -> BufferedResponse:
        """Read and release *response*; without *limit_bytes* the content is empty."""
        content, failed = b"", True
        try:
            if limit_bytes is not None:
                content = await response.read(limit_bytes)
            elif call.method != "HEAD" and response.content_length != 0:
                await self._read_beginning(response)  # Discarded, but the connection can then be reused.
            failed = False
        finally:
            await response.release(failed=failed)
        elsewhere = _other_host(self.host.name, response.url) != ""
        return BufferedResponse(response.status, response.headers, response.url, content, elsewhere)

    async def _open(
        self, login: Login, call: Call, context: ErrorContext, expect: Container[int], operation: Operation
    ) -> Response:
        """Return the response to *call*, sent with *login*, to be released; raise every status not in *expect*."""
        began = self.retrying.clock.monotonic()
        try:
            response = await login.host.send(call)
        except StoreError as error:
            if isinstance(call.body, RequestBody) and not isinstance(error, ConnectionRefused | HandshakeBroken):
                raise  # The error may come from the body (the source), and then says nothing about this registry.
            if call.is_elsewhere:
                raise
            raise self._note_failure(error, operation, began) from error.__cause__
        # With a body, the time to the response depends on the bandwidth, so it is no latency of the registry.
        latency = self.retrying.clock.monotonic() - began if call.body is None else None
        quota = read_quota(response.headers, self._now) if call.is_about_manifest else None
        if response.status not in expect and not self._is_accepted_elsewhere(call, response):
            try:
                error = await self._error_from(response, context, has_body=call.method != "HEAD")
            finally:
                await response.release(failed=True)  # A response that was read to its end keeps its connection.
            if isinstance(error, RateLimited) and quota is not None and not quota.remaining:
                raise self._note_exhausted_quota(error, login, quota, response)
            if _is_unrelated_failure(call, error):
                raise error
            raise self._note_failure(error, operation, began)
        if quota is not None:
            self.logins.record_quota(login, quota, began, counted=call.is_counted)
        self.limiter.note_success(operation, began, latency if operation == "request" else None)
        return response

    def _is_accepted_elsewhere(self, call: Call, response: Response) -> bool:
        return call.accept_elsewhere and _other_host(self.host.name, response.url) != ""

    async def _error_from(self, response: Response, context: ErrorContext, *, has_body: bool) -> StoreError:
        retry_after = parse_retry_after(response.headers.get("Retry-After"), self._now)
        refusal = ErrorResponse(
            response.status,
            await self._read_beginning(response) if has_body else b"",
            retry_after,
            _other_host(self.host.name, response.url),
        )
        return failure(context, refusal)

    def _note_exhausted_quota(self, error: RateLimited, login: Login, quota: Quota, response: Response) -> RateLimited:
        """Record that *login* has used up *quota*; return *error*, whose retry then waits in the login pool."""
        longest = LONGEST_WINDOW_SECONDS
        self.logins.record_exhausted(
            login, quota, parse_retry_after(response.headers.get("Retry-After"), self._now, longest=longest)
        )
        error.limiter_holds = True
        return error

    def _note_failure(self, error: StoreError, operation: Operation, began: float) -> StoreError:
        """Report *error* to the limiter, which may slow down or pause this registry; return the error to raise.

        A rate limit without a usable Retry-After gets the limiter's own delay.
        """
        if isinstance(error, Unavailable) and is_outage(error):
            error.limiter_holds = self.limiter.note_failure(
                operation, began, error, congested=error.status in _CONGESTED
            )
        elif isinstance(error, RateLimited) or error.status == HTTPStatus.REQUEST_TIMEOUT:
            self.limiter.note_congestion(operation, began)
        elif error.status is not None:
            self.limiter.note_success(operation, began)
        if isinstance(error, RateLimited):
            wait = self.limiter.back_off(began, error.retry_after)
            return RateLimited(
                error.message, retry_after=wait, status=error.status, code=error.code, remedy=error.remedy
            )
        if isinstance(error, Postponed) and (error.retry_after or 0.0) <= self.retrying.policy.patience:
            self.limiter.pause(error.retry_after or 0.0)
        return error

    async def _read_beginning(self, response: Response) -> bytes:
        """Return the first bytes of the content, fewer where reading fails: only messages depend on them."""
        content = bytearray()
        try:
            async with asyncio.timeout(self.limits.error_seconds), aclosing(response.chunks()) as chunks:
                async for chunk in chunks:
                    content += chunk
                    if len(content) >= self.limits.error_bytes:
                        break
        except (StoreError, TimeoutError):
            pass  # The status is known; only the text about it is incomplete.
        return bytes(content[: self.limits.error_bytes])

    def _now(self) -> datetime:
        return self.retrying.clock.now()


class RepositoryRequests(Struct):
    """Builds the requests about *repository* as one *side* of a copy, with the scopes that they need."""

    client: RegistryClient
    repository: Repository
    side: Side

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes to request; a target asks for the push right from its first request on, to need one token."""
        rights = "pull" if self.side == "source" else "pull,push"
        return (f"repository:{self.repository.path}:{rights}",)

    def path(self, rest: str) -> str:
        """Return the path of *rest* (such as `tags/list`) in this repository."""
        return f"/v2/{self.repository.path}/{rest}"

    def blob_path(self, blob: Descriptor) -> str:
        """Return the path of *blob* in this repository."""
        return self.path(f"blobs/{blob.digest}")

    def build(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | RequestBody | None = None,
        follow: bool = False,
    ) -> Call:
        """Return a request to *target*, a path or a URL that the host resolved."""
        return Call(method, target, self.side, self.scopes, headers, body, follow)

    def head(self, target: str, *, headers: Mapping[str, str] = _NO_HEADERS) -> Call:
        """Return a HEAD of *target* that follows redirects, and accepts any status of the host that they lead to."""
        return Call("HEAD", target, self.side, self.scopes, headers, follow=True, accept_elsewhere=True)

    def reference(self, identifier: str) -> Reference:
        """Return the reference of the tag or digest *identifier*; `InvalidReference` if it cannot be part of a URL."""
        if ":" in identifier:
            return self.repository.at(Digest.parse(identifier))
        return self.repository.tag(identifier)

    def context(self, what: object, *, manifest: bool = False, upload: bool = False) -> ErrorContext:
        """Return the context for error messages about *what*; *manifest* or *upload* if the request writes one."""
        return ErrorContext(str(what), self.repository.registry, manifest=manifest, upload=upload)

    def blob_context(self, blob: Descriptor, *, upload: bool = False) -> ErrorContext:
        """Return the context for error messages about *blob*."""
        return self.context(self.repository.at(blob.digest), upload=upload)


def _is_unrelated_failure(call: Call, error: StoreError) -> bool:
    """Whether *error* is a 5xx that says nothing about the health of the registry."""
    is_server_failure = error.status is not None and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return is_server_failure and (call.is_optional or call.is_elsewhere)


def is_outage(error: Unavailable) -> bool:
    """Whether *error* looks like an outage of the registry rather than a problem with this request alone."""
    if error.status is None:
        return True
    return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_about_request(error.code)


def _other_host(registry: str, url: str) -> str:
    """Return the host of *url* if it is not *registry*, else an empty string."""
    origin = origin_of(url)
    host = str(origin)
    same = host in {registry, registry.removesuffix(_DEFAULT_PORTS[origin.scheme])}
    return "" if same or (registry == DOCKER_HUB and origin.host.endswith(f".{DOCKER_HUB}")) else host
