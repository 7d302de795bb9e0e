"""Azure Container Registry imports an image by itself (REST API of Microsoft.ContainerRegistry, "Import Image").

The image is named by its digest and gets no tag (`untaggedTargetRepositories`).
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import urlsplit

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import Denied, Refused, StoreError, Unauthorized, Unavailable
from image_syncer.extras import install_remedy
from image_syncer.oci import Digest, Repository
from image_syncer.oci.digest import CANONICAL_ALGORITHM
from image_syncer.registry.auth.cloud_providers import failure_reason
from image_syncer.registry.preparing.creation import ApiCall, bearer
from image_syncer.registry.preparing.creators import ApiServer
from image_syncer.registry.settings import ControlAccess, Credential
from image_syncer.registry.vendor_api import ApiAnswer
from image_syncer.roles import ImageContent, Way

_RESOURCE: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerRegistry/registries/[A-Za-z0-9]+/?",
    re.ASCII | re.IGNORECASE,
)
_VERSION: Final = "api-version=2023-07-01"
_MOST_MANIFESTS: Final = 50
_SUCCESS: Final = 2  # The class of the status.
_LEAST_PAUSE: Final = 0.1  # Seconds, as the others.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
_LOST_ANSWERS: Final = 5
_TOKEN_SECONDS: Final = 60.0
_EARLY_SECONDS: Final = 300.0
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})


def is_azure(url: str) -> bool:
    """Whether *url* is that of a registry at Azure's resource manager."""
    return _RESOURCE.fullmatch(urlsplit(url).path) is not None


def resource_id(url: str, at: str) -> str | None:
    """Return the resource id in *url*; None if it is no registry at the resource manager of the URL *at*."""
    parts = urlsplit(url)
    return parts.path.rstrip("/") if is_azure(url) and parts.netloc == urlsplit(at).netloc else None


class AzureTokens:
    """Gives tokens for Azure's resource manager, each until shortly before its end."""

    def __init__(self) -> None:
        self._issued: dict[tuple[str, Credential | None], tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    async def token(self, control: ControlAccess) -> str:
        """Return the token in *control*, or one for its client id and secret, or for the environment's identity."""
        key = control.credential
        if key is not None and not key.username:
            return key.password
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(control.url))
        async with self._lock:
            token, until = self._issued.get((origin, key), ("", 0.0))
            if time.time() > until - _EARLY_SECONDS:
                token, until = await _issue(origin, key)
                self._issued[origin, key] = token, until
        return token


async def _issue(origin: str, key: Credential | None) -> tuple[str, float]:
    """Return a new token for the API at *origin* and when it ends; the library's own texts may repeat secrets."""
    try:
        from image_syncer.registry.auth.cloud_azure import access_token  # noqa: PLC0415 - slow, and mostly not needed
    except ImportError:
        raise Refused(f"{origin}: this needs a library", remedy=install_remedy("azure")) from None
    try:
        async with asyncio.timeout(_TOKEN_SECONDS):
            return await asyncio.to_thread(access_token, origin, f"{origin}/.default", key)
    except StoreError:
        raise
    except TimeoutError:
        raise Unavailable(f"{origin}: no token within {_TOKEN_SECONDS:g} s") from None
    except Exception as error:  # noqa: BLE001 - the library has no common base of its errors
        raise Unauthorized(f"{origin}: Azure issues no token: {failure_reason(error)}") from None


class AzureImport:
    """The import of images of *source* into *target*, through the API that *control* names.

    *source_fields* gives how Azure reaches the registry of the source.
    """

    def __init__(
        self,
        source: Repository,
        target: Repository,
        control: ControlAccess,
        server: Callable[[], Awaitable[ApiServer]],
        source_fields: Callable[[], Awaitable[JsonObject]],
        tokens: AzureTokens,
    ) -> None:
        self.way = Way.IMPORT
        self.requests = 3
        self._source = source
        self._target = target
        self._control = control
        self._server = server
        self._source_fields = source_fields
        self._tokens = tokens

    @property
    def wait_seconds(self) -> float | None:
        """The longest wait that the configuration says; None if it says none."""
        return self._control.wait_seconds

    def offers(self, digest: Digest, manifests: int) -> bool:
        """Whether Azure takes an image of so many *manifests* by *digest*."""
        return digest.algorithm == CANONICAL_ALGORITHM and manifests <= _MOST_MANIFESTS

    async def copy(self, content: ImageContent) -> None:
        """Let Azure import *content* without a tag, and wait for the end; `StoreError` if it fails."""
        server = await self._server()
        headers = bearer(Credential(password=await self._tokens.token(self._control)))
        call = ApiCall("POST", f"/importImage?{_VERSION}", await self._document(content.root.digest), headers)
        answer = await server.exchange(self._control.url.rstrip("/"), call)
        if answer.status == HTTPStatus.ACCEPTED:
            await self._wait_for_end(server, answer, headers)
        elif answer.status // 100 != _SUCCESS:
            raise self._refused(answer)

    async def _document(self, digest: Digest) -> JsonObject:
        source = {**await self._source_fields(), "sourceImage": f"{self._source.path}@{digest}"}
        return {"source": source, "untaggedTargetRepositories": [self._target.path], "mode": "NoForce"}

    async def _wait_for_end(self, server: ApiServer, answer: ApiAnswer, headers: Mapping[str, str]) -> None:
        """Ask for the operation that *answer* names until it has succeeded; the caller bounds the time."""
        origin, path = self._operation(answer)
        pause, lost = _FIRST_PAUSE, 0
        while True:
            told = answer.retry_after
            await asyncio.sleep(pause if told is None else min(max(told, _LEAST_PAUSE), _LONGEST_PAUSE))
            pause = min(2 * pause, _LONGEST_PAUSE)
            answer = await server.exchange(origin, ApiCall("GET", path, headers=headers))
            lost = lost + 1 if answer.status in _BUSY else 0
            if lost > _LOST_ANSWERS or (not lost and self._has_ended(answer)):
                break
        if lost:
            raise self._refused(answer)

    def _operation(self, answer: ApiAnswer) -> tuple[str, str]:
        """Return origin and path of the operation; `Refused` if it is not at the server that gets the token."""
        url = answer.headers.get("Azure-AsyncOperation") or answer.headers.get("Location") or ""
        parts, own = urlsplit(url), urlsplit(self._control.url)
        if (parts.scheme, parts.netloc) != (own.scheme, own.netloc) or not parts.path.startswith("/"):
            raise Refused(f"{self._target}: the import began, but its state is not at {own.netloc}")
        return f"{parts.scheme}://{parts.netloc}", f"{parts.path}?{parts.query}" if parts.query else parts.path

    def _has_ended(self, answer: ApiAnswer) -> bool:
        """Whether the operation has succeeded; `StoreError` if it has failed."""
        if answer.status == HTTPStatus.ACCEPTED:
            return False
        if answer.status // 100 != _SUCCESS:
            raise self._refused(answer)
        state = _document_of(answer).get("status")
        if not isinstance(state, str) or state.lower() == "succeeded":
            return True
        if state.lower() in {"failed", "canceled", "cancelled"}:
            raise self._refused(answer)
        return False

    def _refused(self, answer: ApiAnswer) -> StoreError:
        """Return the error of *answer*: its status and code. Its text is not shown, since it may repeat a login."""
        found = _document_of(answer).get("error")
        code = cast("JsonObject", found).get("code") if isinstance(found, dict) else None
        shown = code if isinstance(code, str) and _CODE.fullmatch(code) else f"status {answer.status}"
        text = f"{self._target}: Azure does not import {self._source}: {shown}"
        if answer.status in _BUSY:
            return Unavailable(text, status=answer.status)
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            remedy = f"give control: of {self._target.registry} a login that may import images"
            return Denied(text, status=answer.status, remedy=remedy)
        return Refused(text, status=answer.status)


def _document_of(answer: ApiAnswer) -> JsonObject:
    try:
        return parse_object(answer.body, "the answer of Azure")
    except StoreError:
        return {}
