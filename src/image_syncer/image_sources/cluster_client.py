"""Lists and watches the pods of a Kubernetes cluster with the official client (extra `kubernetes`).

The client finds the server and the login. Responses are read here, bounded: the client's own models of 10 000 pods
would take minutes of CPU.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from kubernetes.aio import client as api
from kubernetes.aio import config
from kubernetes.aio.client import rest
from kubernetes.aio.config.config_exception import ConfigException

from image_syncer.bounded_json import InvalidJson, read_json
from image_syncer.errors import (
    Denied,
    NotFound,
    ProtocolError,
    Refused,
    StoreError,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from image_syncer.image_sources.cluster_pods import as_pods
from image_syncer.image_sources.foreign_yaml import ValueMap, as_map, as_text
from image_syncer.structs import Struct
from image_syncer.sync.image_lists import ClusterScope

PAGE: Final = 250
"""Pods of one page."""

PODS_LIMIT: Final = 200_000
WATCH_SECONDS: Final = 300
"""The server ends a watch after this time; the next one continues where it ended."""

_PAGE_LIMIT_BYTES: Final = 64 * 1024 * 1024
_EVENT_LIMIT_BYTES: Final = 4 * 1024 * 1024
_LIST_SECONDS: Final = 60.0
_MARGIN_SECONDS: Final = 30.0
_DEPTH: Final = 64
_RESTARTS: Final = 3
# The client passes on the errors of the library that it uses.
_NETWORK_ERRORS: Final = cast(
    "tuple[type[Exception], ...]", (cast("Any", rest).aiohttp.ClientError, OSError, api.ApiException)
)


class ResourceExpired(Unavailable):
    """The version or the page is too old for the server: list again (HTTP 410)."""


class PodList(Struct):
    """The pods of one namespace, or of all, and the *version* from which a watch continues."""

    pods: list[ValueMap]
    version: str


class PodEvent(Struct):
    """A change: *kind* is ADDED, MODIFIED, DELETED or BOOKMARK; *version* is that of the pod or the bookmark."""

    kind: str
    pod: ValueMap
    version: str


class ClusterClient:
    """The pods of one cluster. *namespace* None is all namespaces. The methods raise `StoreError`."""

    def __init__(self, client: Any, name: str) -> None:
        self._pods: Any = api.CoreV1Api(client)
        self._name = name

    async def list_pods(self, namespace: str | None) -> PodList:
        """Return all pods, read in pages; begins again if a page expires meanwhile."""
        for _ in range(_RESTARTS):
            try:
                return await self._list(namespace)
            except ResourceExpired:
                continue
        return await self._list(namespace)

    async def watch(self, namespace: str | None, version: str) -> AsyncIterator[PodEvent]:
        """Yield the changes since *version* until the server ends the watch; `ResourceExpired` if that is too old."""
        response = await self._request(
            namespace,
            WATCH_SECONDS + _MARGIN_SECONDS,
            watch=True,
            allow_watch_bookmarks=True,
            resource_version=version,
            timeout_seconds=WATCH_SECONDS,
        )
        try:
            async for line in _lines(response, self._name):
                yield self._event(line)
        except _NETWORK_ERRORS as error:
            raise Unavailable(f"{self._name}: the watch broke off: {type(error).__name__}") from error
        finally:
            response.close()

    async def _list(self, namespace: str | None) -> PodList:
        pods: list[ValueMap] = []
        options: dict[str, Any] = {}
        while True:
            page = await self._read_page(namespace, options)
            pods += as_pods(page.get("items"))
            if len(pods) > PODS_LIMIT:
                raise TooLarge(f"{self._name}: more than {PODS_LIMIT} pods", remedy="name namespaces:")
            metadata = as_map(page.get("metadata"))
            following = as_text(metadata.get("continue"))
            if not following:
                return PodList(pods, as_text(metadata.get("resourceVersion")))
            options = {"_continue": following}

    async def _read_page(self, namespace: str | None, options: dict[str, Any]) -> ValueMap:
        response = await self._request(namespace, _LIST_SECONDS, limit=PAGE, **options)
        try:
            content = await _read(response, self._name)
        except _NETWORK_ERRORS as error:
            raise Unavailable(f"{self._name}: the list broke off: {type(error).__name__}") from error
        finally:
            response.release()
        # A page is up to several MiB.
        return await asyncio.to_thread(lambda: _parse(content, self._name))

    async def _request(self, namespace: str | None, seconds: float, **options: Any) -> Any:
        """Return the response with status 200; the caller closes it."""
        try:
            if namespace is None:
                response = await self._pods.list_pod_for_all_namespaces_without_preload_content(
                    _request_timeout=seconds, **options
                )
            else:
                response = await self._pods.list_namespaced_pod_without_preload_content(
                    namespace, _request_timeout=seconds, **options
                )
        except _NETWORK_ERRORS as error:
            raise Unavailable(f"{self._name}: no answer: {error}", remedy="check the address of the cluster") from error
        if response.status != 200:  # noqa: PLR2004 - OK
            response.close()
            raise _status_error(self._name, response.status)
        return response

    def _event(self, line: bytes) -> PodEvent:
        event = _parse(line, self._name)
        kind, body = as_text(event.get("type")), as_map(event.get("object"))
        if kind == "ERROR":
            code = cast("object", body.get("code"))
            raise _status_error(self._name, int(code) if isinstance(code, float | int) else 0)
        return PodEvent(kind, body, as_text(as_map(body.get("metadata")).get("resourceVersion")))


@asynccontextmanager
async def open_cluster(scope: ClusterScope) -> AsyncGenerator[ClusterClient]:
    """Provide the cluster of *scope*; `Refused` if its configuration is not usable."""
    configuration: Any = cast("Any", type).__call__(api.Configuration)
    name = f"cluster {scope.context}" if scope.context else "cluster"
    try:
        if scope.in_cluster:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(
                config_file=scope.kubeconfig,
                context=scope.context,
                client_configuration=configuration,
                persist_config=False,
            )
    except (ConfigException, OSError, ValueError) as error:
        remedy = "in_cluster: true works in a pod; elsewhere name kubeconfig: and context:"
        raise Refused(f"{name}: no usable configuration: {error}", remedy=remedy) from error
    configuration.retries = None  # Runs and watches retry themselves.
    client: Any = api.ApiClient(configuration)
    try:
        yield ClusterClient(client, name)
    finally:
        await client.close()


def _status_error(name: str, status: int) -> StoreError:
    match status:
        case 401:
            return Unauthorized(f"{name}: the login is not accepted", status=status, remedy="check the kubeconfig")
        case 403:
            remedy = "the account needs the verbs list and watch on pods"
            return Denied(f"{name}: pods may not be listed", status=status, remedy=remedy)
        case 404:
            return NotFound(f"{name}: the server has no pods", status=status, remedy="check the address of the cluster")
        case 410:
            return ResourceExpired(f"{name}: the version of the list has expired", status=status)
        case _:
            return Unavailable(f"{name}: the server answered {status}", status=status)


async def _read(response: Any, name: str) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _PAGE_LIMIT_BYTES:
            raise TooLarge(f"{name}: a page of pods larger than {_PAGE_LIMIT_BYTES // 1024**2} MiB")
    return bytes(content)


async def _lines(response: Any, name: str) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in response.content.iter_any():
        *lines, last = bytes(chunk).split(b"\n")
        for line in lines:
            yield bytes(rest) + line
            rest.clear()
        rest += last
        if len(rest) > _EVENT_LIMIT_BYTES:
            raise TooLarge(f"{name}: an event larger than {_EVENT_LIMIT_BYTES // 1024**2} MiB")


def _parse(content: bytes, name: str) -> ValueMap:
    try:
        document = read_json(content, depth=_DEPTH, strict=False)
    except InvalidJson as error:
        raise ProtocolError(f"{name}: {error}") from None
    if not isinstance(document, dict):
        raise ProtocolError(f"{name}: not a JSON object")
    return cast("ValueMap", document)
