"""Runs the creator of a vendor: its library in a thread, or its requests over our own transport."""

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from image_syncer.errors import Denied, NotFound, Refused, Side, StoreError, Unauthorized, Unavailable
from image_syncer.extras import install_remedy
from image_syncer.registry.auth.cloud_providers import failure_reason
from image_syncer.registry.endpoint import RegistryClient
from image_syncer.registry.error_mapping import ErrorContext, ErrorResponse, failure
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.preparing.creation import ApiCall, Creation
from image_syncer.registry.vendor_api import ApiAnswer, ApiRequest, VendorApi
from image_syncer.registry.vendors.vendor_profile import CreatorName

_SECONDS: Final = 60.0
_ANSWER_BYTES: Final = 256 * 1024
_SUCCESS: Final = 2  # The class of the status.


class ApiServer:
    """Sends requests to the API of a registry: without redirects or retries, and with what each request brings."""

    def __init__(
        self,
        client: RegistryClient,
        transport: Callable[[str], Transport],
        count: Callable[[Side], None],
        *,
        is_insecure: bool,
    ) -> None:
        self._api = VendorApi(client, transport, count, side="target", is_insecure=is_insecure, seconds=_SECONDS)

    async def own_url(self) -> str:
        """Return the URL of the registry itself, with the scheme that it speaks."""
        return await self._api.own_url()

    async def send(self, url: str, call: ApiCall) -> ErrorResponse:
        """Return status and body of the response to *call*, sent to the server at *url*."""
        answer = await self.exchange(url, call)
        return ErrorResponse(answer.status, answer.body)

    async def exchange(self, url: str, call: ApiCall) -> ApiAnswer:
        """Return the response to *call*, sent to the server at *url*."""
        request = ApiRequest(call.path, url, call.method, call.document, call.headers)
        return await self._api.send(request, _ANSWER_BYTES)


async def run_creator(name: CreatorName, creation: Creation, server: ApiServer, what: str, call: str) -> bool:
    """Create what *creation* says; False if it exists. *what* is that for messages, *call* does the same by hand."""
    calls = _calls(name)
    if calls is None:
        return await _run_library(name, creation, what, call)
    for number, one in enumerate(calls(creation)):
        answer = await server.send(creation.url, one)
        is_done = answer.status // 100 == _SUCCESS
        status, text = one.exists
        if one.is_check:
            if is_done:
                return False
            if answer.status == HTTPStatus.NOT_FOUND:
                continue
        elif not is_done and answer.status == status and text in answer.body.decode("utf-8", "replace").lower():
            if number == 0:
                return False
            continue
        if not is_done:
            host = urlsplit(creation.url).netloc
            raise _explained(failure(ErrorContext(what, host), answer), creation, call)
    if name == "gitlab":
        raise NotFound(f"{what}: there is none at {urlsplit(creation.url).netloc} for this path", remedy=call)
    return True


def _explained(error: StoreError, creation: Creation, call: str) -> StoreError:
    if error.retryable:
        return error
    kind = type(error) if isinstance(error, Unauthorized | Denied) else Refused
    remedy = f"give {creation.registry} control: with a login that may create it, or run: {call}"
    return kind(error.message, status=error.status, code=error.code, remedy=remedy)


async def _run_library(name: CreatorName, creation: Creation, what: str, call: str) -> bool:
    """Run the vendor's library in a thread; its own texts are not shown, since they may repeat secrets."""
    try:
        create = _library(name)
    except ImportError:
        raise Refused(f"{what}: this needs a library", remedy=install_remedy(name)) from None
    try:
        async with asyncio.timeout(_SECONDS):
            return await asyncio.to_thread(create, creation)
    except StoreError:
        raise
    except TimeoutError:
        raise Unavailable(f"{what}: no answer within {_SECONDS:g} s") from None
    except Exception as error:  # noqa: BLE001 - the libraries have no common base of their errors
        remedy = f"check create: and control: of {creation.registry}, or run: {call}"
        raise Refused(f"{what}: {failure_reason(error)}", remedy=remedy) from None


def _library(name: CreatorName) -> Callable[[Creation], bool]:
    """Return the function that creates through the library of *name*; `ImportError` without it."""
    # ruff: noqa: PLC0415 - the libraries are slow to import, and each is needed by one vendor
    match name:
        case "aliyun":
            from image_syncer.registry.preparing.create_aliyun import create
        case "aws":
            from image_syncer.registry.preparing.create_aws import create
        case "tencent":
            from image_syncer.registry.preparing.create_tencent import create
        case _:
            from image_syncer.registry.preparing.create_volcengine import create
    return create


def _calls(name: CreatorName) -> Callable[[Creation], Iterable[ApiCall]] | None:
    """Return the function that gives the requests for *name*; None if a library does it."""
    match name:
        case "artifactory":
            from image_syncer.registry.preparing.create_artifactory import calls
        case "gitea":
            from image_syncer.registry.preparing.create_gitea import calls
        case "gitlab":
            from image_syncer.registry.preparing.create_gitlab import calls
        case "harbor":
            from image_syncer.registry.preparing.create_harbor import calls
        case "huawei":
            from image_syncer.registry.preparing.create_huawei import calls
        case "quay":
            from image_syncer.registry.preparing.create_quay import calls
        case _:
            return None
    return calls
